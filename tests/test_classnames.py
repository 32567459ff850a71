"""Class names: each another one, for people and for the tokenizer."""

import re

import pytest
from PIL import Image

from clipnotes.classnames import check_classnames, written
from clipnotes.prompts import (
    VPT,
    CoCoOp,
    MaPLe,
    NearestMean,
    ProLIP,
    PromptLearner,
    TipAdapter,
    ZeroShot,
    fit_lp_plus_plus,
    fit_tip,
)

PAIRS = [
    ("Grapes", "grapes", "'Grapes'", "'grapes'"),
    ("café", "cafe\u0301", r"'caf\xe9'", r"'cafe\u0301'"),
    ("red  fox", "red fox", "'red  fox'", "'red fox'"),
    ("rose ", "rose", "'rose '", "'rose'"),
]


@pytest.mark.parametrize(("one", "other", "said_one", "said_other"), PAIRS)
def test_names_that_the_tokenizer_cannot_tell_apart(clip, one, other, said_one, said_other):
    words = re.escape(f"class 0, {said_one}, and class 2, {said_other}, are the same tokens")
    with pytest.raises(ValueError, match=words):
        check_classnames([one, "tulip", other], clip.tokenizer)
    assert check_classnames([one, other]) == [one, other], "nothing reads them"


def test_all_that_read_names_refuse_them(clip):
    import torch

    names, pictures, labels = ["Grapes", "grapes"], torch.eye(128)[:2], [0, 1]
    for make in (
        lambda: PromptLearner(clip, names),
        lambda: CoCoOp(clip, names),
        lambda: VPT(clip, names),
        lambda: MaPLe(clip, names),
        lambda: TipAdapter(clip, names, pictures, labels),
        lambda: fit_tip(clip, names, pictures, labels),
        lambda: fit_lp_plus_plus(clip, names, pictures, labels),
        lambda: ProLIP(clip, names),
        lambda: ZeroShot(clip, names),
        lambda: clip.classify([Image.new("RGB", (8, 8))], names),
    ):
        with pytest.raises(ValueError, match="'Grapes', and class 1, 'grapes', are the same"):
            make()
    nearest = NearestMean(clip, names, pictures, labels)  # it never reads them
    assert nearest.logits(pictures).argmax(dim=-1).tolist() == [0, 1]


def test_other_names_for_a_saved_prompt_are_checked_too(clip, tmp_path):
    PromptLearner(clip, ["rose", "tulip"], n_ctx=1).save(tmp_path)
    with pytest.raises(ValueError, match="'Grapes', and class 1, 'grapes', are the same"):
        PromptLearner.load(tmp_path, clip, ["Grapes", "grapes"])


def test_a_tokenizer_that_keeps_capitals_keeps_names_apart():
    def tokenizer(texts, **_):
        return {"input_ids": [[ord(letter) for letter in text] for text in texts]}

    assert check_classnames(["Grapes", "grapes"], tokenizer) == ["Grapes", "grapes"]


def test_a_name_that_is_there_twice_is_told_apart_by_a_word(clip):
    words = r"'missile' is class 0 and class 2: .* as in 'missile \(projectile\)'"
    with pytest.raises(ValueError, match=words):
        check_classnames(["missile", "sunglasses", "missile"])
    apart = ["missile", "missile (projectile)", "sunglasses", "sunglasses (sunglass)"]
    assert check_classnames(apart, clip.tokenizer) == apart


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        ("tulip", TypeError, r"give a list, \['tulip'\]"),
        ([], ValueError, "no class was given: give at least one name"),
        (["tulip", 3], TypeError, "class 1 is a int"),
        (["tulip", ""], ValueError, "class 1 is ''"),
        ([" \n"], ValueError, "class 0 is"),
        (["a", "caf\udce9"], ValueError, "class 1 .* is no valid text"),
    ],
)
def test_what_is_no_name_is_refused(names, error, words):
    with pytest.raises(error, match=words):
        check_classnames(names)


def test_any_text_may_be_a_name(clip):
    assert check_classnames(["a\u200b", "茶", "👩\u200d🚀"], clip.tokenizer)


def test_names_that_look_the_same_are_written_out():
    assert written("café", "cafe\u0301") == r"'caf\xe9'"
    assert written("café", "café") == written("café", "tea") == "'café'"
