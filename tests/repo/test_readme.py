"""The README: its lines run, and no number stands in its prose that nothing compares."""

import json
import re

import yaml

import report
from _tools.versions import pins
from clipnotes.data import load_emoji
from clipnotes.prompts.methods import PUBLISHED
from clipnotes.prompts.replaced import N_CTX
from clipnotes.teach import Plan
from repository import ROOT, pyproject

README = (ROOT / "README.md").read_text(encoding="utf-8")
# Names that hold a number, and what is no number of ours.
NAMES = re.compile(
    r"(?:Sig|MetaC)LIP 2|ViT-B/32|vit-base-patch32|float\d+|top-\d|CC BY(-SA)? 4\.0|\(https?://\S+\)"
)
NUMBER = re.compile(r"(?<![\w.-])\d[\d,]*(?:\.\d+)*(?:e-\d+)?%?")


def prose():
    """The README without code blocks, without what `make bench` writes, without names."""
    before, rest = README.split(report.START)
    text = before + rest.split(report.END)[1]
    return NAMES.sub("", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def short(version):
    return ".".join(version.split(".")[:2])


def megabytes(path):
    return str(round((ROOT / path).stat().st_size / 1e6))


def facts():
    """Every number that the prose may hold, and where it comes from."""
    emoji = load_emoji()
    measured = json.loads((ROOT / "training" / "results.json").read_text(encoding="utf-8"))
    rates = [
        f"{measured[f'{style}: {things}'][top]:.0%}"
        for style, things in (
            ("twemoji", "known things"),
            ("openmoji", "known things"),
            ("twemoji", "held-out things among themselves"),
            ("twemoji", "all things"),
        )
        for top in ("top1", "top5")
    ]
    new = {row["name"] for row in emoji if row["held_out"]}
    things = set(emoji["name"])
    return {
        "drawings": f"{len(emoji):,}",
        "things": str(len(things)),
        "designers": str(len(set(emoji["style"]))),
        "the model": megabytes("clipnotes/emoji_clip/model.safetensors"),
        "the small LLaVA": megabytes("clipnotes/emoji_llava/model.safetensors"),
        "the drawings' file": megabytes("clipnotes/emoji/emoji.parquet"),
        "things learned": str(len(things - new)),
        "things never seen": str(len(new)),
        "oldest": short(pins.versions()[0]),
        "newest": short(pins.newest()),
        "the Python of constraints.txt": "3.11",
        "shots": str(Plan().shots),
        "the rule of the house": "1e-5",
    } | {f"rate {i}": rate for i, rate in enumerate(rates)}


def test_every_number_in_the_prose_is_one_that_something_counts():
    found = set(NUMBER.findall(prose()))
    assert found - set(facts().values()) == set()
    assert {"8,006", "4.49", "9"} - found == set(), "so the search finds something"


def test_what_the_prose_says_of_the_data_and_the_versions_is_so():
    known = facts()
    data = (
        "({drawings} drawings of {things} things by {designers} designers, {the drawings' file} MB)"
    )
    assert data.format(**known) in README
    assert f"(Emoji-CLIP, {known['the model']} MB)" in README
    assert f"Emoji-SigLIP ({megabytes('clipnotes/emoji_siglip/model.safetensors')} MB)" in README
    assert f"tower ({megabytes('clipnotes/emoji_llava/model.safetensors')} MB)" in README
    assert f"transformers {known['oldest']} up to today's {known['newest']}" in README
    assert f"from {known['shots']} images of each" in README
    assert f"# {N_CTX} vectors" in README


def test_the_parts_of_the_book_are_those_of_its_contents():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    parts = [part["caption"].lower() for part in toc["parts"] if part.get("numbered")]
    words = ("one", "two", "three", "four", "five", "six", "seven")
    (line,) = [line for line in README.splitlines() if line.startswith("Its chapters come in")]
    assert line.startswith(f"Its chapters come in {words[len(parts) - 1]} parts: ")
    assert [line.index(part.split(",")[0]) for part in parts] == sorted(
        line.index(part.split(",")[0]) for part in parts
    )


def test_every_method_stands_in_the_table_with_its_paper():
    rows = [
        f"| `{name}` | {method.summary} ([{method.title}](https://arxiv.org/abs/{method.paper})) |"
        for name, method in PUBLISHED.items()
    ]
    table = "\n".join(["| `--method` | what is learned |", "|---|---|", *rows])
    assert f"\n\n{table}\n\n" in README


def test_every_command_of_the_makefile_is_there_and_no_other():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = set(re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", README))
    # CONTRIBUTING.md tells about these, since only those who work on the book need them.
    assert commands - named <= {"install", "record", "real", "links", "adopt"}
    assert named <= commands


def test_the_four_ways_and_conda_are_told():
    for way in ("make book", "In Colab", "pytest --nbmake book/chapters", "import clipnotes"):
        assert way in README
    assert "conda env create -f environment.yml" in README
    assert (ROOT / "environment.yml").exists()


def test_the_processor_of_what_was_measured_is_named():
    path = ROOT / "clipnotes" / "measured" / "speed.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    assert f"{results['about']['cpu']}, {results['about']['threads']} threads" in README
    on_gpu = (ROOT / "benchmarks" / "on_gpu.json").exists()
    assert ("has been run on a graphics processor yet" in README) is not on_gpu


def test_the_python_is_that_of_the_constraints():
    first = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[0:5]
    assert any("3.11" in line for line in first)
    assert pyproject()["project"]["requires-python"] == ">=3.10"


def test_the_lines_of_python_run(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks:  # the second one says that it goes on from there
        exec(compile(block, "README.md", "exec"), names)
    assert names["probabilities"].shape == (3, 20)
    assert (names["again"].ctx == names["learner"].ctx).all()
    assert 0 < names["scores"].accuracy <= 1


def test_every_command_of_the_package_is_named_and_no_other():
    from clipnotes.cli import app

    commands = {command.callback.__name__ for command in app.registered_commands}
    named = re.findall(r"^clipnotes (\w+)|`clipnotes (\w+)", README, re.M)
    assert {one or other for one, other in named} == commands
