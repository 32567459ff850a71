"""The repository: facts that stand in several files agree, and the package ships what it needs."""

import ast
import re
import shutil
import subprocess
import sys
import zipfile

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from adopt import text_files
from conftest import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def repository_url():
    return pyproject()["project"]["urls"]["Repository"]


def text_of(path):
    return path.read_text(encoding="utf-8", errors="replace")


def read_yaml(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def requirements():
    """What pyproject.toml asks for, extras included."""
    project = pyproject()["project"]
    extras = project["optional-dependencies"].values()
    asked = [*project["dependencies"], *(line for extra in extras for line in extra)]
    return [r for r in map(Requirement, asked) if r.name != project["name"]]


def constraints():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


# The address


def test_the_copies_of_the_address_are_there():
    url = repository_url()
    assert read_yaml("_config.yml")["repository"]["url"] == url
    assert read_yaml("CITATION.cff")["repository-code"] == url
    assert f"git+{url}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_copy_of_the_address_is_the_same():
    expected = repository_url().removeprefix("https://github.com/")
    names = "|".join({"clipnotes", re.escape(expected.split("/")[1])})
    address = re.compile(rf"github(?:\.com)?/([\w.-]+/(?:{names}))(?![\w-])")
    wrong = [
        f"{path.relative_to(ROOT)}: {found}"
        for path in text_files()
        for found in address.findall(text_of(path))
        if found.removesuffix(".git") != expected
    ]
    assert wrong == []


def test_nobody_is_sent_to_a_stranger_s_package():
    # On PyPI the plain name belongs to another project.
    command = re.compile(r"pip install (?:-\S+ )*['\"]?" + r"clipnotes(?!-book)\b")
    wrong = [
        str(path.relative_to(ROOT))
        for path in text_files()
        if path.name != "CONTRIBUTING.md" and command.search(text_of(path))
    ]
    assert wrong == []


# The versions


def test_the_version_is_the_same_everywhere():
    import clipnotes

    version = pyproject()["project"]["version"]
    assert clipnotes.__version__ == version
    assert str(read_yaml("CITATION.cff")["version"]) == version
    headings = re.findall(
        r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert headings[0] == "Unreleased"
    assert version in headings


def test_every_dependency_is_pinned_once():
    pins = {canonicalize_name(pin.name): pin for pin in constraints()}
    assert len(pins) == len(constraints())
    for pin in pins.values():
        assert re.fullmatch(r"==[^*,+]+", str(pin.specifier)), f"{pin}: one exact public version"
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} is not in constraints.txt"
        (pin,) = pins[name].specifier
        assert requirement.specifier.contains(pin.version), f"{requirement} excludes {pin}"


def test_the_package_sets_no_upper_bounds():
    for line in pyproject()["project"]["dependencies"]:
        assert {spec.operator for spec in Requirement(line).specifier} <= {">="}, line


def test_conda_lists_no_package_of_its_own():
    *others, pip = read_yaml("environment.yml")["dependencies"]
    assert [re.split(r"[=<>]", item)[0] for item in others] == ["python", "pip"]
    assert pip == {"pip": ["-c constraints.txt", "-e .[book,test]"]}


# The package


def test_the_wheel_holds_every_file_of_the_package(tmp_path):
    """Build it as `pip install git+...` does, from a copy, and compare file lists."""
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    source = tmp_path / "source"
    shutil.copytree(ROOT / "clipnotes", source / "clipnotes", ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-index", "--quiet"]
    command += ["--no-build-isolation", "--wheel-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("clipnotes_book-*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    ours = {path.relative_to(source).as_posix() for path in (source / "clipnotes").rglob("*")}
    ours = {name for name in ours if (source / name).is_file()}
    assert {name for name in inside if name.startswith("clipnotes/")} == ours
    assert {name.rsplit("/", 1)[-1] for name in inside} >= {"LICENSE", "LICENSE-TEXT"}


# A module imports from lower floors only; within model/ in the order in which it is read.
FLOORS = {
    "clipnotes.atomic": 0,
    "clipnotes.carried": 0,
    "clipnotes.compiled": 0,
    "clipnotes.attention": 0.1,
    "clipnotes.compat": 0.5,
    "clipnotes.exercises.marks": 0,
    "clipnotes.exercises.small": 0,
    "clipnotes.measured": 0,
    "clipnotes.model.encoder": 1.05,
    "clipnotes.upright": 0,
    "clipnotes.depth": 0,
    "clipnotes.batches": 1,
    "clipnotes.data": 1,
    "clipnotes.directory": 1,
    "clipnotes.names": 1,
    "clipnotes.splits": 1,
    "clipnotes.model.checks": 1,
    "clipnotes.model.copying": 1,
    "clipnotes.model.masks": 1,
    "clipnotes.model.vision": 1.1,
    "clipnotes.model.text": 1.1,
    "clipnotes.model.clip": 1.2,
    "clipnotes.model.divergence": 1.3,
    "clipnotes.model": 1.9,
    "clipnotes.checkpoints": 2,
    "clipnotes.trace.text": 2,
    "clipnotes.trace.html": 2.1,
    "clipnotes.trace.calls": 2.2,
    "clipnotes.trace.describe": 2.3,
    "clipnotes.trace.record": 2.4,
    "clipnotes.trace": 2.9,
    "clipnotes.looking": 2.1,
    "clipnotes.plots.fonts": 2.9,
    "clipnotes.plots.theme": 3,
    "clipnotes.plots.images": 3.1,
    "clipnotes.plots.heat": 3.2,
    "clipnotes.plots.heads": 3.3,
    "clipnotes.plots.lines": 3.1,
    "clipnotes.plots.tables": 3.1,
    "clipnotes.plots.tokens": 3.1,
    "clipnotes.plots": 3.85,
    "clipnotes.explorer.page": 3,
    "clipnotes.explorer.picture": 3.1,
    "clipnotes.explorer.text": 3.1,
    "clipnotes.explorer": 3.9,
    "clipnotes.prompts.layout": 3,
    "clipnotes.prompts.substitute": 3,
    "clipnotes.prompts.weights": 2.5,
    "clipnotes.prompts.embeddings": 3.1,
    "clipnotes.prompts.coop": 3.1,
    "clipnotes.prompts.identity": 3.05,
    "clipnotes.prompts.card": 3.1,
    "clipnotes.prompts.storage": 3.2,
    "clipnotes.prompts.known": 3,
    "clipnotes.prompts.packing": 3.1,
    "clipnotes.prompts.packed": 3.15,
    "clipnotes.prompts.encode": 3.2,
    "clipnotes.prompts.base": 3.25,
    "clipnotes.prompts.learner": 3.3,
    "clipnotes.prompts.kgcoop": 3.55,
    "clipnotes.prompts.cocoop": 3.35,
    "clipnotes.prompts.tip": 3.55,
    "clipnotes.prompts.methods": 3.8,
    "clipnotes.prompts.deep": 3.1,
    "clipnotes.prompts.samples": 3.4,
    "clipnotes.prompts.recipe": 3.4,
    "clipnotes.prompts.resume": 3.4,
    "clipnotes.prompts.augmentation": 3.5,
    "clipnotes.prompts.evaluation": 3.5,
    "clipnotes.prompts.baselines": 3.5,
    "clipnotes.prompts.visual": 3.6,
    "clipnotes.prompts.maple": 3.7,
    "clipnotes.prompts.processes": 3.5,
    "clipnotes.prompts.training": 3.6,
    "clipnotes.prompts": 3.9,
    "clipnotes.pictures": 2.1,
    "clipnotes.folders": 3,
    "clipnotes.doctor": 3.91,
    "clipnotes.shots": 3.1,
    "clipnotes.published": 3.91,
    "clipnotes.learn": 3.92,
    "clipnotes.compare": 3.93,
    "clipnotes.terminal": 3.95,
    "clipnotes.exercises": 3.99,
    "clipnotes.cli": 4,
    "clipnotes.__main__": 4.1,
    "clipnotes": 9,  # its names are looked up when asked for
}
# A chapter's checks may use all that the chapters use.
CHECKS = (ROOT / "clipnotes" / "exercises").glob("chapter_[0-9][0-9].py")
FLOORS |= {f"clipnotes.exercises.{path.stem}": 3.95 for path in CHECKS}


def floors_broken(sources):
    """Name each import that does not point downwards, given each module's source."""
    broken = []
    for module, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                found = [name if name in FLOORS else node.module for name in names]
            elif isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            else:
                continue
            broken += [
                f"{module} imports {name}"
                for name in found
                if name.split(".")[0] == "clipnotes" and FLOORS[name] >= FLOORS[module]
            ]
    return broken


def test_imports_point_downwards(root):
    files = [*(root / "clipnotes").glob("**/*.py")]
    names = [".".join(file.relative_to(root).with_suffix("").parts) for file in files]
    modules = {
        name.removesuffix(".__init__"): file.read_text(encoding="utf-8")
        for name, file in zip(names, files, strict=True)
    }
    assert set(modules) == set(FLOORS), "a new module needs a floor"
    assert floors_broken(modules) == []
    upwards = {"clipnotes.data": "from clipnotes import checkpoints", "clipnotes.compat": ""}
    assert floors_broken(upwards) == ["clipnotes.data imports clipnotes.checkpoints"]
    assert floors_broken({"clipnotes.plots": "import clipnotes.plots"})


def test_the_readme_s_lines_run(root, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text("utf-8"), re.S)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks:  # the second one says that it goes on from there
        exec(compile(block, "README.md", "exec"), names)
    assert names["probabilities"].shape == (3, 20)
    assert (names["again"].ctx == names["learner"].ctx).all()
    assert 0 < names["scores"].accuracy <= 1


def test_the_readme_s_commands_are_there(root):
    from clipnotes.cli import app

    commands = {command.callback.__name__ for command in app.registered_commands}
    named = re.findall(
        r"^clipnotes (\w+)|`clipnotes (\w+)", (root / "README.md").read_text(encoding="utf-8"), re.M
    )
    assert {one or other for one, other in named} == commands
