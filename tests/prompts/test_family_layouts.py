"""What stands around a prompt is what the tokenizer puts there, and what the model reads."""

import pytest
import torch
from tokenizers import processors

from clipnotes import compat
from clipnotes.prompts import PromptLearner
from clipnotes.prompts.layout import Layout
from families import LENGTH, NAMES, tiny_clip, tokenizer_of

CLASSES = ["rose", "red dog", "a red tulip"]
# Two of the models say that their towers, though causal, are not CLIP's own.
pytestmark = pytest.mark.filterwarnings("ignore:prompts take the plain path")
READS = {"Siglip": "last"} | dict.fromkeys(
    ["ChineseCLIP", "AltCLIP", "VisionTextDualEncoder"], "first"
)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("name", NAMES)
def test_ids_and_mask_are_the_tokenizers_own(name, position):
    clip = tiny_clip(name)
    layout = PromptLearner(clip, CLASSES, n_ctx=3, position=position).layout
    words = {"end": "x x x {}.", "middle": "x {} x x.", "front": "{} x x x."}[position]
    full = (
        {"padding": "max_length", "max_length": LENGTH} if name == "Siglip" else {"padding": True}
    )
    theirs = clip.tokenizer([words.format(name) for name in CLASSES], return_tensors="pt", **full)
    first = READS.get(name) == "first"
    assert compat.family_of(clip.model).reads(clip.model) == READS.get(name, "end")
    assert torch.equal(layout.input_ids, theirs["input_ids"])
    assert (layout.attention_mask is not None) == first
    if first:
        assert torch.equal(layout.attention_mask, theirs["attention_mask"])
    x = clip.tokenizer("x", add_special_tokens=False)["input_ids"]
    assert torch.equal(layout.input_ids.gather(1, layout.ctx_positions), torch.tensor([3 * x] * 3))
    ends = (theirs["input_ids"] == theirs["input_ids"][0, -1]).int().argmax(dim=1).tolist()
    assert layout.eos.tolist() == {"first": [0] * 3, "last": [LENGTH - 1] * 3}.get(
        READS.get(name, "end"), ends
    )


@pytest.mark.parametrize("name", NAMES)
def test_there_is_room_for_what_the_tokenizer_adds_and_no_more(name):
    clip = tiny_clip(name)
    around = 1 if name == "Siglip" else 2
    room = LENGTH - around - 2
    learner = PromptLearner(clip, ["rose"], room)
    assert learner.layout.input_ids.shape == (1, LENGTH)
    assert learner().isfinite().all()
    said = f"room for {room} context tokens of the 12 positions \\({around} are for what the tok"
    with pytest.raises(ValueError, match=said):
        PromptLearner(clip, ["rose"], room + 1)


def test_without_an_end_padding_stands_where_siglip_reads():
    tokenizer = tokenizer_of("Siglip")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", special_tokens=[]
    )
    layout = Layout.build(tokenizer, ["rose"], LENGTH - 3, limit=LENGTH, reads="last")
    assert layout.input_ids[0, -1] == tokenizer.pad_token_id
    with pytest.raises(ValueError, match=r"room for 9 context tokens of the 12 positions \(1 are"):
        Layout.build(tokenizer, ["rose"], LENGTH - 2, limit=LENGTH, reads="last")


def build(tokenizer, reads, names=("rose",)):
    return Layout.build(tokenizer, list(names), 2, limit=LENGTH, reads=reads)


def test_a_tokenizer_that_does_not_put_there_what_is_read_is_refused():
    siglip = tokenizer_of("Siglip")
    with pytest.raises(ValueError, match="no token in front of a text, and this model reads"):
        build(siglip, "first")
    siglip.pad_token = None
    with pytest.raises(ValueError, match=r"no padding token.*set tokenizer\.pad_token"):
        build(siglip, "last")
    clip = tokenizer_of("CLIP")
    clip.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", clip.bos_token_id)]
    )
    with pytest.raises(ValueError, match="no end token behind a text, and this model reads"):
        build(clip, "end")


def test_a_tokenizer_that_has_no_ordinary_x_is_refused():
    class Foreign:
        pad_token_id = 5

        def __call__(self, texts, add_special_tokens=True, **kwargs):
            return {"input_ids": [[1, *self.x, 2] if add_special_tokens else self.x for _ in texts]}

    tokenizer = Foreign()
    tokenizer.x = [2]  # as where an unknown word is the end token
    with pytest.raises(ValueError, match="makes the special token 2 of 'x'"):
        build(tokenizer, "end")
    tokenizer.x = []
    with pytest.raises(ValueError, match=r"makes \[\] of 'x' alone and \[1, 2\] of 'x' as a text"):
        build(tokenizer, "first")
    tokenizer.x = [8, 9]  # one word may be several tokens: the last of them will do
    layout = build(tokenizer, "first")
    assert layout.input_ids.tolist() == [[1, 9, 9, 8, 9, 2]]
    assert layout.attention_mask.tolist() == [[1] * 6]


@pytest.mark.parametrize("name", ["ChineseCLIP", "AltCLIP"])
def test_padding_in_a_name_is_refused(name):
    """RoBERTa counts no position for it, and BERT would look at it."""
    tokenizer = tokenizer_of(name)
    with pytest.raises(ValueError, match=r"class 'a .*rose' holds a start or end token, or pad"):
        build(tokenizer, "first", [f"a {tokenizer.pad_token} rose"])
