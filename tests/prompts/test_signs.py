"""Names that end in a sign: it may be one token with the full stop, and CoOp has a place for it."""

import json

import pytest
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

import clipnotes
from clipnotes.prompts import PromptLearner
from clipnotes.prompts.layout import Layout, token_ids
from reference_prompts import assert_equals_the_reference, prompt_clip

# From ImageNet's classes; "(" and "?" have no such token here, and split instead.
NAMES = ["kite (bird of prey)", "tulip", "what?", "missile (or two)", "a ;)"]
JOINED = 3990
MARKS = ("bos", "eos", "pad", "unk")


@pytest.fixture(scope="module")
def joining(clip):
    """Emoji-CLIP's tokenizer, which in addition makes one token of ")." as CLIP's own does."""
    state = json.loads(clip.tokenizer.backend_tokenizer.to_str())
    vocabulary, merges = state["model"]["vocab"], state["model"]["merges"]
    old = next(token for token, i in vocabulary.items() if i == JOINED)
    del vocabulary[old]
    vocabulary[").</w>"] = JOINED
    as_text = isinstance(merges[0], str)
    pairs = [pair.split(" ") if as_text else pair for pair in merges]
    pairs = [[")", ".</w>"], *(pair for pair in pairs if old not in ("".join(pair), *pair))]
    state["model"]["merges"] = [" ".join(pair) for pair in pairs] if as_text else pairs
    special = {f"{name}_token": getattr(clip.tokenizer, f"{name}_token") for name in MARKS}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), **special
    )


def test_the_tokenizer_of_these_tests_joins_them(joining):
    ((*_, alone),) = token_ids(joining, ["kite (bird of prey)"])
    ((*_, last),) = token_ids(joining, ["kite (bird of prey)."])
    assert joining.convert_ids_to_tokens([alone, last]) == [")</w>", ").</w>"]


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_equals_the_reference_whatever_becomes_one_token(clip, joining, position, per_class):
    for tokenizer in (joining, clip.tokenizer):
        tiny = prompt_clip(clip, 4)
        tiny = clipnotes.Clip(tiny.model, tokenizer, tiny.image_processor)
        learner = PromptLearner(tiny, NAMES, 5, position=position, per_class=per_class)
        with torch.no_grad():
            learner.ctx.mul_(20)  # as long as the tiny models' tokens
        assert_equals_the_reference(tiny, learner)


def test_the_joined_token_stays_with_the_name(joining):
    rows = {
        position: Layout.build(joining, ["a bird (red)"], 2, limit=32, position=position)
        for position in ("middle", "front")
    }
    ((*name, last),) = token_ids(joining, ["a bird (red)."])
    ((x,),) = token_ids(joining, ["x"])
    assert last == JOINED
    assert rows["middle"].input_ids.tolist()[0][1:-1] == [x, *name, last, x]
    assert rows["front"].input_ids.tolist()[0][1:-1] == [*name, last, x, x]
    assert [row.eos.tolist() for row in rows.values()] == [[len(name) + 4]] * 2


def test_signs_that_become_fewer_tokens_than_they_were_are_refused():
    """As many tokens as the name has alone would then reach beyond the prompt's end."""

    class Joins:
        bos_token_id, eos_token_id = 1, 2

        def __call__(self, texts, **kwargs):
            alone = {"x": [7], "a).": [9]}
            return {"input_ids": [alone.get(text, [5, 6]) for text in texts]}

    assert Layout.build(Joins(), ["a"], 1, limit=9, position="front").eos.tolist() == [4]
    with pytest.raises(ValueError, match=r"'\.' becomes one token with the end of class 'a\)'"):
        Layout.build(Joins(), ["a)"], 1, limit=9, position="front")
