"""Learning by any method and comparing them, from the command line."""

import json
import re
from typing import get_args

import pytest
import torch

from clipnotes.cli import terminal
from clipnotes.cli.export import export
from clipnotes.cli.learn import Loss
from clipnotes.pictures.folders import list_files
from clipnotes.pictures.reading import read_picture
from clipnotes.prompts import METHODS as CLASSES
from clipnotes.prompts import load_prompt
from clipnotes.prompts.classifier import Classifier
from clipnotes.prompts.methods import PUBLISHED
from clipnotes.prompts.saved.storage import read_prompt
from clipnotes.prompts.training.losses import LOSSES
from clipnotes.teach import describe
from command_line import refused, run
from some_folders import NAMES, make_folders

QUICK = ["--shots", "2", "--epochs", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folders(tmp_path_factory.mktemp("pictures"), 4)


@pytest.mark.parametrize("name", PUBLISHED)
def test_learn_then_predict(folder, tmp_path, clip, name):
    result = run("learn", folder, "--out", tmp_path / "o", "--method", name, *QUICK)
    assert result.exit_code == 0, result.output
    card = read_prompt(tmp_path / "o")[1]
    assert (card["recipe"]["method"], card["recipe"]["epochs"]) == (name, 1)
    assert CLASSES[card["method"]] is PUBLISHED[name].learner
    assert f"Learned by {describe(card['recipe'])}." in result.stdout.splitlines()
    assert PUBLISHED[name].title in result.stdout and PUBLISHED[name].paper in result.stdout
    assert ("note: the recipe of" in result.stderr) == (
        name in ("vpt", "maple", "promptsrc", "prolip")
    )

    files = list_files(folder)
    result = run("predict", tmp_path / "o", *files, "--json", "--top", 3)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)["pictures"]
    learner = load_prompt(tmp_path / "o", clip)
    assert learner.classnames == NAMES
    pictures = [read_picture(file) for file in files]
    expected = learner.logits(learner.inputs(pictures)).softmax(dim=-1)
    found = [{one["name"]: one["probability"] for one in line["classes"]} for line in said]
    found = torch.tensor([[line[name] for name in NAMES] for line in found])
    assert found.shape == (12, 3) and torch.allclose(found, expected, atol=1e-5)


