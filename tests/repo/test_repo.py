"""The repository: facts that stand in several files agree, and the package ships what it needs."""

import ast
import graphlib
import re
import shutil
import subprocess
import sys
import zipfile

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from adopt import text_files
from repository import ROOT, pyproject, repository_url, text_of

if sys.version_info >= (3, 11):
    pass
else:
    pass


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


# The rooms of the package: one imports from lower floors only.
FLOORS = {
    **{"compat": 0, "files": 0, "measured": 0, "classnames": 0},
    **{"model": 1, "trace": 1, "plots": 1, "model_files": 1, "looking": 1},
    **{"pictures": 2, "data": 2, "checkpoints": 2},
    **{"explorer": 3, "prompts": 3},
    **{"teach": 4, "doctor": 4, "exercises": 4},
    **{"cli": 5, "__main__": 6},
}
# Not yet: a picture's parts lie beside what reads files for a model.
SAME_FLOOR = [{"data", "pictures"}, {"checkpoints", "pictures"}]


def imported(source, modules):
    """The package's modules that a module imports, also inside of its functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def floors_broken(sources):
    """Name each import that does not point to a lower floor, given each module's source."""
    broken = []
    for module, source in sources.items():
        for name in imported(source, sources):
            here, there = ([*n.split("."), ""][1] for n in (module, name))
            if name.split(".")[0] != "clipnotes" or not here or here == there:
                continue
            if FLOORS[there] >= FLOORS[here] and {here, there} not in SAME_FLOOR:
                broken.append(f"{module} imports {name}")
    return broken


def test_imports_point_downwards(root):
    files = [*(root / "clipnotes").glob("**/*.py")]
    names = [".".join(file.relative_to(root).with_suffix("").parts) for file in files]
    modules = {
        name.removesuffix(".__init__"): file.read_text(encoding="utf-8")
        for name, file in zip(names, files, strict=True)
    }
    rooms = {name.split(".")[1] for name in modules if "." in name}
    assert rooms == set(FLOORS), "a new room needs a floor"
    assert floors_broken(modules) == []
    upwards = {"clipnotes.data": "from clipnotes import explorer", "clipnotes.explorer": ""}
    assert floors_broken(upwards) == ["clipnotes.data imports clipnotes.explorer"]


def test_the_rooms_of_prompts_import_one_way(root):
    """Saving, classifiers, training, methods: each may import from those before it."""
    order = ["saved", "classifier", "learner", "training", "methods"]
    for file in (root / "clipnotes" / "prompts").glob("**/*.py"):
        room, *_ = (*file.relative_to(root / "clipnotes" / "prompts").parts, "")
        room = room.removesuffix(".py")
        if room == "__init__":
            continue
        floor = order.index(room) if room in order else -1  # -1: what all of them are built on
        for name in imported(file.read_text(encoding="utf-8"), {}):
            there = [*name.split("."), "", ""][2] if name.startswith("clipnotes.prompts") else ""
            if there in order and there != room:
                assert order.index(there) < floor, f"{file.name} imports {name}"


def test_no_module_imports_itself_by_way_of_others(root):
    files = [*(root / "clipnotes").glob("**/*.py")]
    names = [".".join(file.relative_to(root).with_suffix("").parts) for file in files]
    modules = {
        name.removesuffix(".__init__"): file.read_text(encoding="utf-8")
        for name, file in zip(names, files, strict=True)
    }
    graph = {
        name: {one for one in imported(source, modules) if one in modules and one != name}
        for name, source in modules.items()
    }
    graph.pop("clipnotes")  # its names are looked up when asked for
    order = graphlib.TopologicalSorter(graph)
    order.prepare()  # raises CycleError, which names the circle


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
