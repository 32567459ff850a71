"""Where context, name and end stand: every position, and every prompt that cannot be."""

import copy
import json
import logging

import pytest
import torch
from tokenizers import Tokenizer
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

import clipnotes
from clipnotes.checkpoints import EMOJI_CLIP
from clipnotes.prompts import PromptLearner
from clipnotes.prompts.encode import encode
from clipnotes.prompts.layout import Layout, token_ids
from reference import assert_close
from reference_prompts import assert_equals_the_reference, prompt_clip

NAMES = ["tulip", "dog", "steam locomotive"]


START, END, X, DOT = 3998, 3999, 343, 269

TULIP = [860, 1478]


def build(tokenizer, names=NAMES, n_ctx=3, limit=32, **kwargs):
    return Layout.build(tokenizer, names, n_ctx, limit=limit, **kwargs)


@pytest.mark.parametrize(
    ("position", "row", "places"),
    [
        ("end", [START, X, X, X, *TULIP, DOT, END], [1, 2, 3]),
        ("middle", [START, X, *TULIP, X, X, DOT, END], [1, 4, 5]),
        ("front", [START, *TULIP, X, X, X, DOT, END], [3, 4, 5]),
    ],
)
def test_the_context_stands_where_it_should(clip, position, row, places):
    layout = build(clip.tokenizer, ["tulip"], position=position)
    assert layout.input_ids.tolist() == [row]
    assert layout.ctx_positions.tolist() == [places]
    assert layout.eos.tolist() == [7]
    assert {t.dtype for t in (layout.input_ids, layout.ctx_positions, layout.eos)} == {torch.int64}


def test_words_in_front_of_the_name_stay_with_it(clip):
    photo_of_a = token_ids(clip.tokenizer, ["photo of a"])[0]
    rows = {
        position: build(
            clip.tokenizer, ["tulip"], 2, template="photo of a {}, red", position=position
        ).input_ids.tolist()[0][1:-1]
        for position in ("end", "middle", "front")
    }
    red = token_ids(clip.tokenizer, [", red"])[0]
    assert rows["end"] == [X, X, *photo_of_a, *TULIP, *red]
    assert rows["middle"] == [X, *photo_of_a, *TULIP, X, *red]
    assert rows["front"] == [*photo_of_a, *TULIP, X, X, *red]


def test_one_context_token_in_the_middle_stands_behind_the_name(clip):
    assert build(clip.tokenizer, ["tulip"], 1, position="middle").ctx_positions.tolist() == [[3]]


@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_prompts_are_cut_behind_the_longest_and_filled_up_with_the_end(clip, position):
    layout = build(clip.tokenizer, position=position)
    assert layout.attention_mask is None
    tensors = (layout.input_ids, layout.ctx_positions, layout.eos)
    for row, places, eos in zip(*tensors, strict=True):
        assert row[0] == START
        assert (row[eos:] == END).all()
        assert (row[:eos] != END).all()
        assert (row[places] == X).all()
        assert (row == X).sum() == 3
    assert layout.eos.max() == layout.input_ids.shape[1] - 1
    assert layout.eos.tolist() == [
        len(clip.tokenizer(f"x x x {name}.")["input_ids"]) - 1 for name in NAMES
    ]


@pytest.mark.parametrize("seed", [0, 1])
def test_what_stands_behind_the_end_does_not_matter(clip, seed):
    tiny = prompt_clip(clip, seed)
    ctx = torch.randn(3, tiny.model.config.text_config.hidden_size)
    layout = build(clip.tokenizer)
    expected = encode(tiny.model, layout, ctx)
    limit = tiny.model.config.text_config.max_position_embeddings
    for filler in (END, 7):
        longer = torch.full((3, limit), filler)
        longer[:, : layout.input_ids.shape[1]] = layout.input_ids
        padded = Layout(longer, layout.ctx_positions, layout.eos)
        assert_close("features", encode(tiny.model, padded, ctx), expected, 1e-6)


def test_the_end_is_that_of_the_layout_and_not_looked_up_again(clip):
    """A larger id in the text, or a vector that looks like the end, must not be read instead."""
    tiny = prompt_clip(clip, 1, vocab_size=4001)  # old rule: the largest id is the end
    assert tiny.model.config.text_config.eos_token_id == 2
    layout = build(clip.tokenizer, ["tulip", "dog"], 3)
    added = layout.input_ids.clone()
    added[:, 4] = 4000  # behind the context
    table = tiny.model.text_model.embeddings.token_embedding.weight.detach()
    ctx = table[[5, END, 6]]
    with torch.no_grad():
        table[4000] = table[layout.input_ids[0, 4]]
    with_added = encode(tiny.model, Layout(added, layout.ctx_positions, layout.eos), ctx)[0]
    assert_close("features", with_added, encode(tiny.model, layout, ctx)[0], 1e-6)


def test_every_tokenizer_gives_the_same_layout(clip):
    own = CLIPTokenizer.from_pretrained(EMOJI_CLIP)  # in 4.x the slow one
    for position in ("end", "middle", "front"):
        ours, theirs = (build(t, position=position) for t in (own, clip.tokenizer))
        for name in ("input_ids", "ctx_positions", "eos"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name))


