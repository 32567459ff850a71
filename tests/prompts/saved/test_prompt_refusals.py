"""What is no prompt, is damaged or cannot be on a card: neither loaded nor saved."""

import math
import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from clipnotes.prompts import METHODS, PromptLearner, load_prompt
from clipnotes.prompts.saved import storage
from few_pictures import small_learner
from saved_prompts import rewrite


def test_no_prompt(clip, tmp_path):
    with pytest.raises(ValueError, match=r"no folder .*nowhere"):
        PromptLearner.load(tmp_path / "nowhere", clip)
    with pytest.raises(ValueError, match=r"no prompt in .*prompt.safetensors is missing"):
        PromptLearner.load(tmp_path, clip)


def test_a_damaged_prompt(clip, tmp_path):
    file = tmp_path / "prompt.safetensors"
    small_learner(clip).save(tmp_path)
    good, ctx = file.read_bytes(), load_file(file)
    for bad in (b"", b"text", good[:-5], good[:20]):
        file.write_bytes(bad)
        with pytest.raises(ValueError, match="is no prompt of clipnotes, or is damaged"):
            PromptLearner.load(tmp_path, clip)
    save_file(ctx, file)  # no card
    with pytest.raises(ValueError, match="is no prompt of clipnotes"):
        PromptLearner.load(tmp_path, clip)


OPTIONS = {"n_ctx": 2, "position": "end", "per_class": False, "template": "{}."}


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"format": 1}, "has the format 1, and this clipnotes reads 2; open it with"),
        ({"format": 3}, "has the format 3, and this clipnotes reads 2; open it with"),
        ({"format": None}, "says no format"),
        ({"width": "128"}, "says width '128'"),
        ({"classnames": "rose"}, "says classnames 'rose'"),
        ({"classnames": ["rose", 3]}, "a class name on its card is no text"),
        ({"options": {}}, "says options {}"),
        ({"options": {**OPTIONS, "n_ctx": 2.0}}, "says options .*2.0"),
        ({"options": {**OPTIONS, "more": 1}}, "says options .*more"),
        ({"options": {**OPTIONS, "position": "top"}}, "position is 'top'"),
        ({"options": {**OPTIONS, "n_ctx": 3}}, r"\(2, 128\)}, and by its card .*\(3, 128\)}"),
        ({"options": {**OPTIONS, "per_class": True}}, r"by its card .*\(5, 2, 128\)}"),
        ({"method": "other"}, "by the method 'other', and PromptLearner loads 'coop'"),
        ({"classnames": [], "tokens": None}, "no class was given"),
        ({"classnames": ["x " * 40], "tokens": None}, "leaving room for 0 context tokens"),
    ],
)
def test_a_card_that_is_wrong(clip, tmp_path, card, words):
    small_learner(clip).save(tmp_path)
    rewrite(tmp_path, **card)
    with pytest.raises(ValueError, match=words):
        PromptLearner.load(tmp_path, clip)


@pytest.mark.parametrize("card", [{"method": "other"}, {"format": 3}, {"shots": "two"}])
def test_the_file_is_named(clip, tmp_path, card):
    small_learner(clip).save(tmp_path)
    rewrite(tmp_path, **card)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        load_prompt(tmp_path, clip)
    assert str(error.value).startswith(str(tmp_path / storage.FILE))


def test_the_methods_that_are_known_are_named(clip, tmp_path):
    small_learner(clip).save(tmp_path)
    rewrite(tmp_path, method="other")
    known = re.escape(f"there are {', '.join(sorted(METHODS))};")
    with pytest.raises(ValueError, match=known):
        load_prompt(tmp_path, clip)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_numbers_of_another_precision_are_refused(clip, tmp_path, dtype):
    learner = small_learner(clip)
    learner.save(tmp_path)
    file = tmp_path / storage.FILE
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    save_file({"ctx": learner.ctx.detach().to(dtype)}, file, metadata=metadata)
    with pytest.raises(ValueError, match=f"ctx is {dtype} and must be float32"):
        PromptLearner.load(tmp_path, clip)


def test_a_context_that_is_not_finite_is_neither_saved_nor_loaded(clip, tmp_path):
    learner = small_learner(clip)
    learner.save(tmp_path / "a")
    with torch.no_grad():
        learner.ctx[0, 0] = float("nan")
    with pytest.raises(ValueError, match="ctx is not finite, so nothing is saved"):
        learner.save(tmp_path / "a", force=True)
    assert PromptLearner.load(tmp_path / "a", clip).ctx.isfinite().all()
    file = tmp_path / "a" / "prompt.safetensors"
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    save_file({"ctx": learner.ctx.detach()}, file, metadata=metadata)
    with pytest.raises(ValueError, match="must be float32 and finite"):
        PromptLearner.load(tmp_path / "a", clip)


@pytest.mark.parametrize(
    ("facts", "error", "words"),
    [
        ({"shots": 1.5}, TypeError, "shots is 1.5"),
        ({"seed": True}, TypeError, "seed is True"),
        ({"scores": {"a": "good"}}, TypeError, "the score 'a' is 'good'"),
        ({"scores": {"a": float("nan")}}, ValueError, "the score 'a' is nan"),
    ],
)
def test_facts_that_cannot_be_on_a_card(clip, tmp_path, facts, error, words):
    with pytest.raises(error, match=words):
        small_learner(clip).save(tmp_path / "p", **facts)
    assert not (tmp_path / "p").exists()


def test_a_number_that_json_does_not_know_is_not_written(clip, tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        small_learner(clip).save(tmp_path / "p", recipe={"lr": math.inf})
    assert not (tmp_path / "p").exists()
