"""The other CLIP of the chapters has the sizes of ViT-B/32, and is made whole or not at all."""

import json

import pytest
from tokenizers import Tokenizer

from _tools import execute, other_model


@pytest.fixture(scope="module")
def card():
    return other_model.tokenizer(other_model.VOCABULARY)


def test_the_vocabulary_is_as_large_as_clip_s_and_ends_with_its_special_tokens(card):
    ids = card["model"]["vocab"]
    assert sorted(ids.values()) == list(range(49408))
    assert [ids[token] for token in other_model.SPECIAL] == [49406, 49407]
    assert {token["content"]: token["id"] for token in card["added_tokens"]} == {
        token: ids[token] for token in other_model.SPECIAL
    }


def test_names_become_other_tokens_than_with_emoji_clip(card):
    ours = Tokenizer.from_file(str(other_model.EMOJI_CLIP / "tokenizer.json"))
    other = Tokenizer.from_str(json.dumps(card))
    assert other.encode("a tulip").tokens == [
        "<|startoftext|>",
        "a</w>",
        "tulip</w>",
        "<|endoftext|>",
    ]
    assert len(ours.encode("a tulip").ids) == 5
    assert other.encode("a tulip").ids[-1] == 49407


def test_a_model_is_made_once_and_never_by_half(tmp_path, monkeypatch):
    monkeypatch.setattr(other_model, "BUILD", tmp_path)
    made = []

    def make(draft):
        (draft / "config.json").touch()
        made.append(draft)
        if len(made) == 1:
            raise OSError("disk full")

    monkeypatch.setattr(other_model, "make", make)
    with pytest.raises(OSError, match="disk full"):
        other_model.directory(None)
    folder = tmp_path / "vit-b-32"
    assert not folder.exists()
    assert other_model.directory(None) == folder
    assert [path.name for path in tmp_path.rglob("*")] == ["vit-b-32", "config.json"]
    assert other_model.directory(None) == folder
    assert len(made) == 2


def test_a_directory_is_taken_as_it_is_and_a_name_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(other_model, "BUILD", tmp_path / "build")
    assert other_model.directory(str(tmp_path)) == tmp_path
    fetched = []
    monkeypatch.setattr(other_model, "fetch", lambda name, draft: fetched.append(name))
    assert other_model.directory("openai/clip") == tmp_path / "build" / "openai--clip"
    assert fetched == ["openai/clip"]


def test_what_is_fetched_can_be_loaded(tmp_path):
    import clipnotes

    other_model.fetch(str(other_model.EMOJI_CLIP), tmp_path)
    again = clipnotes.load(str(tmp_path))
    assert again.tokenizer("a tulip")["input_ids"][-1] == 3999


def test_the_chapters_get_the_model(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setenv("CLIPNOTES_MODEL", str(tmp_path))
    monkeypatch.setattr(execute, "run", lambda books: (seen.append(sorted(books)) or 3, {}))
    assert other_model.main(["01", "02"]) == 3
    assert seen == [["01-meet-the-model", "02-from-pixels-to-tokens"]]
    assert other_model.main(["99"]) == 1
