"""``clipnotes export``: a folder for programs without clipnotes, and one line when it cannot be."""

import json
import os
import re

import numpy as np
import pytest

import clipnotes
from clipnotes.cli import terminal
from clipnotes.prompts import VPT, CoCoOp, PromptLearner
from command_line import refused, run
from taken_home import bare

NAMES = ["rose", "tulip", "beetle"]


@pytest.fixture(scope="module")
def prompts(clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompts")
    PromptLearner(clip, NAMES, init="an emoji of a").save(folder / "coop")
    VPT(clip, NAMES, n_ctx=2, depth=1).save(folder / "vpt")
    CoCoOp(clip, NAMES, n_ctx=2, init=None).save(folder / "cocoop")
    return folder


def test_vectors_and_the_command_that_tries_them(clip, prompts, tmp_path):
    result = run("export", prompts / "coop", tmp_path / "home", "--to", "safetensors")
    assert result.exit_code == 0, result.output
    first, second, third = result.stdout.splitlines()
    size = (tmp_path / "home" / "classifier.safetensors").stat().st_size
    assert first.startswith("The classifier of 3 classes is in") and f"{size / 1e3:.1f} kB" in first
    assert second == "With safetensors and numpy, and nothing else, try:"
    program = re.fullmatch(r"  python (\S+) FEATURES\.npy", third)[1]
    np.save(tmp_path / "f.npy", clip.encode_text([f"an emoji of a {name}" for name in NAMES]))
    assert [label for label, _ in bare(program, tmp_path / "f.npy")] == NAMES
    refused("already holds", "export", prompts / "coop", tmp_path / "home", "--to", "safetensors")
    again = ["export", prompts / "coop", tmp_path / "home", "--to", "safetensors", "--force"]
    assert run(*again).exit_code == 0


def test_onnx_is_the_default(prompts, tmp_path):
    pytest.importorskip("onnxruntime", exc_type=ImportError)
    result = run("export", prompts / "vpt", tmp_path / "home")
    assert result.exit_code == 0, result.output
    assert "5.0 MB" in result.stdout and "serve.py IMAGE" in result.stdout
    card = json.loads((tmp_path / "home" / "classifier.json").read_text(encoding="utf-8"))
    assert card["labels"] == NAMES and card["method"] == "vpt" and card["options"]["depth"] == 1


def test_what_cannot_go_is_said_in_one_line(prompts, tmp_path, monkeypatch):
    out = tmp_path / "home"
    vectors = ("--to", "safetensors")
    refused("VPT changes the vision tower", "export", prompts / "vpt", out, *vectors)
    refused("CoCoOp cannot be exported", "export", prompts / "cocoop", out, *vectors)
    refused("no prompt in", "export", tmp_path, out)
    refused("other", "export", prompts / "coop", out, *vectors, "--model", "emoji-siglip")
    monkeypatch.setattr(terminal, "load_model_of", lambda card: pytest.fail("it has begun"))
    refused("to is 'tflite'", "export", prompts / "coop", out, "--to", "tflite")
    refused("is a file", "export", prompts / "coop", prompts / "coop" / "card.json", *vectors)
    refused("already holds", "export", prompts / "coop", prompts / "coop", *vectors)
    assert os.listdir(tmp_path) == []


def test_its_help_names_the_extra():
    said = " ".join(run("export", "--help").stdout.replace("│", " ").split())
    assert 'pip install "clipnotes-book[export]"' in said.replace("book [", "book[")
    assert clipnotes.__version__