def test_a_context_inside_of_a_word_is_refused(clip):
    assert build(clip.tokenizer, ["tulip"], template="{}s").eos.tolist() == [6]
    for position in ("middle", "front"):
        with pytest.raises(ValueError, match=r"'\{\}s', 's' becomes one token.*'tulip'.*a space"):
            build(clip.tokenizer, ["dog 1", "tulip"], template="{}s", position=position)
        build(clip.tokenizer, ["tulip"], template="{} s", position=position)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"names": "tulip"}, TypeError, r"give a list, \['tulip'\]"),
        ({"names": ["dog", "a <|endoftext|> b"]}, ValueError, r"class 'a <.*end token"),
        ({"names": ["<|startoftext|>"]}, ValueError, r"start or end token"),
        ({"n_ctx": 0}, ValueError, "n_ctx is 0: at least one"),
        ({"n_ctx": -3}, ValueError, "n_ctx is -3"),
        ({"n_ctx": 2.0}, TypeError, r"n_ctx is 2\.0: give an integer"),
        ({"n_ctx": True}, TypeError, "n_ctx is True"),
        ({"template": "a photo"}, ValueError, "'a photo' has 0 places"),
        ({"template": "{} and {}"}, ValueError, "has 2 places"),
        ({"template": None}, TypeError, "template is a NoneType"),
        ({"position": "start"}, ValueError, "'start': choose one of 'end', 'middle', 'front'"),
        ({"position": None}, ValueError, "position is None"),
    ],
)
def test_wrong_arguments_are_named(clip, changed, error, message):
    with pytest.raises(error, match=message):
        build(clip.tokenizer, **changed)


def test_a_prompt_that_does_not_fit_names_the_class_and_the_budget(clip):
    long = "the quick brown fox"
    n_tokens = len(clip.tokenizer(long + ".")["input_ids"]) - 2
    room = 32 - 2 - n_tokens
    build(clip.tokenizer, ["dog", long, "tulip"], room)
    message = (
        f"class '{long}' takes {n_tokens} tokens.*leaving room for {room} context tokens "
        f"of the 32 positions.*n_ctx is {room + 1}"
    )
    with pytest.raises(ValueError, match=message):
        build(clip.tokenizer, ["dog", long, "tulip"], room + 1)
    with pytest.raises(ValueError, match="leaving room for 0 context tokens"):
        build(clip.tokenizer, ["dog " * 40], 1)


def test_of_a_prompt_that_does_not_fit_the_tokenizer_says_nothing_more(clip, monkeypatch):
    """It would warn, in its log, that the text is too long: our error says so, and of which."""
    tokenizer, said = copy.deepcopy(clip.tokenizer), []
    for name in logging.root.manager.loggerDict:
        if name.startswith("transformers.tokenization"):
            monkeypatch.setattr(logging.getLogger(name), "handle", said.append)
    with pytest.raises(ValueError, match="leaving room for 0 context tokens"):
        build(tokenizer, ["dog " * 40], 1)
    assert said == []
    tokenizer(["dog " * 40])
    assert len(said) == 1, "otherwise it does"


def test_a_name_without_a_token_is_refused():
    class Deaf:
        def __call__(self, texts, add_special_tokens=True, **kwargs):
            rows = [[] if "?" in text else [5] for text in texts]
            return {"input_ids": [[1, *row, 2] for row in rows] if add_special_tokens else rows}

    assert build(Deaf(), ["a"]).eos.tolist() == [5]
    with pytest.raises(ValueError, match=r"class '\?' has no token"):
        build(Deaf(), ["a", "?"])


def test_braces_in_a_name_stay(clip):
    ids = build(clip.tokenizer, ["a {} b"], 1).input_ids.tolist()[0]
    assert ids[2:-1] == token_ids(clip.tokenizer, ["a {} b."])[0]


def test_the_longest_prompt_is_that_of_most_tokens(clip):
    with pytest.raises(ValueError, match="class '日本' takes 7 tokens"):
        build(clip.tokenizer, ["dog", "日本", "a red dog"], 24)


# Names that end in a sign: it may be one token with the full stop, and CoOp has a place for it

# From ImageNet's classes; "(" and "?" have no such token here, and split instead.
SIGNS = ["kite (bird of prey)", "tulip", "what?", "missile (or two)", "a ;)"]
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
        learner = PromptLearner(tiny, SIGNS, 5, position=position, per_class=per_class)
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
        def __call__(self, texts, add_special_tokens=True, **kwargs):
            alone = {"x": [7], "a).": [9]}
            rows = [alone.get(text, [5, 6]) for text in texts]
            return {"input_ids": [[1, *row, 2] for row in rows] if add_special_tokens else rows}

    assert Layout.build(Joins(), ["a"], 1, limit=9, position="front").eos.tolist() == [4]
    with pytest.raises(ValueError, match=r"'\.' becomes one token with the end of class 'a\)'"):
        Layout.build(Joins(), ["a)"], 1, limit=9, position="front")
