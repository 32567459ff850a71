"""``clipnotes doctor MODEL``: the table of any two-tower model, or one line about what is wrong."""

import pytest
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from clipnotes.checkpoints import EMOJI_CLIP
from command_line import run
from two_towers import two_towers


@pytest.fixture(autouse=True)
def no_chosen_model(monkeypatch):
    monkeypatch.delenv("CLIPNOTES_MODEL", raising=False)


def refused_last(words, name):
    """The findings come first; then one line on stderr says what is wrong with the model."""
    result = run("doctor", name)
    assert result.exit_code == 1 and result.stdout.startswith("ok  python")
    *_, line = result.stderr.splitlines()
    assert line.startswith("clipnotes: ") and words in line, result.stderr
    assert "Traceback" not in result.stderr and "pooled_at" not in result.stdout


def test_the_embedded_model_with_its_tokenizer():
    result = run("doctor", EMOJI_CLIP)
    assert result.exit_code == 0, result.output
    findings, table = result.stdout.split("\n\n", 1)
    assert all(line.startswith("ok  ") for line in findings.splitlines())
    assert table.startswith("CLIPModel, measured") and "<|endoftext|>" in table
    assert result.stderr == ""


def test_another_family_without_a_tokenizer(tmp_path):
    two_towers("Siglip").save_pretrained(tmp_path)
    result = run("doctor", tmp_path)
    assert result.exit_code == 0, result.output
    assert "SiglipModel, measured" in result.stdout
    assert any(line.split()[:2] == ["loss", "sigmoid"] for line in result.stdout.splitlines())
    assert f"note: no tokenizer in {tmp_path}" in result.stderr


def test_what_cannot_be_opened_is_named(tmp_path):
    refused_last("has no config.json", tmp_path)
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"nothing")
    refused_last("is a file; give the directory", file)
    refused_last("no model 'nowhere/at-all' can be opened", "nowhere/at-all")
    (tmp_path / "config.json").write_text("{")
    refused_last("can be opened", tmp_path)


def test_nothing_is_unpickled(tmp_path):
    two_towers("CLIP").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    refused_last("has no .safetensors file, and clipnotes unpickles nothing", tmp_path)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    two_towers("CLIP").save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("text_projection.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    refused_last("lack 1 tensors of a CLIPModel (text_projection.weight, ...)", tmp_path)


def test_a_tower_alone_is_no_two_tower_model(tmp_path):
    config = BertConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=1, vocab_size=20)
    BertModel(config).save_pretrained(tmp_path)
    refused_last("a BertModel is no model with two towers", tmp_path)