def test_learn_refuses_before_anything_is_read(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("clipnotes.teach.folder.encode_files", lambda *_: pytest.fail("too late"))
    for words, *options in (
        ("no method 'nope'; there are coop", "--method", "nope"),
        ("vpt has no position; of .* it takes n_ctx", "--method", "vpt", "--position", "front"),
        ("no per_class; of .*per_class it takes none", "--method", "tip", "--per-class"),
        ("cocoop: .* n_ctx is 40", "--method", "cocoop", "--n-ctx", 40),
        ("tip: .*it needs one", "--method", "tip", "--template", "a photo"),
        (r"lp\+\+: .*leave lr out", "--method", "lp++", "--lr", 0.1),
        (r"lr is 0\.0", "--lr", 0),
        ("loss is 'hinge'; choose 'softmax' or 'sigmoid'", "--loss", "hinge"),
        ("coop: the sigmoid loss .* of this CLIPModel have no bias", "--loss", "sigmoid"),
        ("maple: the sigmoid loss", "--loss", "sigmoid", "--method", "maple"),
        ("method tip .* loop of its own, .* no sigmoid", "--loss", "sigmoid", "--method", "tip"),
    ):
        refused(words, "learn", folder, "--out", tmp_path / "o", *options)
        assert not (tmp_path / "o").exists()


def test_predicting_keeps_no_graph(folder, tmp_path, monkeypatch):
    run("learn", folder, "--out", tmp_path / "o", "--method", "cocoop", *QUICK)
    kind, kept = CLASSES["cocoop"], []
    logits = kind.logits

    def watched(self, features):
        found = logits(self, features)
        kept.append(found.requires_grad)
        return found

    monkeypatch.setattr(kind, "logits", watched)
    assert run("predict", tmp_path / "o", folder / "fruit").exit_code == 0
    assert kept == [False]


def test_compare_prints_one_table(folder, tmp_path):
    options = ["--methods", "kgcoop, tip", *QUICK, "--seeds", 2, "--seed", 5]
    result = run("compare", folder, *options)
    assert result.exit_code == 0, result.output
    first, head, *lines = result.stdout.splitlines()
    expected = "mean ± standard deviation of 2 seeds:"
    assert first == f"Accuracy on 6 images that were not learnt from, {expected}"
    assert head.split() == ["accuracy", "ECE", "parameters", "seconds"]
    names = [re.split(r"\s{2,}", line.strip())[0] for line in lines]
    assert names == ["zero-shot", "nearest mean", "linear probe", "kgcoop", "tip"]
    row = r"(\d+\.\d ± \d+\.\d %\s+){2}[\d,]+\s+\d+\.\d$"
    assert all(re.search(row, line) for line in lines)
    assert "seed 5: learning" in result.stderr and "seed 6: learning" in result.stderr

    result = run("compare", folder, *options, "--json")
    said = json.loads(result.stdout)
    assert [one["method"] for one in said["methods"]] == names
    assert said["seeds"] == [5, 6] and said["model"] == "Emoji-CLIP" and said["shots"] == 2
    means = [f"{100 * one['mean']:.1f} ±" for one in said["methods"]]
    assert all(mean in line for mean, line in zip(means, lines, strict=True))


def test_compare_lists_what_it_skipped_and_its_notes(folder, tmp_path):
    folder = make_folders(tmp_path, 3)
    (folder / "fruit" / "0.png").write_bytes(b"x")
    result = run("compare", folder, "--methods", "vpt", *QUICK, "--seeds", 1, "--json")
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert [one["path"] for one in said["skipped"]] == [str(folder / "fruit" / "0.png")]
    assert "0.png: not an image" in result.stderr
    assert [f"note: {note}" in result.stderr for note in said["notes"]] == [True, True]


def test_compare_refuses(folder, tmp_path):
    refused("no method 'nope'", "compare", folder, "--methods", "coop,nope")
    refused("coop was given twice", "compare", folder, "--methods", "coop,coop")
    refused("no folder", "compare", tmp_path / "nowhere")
    refused("has no sub-folders", "compare", folder / "fruit")
    refused("no CLIP model 'nope'", "compare", folder, "--model", "nope")


def test_compare_hands_every_option_on(folder, monkeypatch):
    import clipnotes.teach

    seen = []
    monkeypatch.setattr(clipnotes.teach, "compare", lambda *a, **k: seen.append((a, k)) or 1 / 0)
    options = "--shots 3 --seed 4 --seeds 2 --test t --nested --epochs 7 --methods coop,tip"
    run("compare", folder, *options.split(), "--template", "one {}")
    ((_, *where), keywords) = seen[0]
    assert [str(one) for one in where] == [str(folder), "['coop', 'tip']"]
    for name in ("say", "progress"):
        keywords.pop(name)
    expected = {"shots": 3, "seeds": range(4, 6), "template": "one {}", "epochs": 7}
    expected["nested"] = True
    assert {**keywords, "test": str(keywords["test"])} == {**expected, "test": "t"}
    run("compare", folder)
    assert seen[1][0][2] is None and seen[1][1]["seeds"] == range(3)


def test_help_names_every_method(root):
    _, option = get_args(terminal.Method)
    assert re.split(r", | or ", option.help.removesuffix(".")) == list(PUBLISHED)


def test_help_names_every_loss_and_who_cannot_take_one():
    _, option = get_args(Loss)
    first, *_, last = re.split(r"(?<=\.) ", option.help)
    assert first.removesuffix(".").split(" or ") == list(LOSSES)
    without = [name for name, method in PUBLISHED.items() if "sigmoid" not in method.losses]
    assert without == ["tip", "lp++", "prolip"]
    assert last == "sigmoid needs a SigLIP; tip, lp++ and prolip cannot take it."


def test_help_of_export_names_who_changes_the_vision_tower():
    named = re.search(r"change the vision tower\s+\(([^)]*)\)", export.__doc__)[1]
    changing = [
        name for name, one in PUBLISHED.items() if one.learner.inputs is not Classifier.inputs
    ]
    assert named.split(", ") == changing
