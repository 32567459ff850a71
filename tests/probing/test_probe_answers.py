"""Answers that none of transformers' models gives by itself, and questions without an answer."""

import json
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection

import clipnotes
from clipnotes.probing import Probe
from clipnotes.probing.report import GROUPS
from two_towers import two_towers

END, VOCABULARY = 7, 40


class Toy(nn.Module):
    """Two small towers that read a text out as a test says, and compare as it says."""

    def __init__(self, read, *, unit=True, forward=True):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(VOCABULARY, 8)
        self.layer, self.project = nn.Linear(8, 8), nn.Linear(8, 5)
        self.patches, self.see = nn.Conv2d(3, 6, 4, 4), nn.Linear(6, 5, bias=False)
        self.scale = nn.Parameter(torch.tensor(3.0))
        self.read, self.unit, self.works = read, unit, forward
        self.eos_token_id = END
        vision = SimpleNamespace(image_size=[8, 12], num_channels=3)
        self.config = SimpleNamespace(vision_config=vision)

    def get_text_features(self, input_ids, attention_mask=None):
        states = self.layer(self.table(input_ids))  # (B, L, D)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        weights = self.read(input_ids, mask).to(states.dtype)  # (B, L)
        return self.project((weights[..., None] * states).sum(1))

    def get_image_features(self, pixel_values):
        return self.see(self.patches(pixel_values).amax(dim=(2, 3)))

    def forward(self, input_ids, pixel_values):
        if not self.works:
            raise RuntimeError("out of order\nand more")
        text, image = self.get_text_features(input_ids), self.get_image_features(pixel_values)
        if self.unit:
            text, image = F.normalize(text, dim=-1), F.normalize(image, dim=-1)
        logits = self.scale * image @ text.T + 0.5
        return SimpleNamespace(
            text_embeds=text, image_embeds=image, logits_per_image=logits, logits_per_text=logits.T
        )


def at(places, ids):
    return F.one_hot(places, ids.shape[1])


READS = {
    "last end token": lambda ids, mask: at(
        ids.shape[1] - 1 - (ids == END).flip(1).int().argmax(1), ids
    ),
    "first end token": lambda ids, mask: at((ids == END).int().argmax(1), ids),
    "largest id": lambda ids, mask: at(ids.argmax(1), ids),
    "last position": lambda ids, mask: at(torch.full_like(ids[:, 0], ids.shape[1] - 1), ids),
    "last position of the mask": lambda ids, mask: at(mask.sum(1) - 1, ids),
    "position 1": lambda ids, mask: at(torch.ones_like(ids[:, 0]), ids),
    "mean": lambda ids, mask: torch.ones_like(ids) / ids.shape[1],
    "attention head": lambda ids, mask: (ids + 1.0).softmax(1) + 0.1,
}


@pytest.mark.parametrize("name", READS)
def test_where_a_text_is_read_out(name):
    found = clipnotes.probe(Toy(READS[name]))
    assert found.pooled_at == name
    assert found.end_token == (END if "end" in name else None)
    assert found.causal is True  # its tokens never see each other
    assert found.inputs_embeds == "no"
    assert found.eager_equals_sdpa is None and "switched" in found.how["eager_equals_sdpa"]


@pytest.mark.parametrize("unit", [True, False])
def test_what_is_compared(unit):
    found = clipnotes.probe(Toy(READS["position 1"], unit=unit))
    assert found.unit_length is unit
    assert found.scale == 3.0 and found.how["scale"] == "scale"
    assert found.bias == pytest.approx(0.5, rel=1e-3) and "line" in found.how["bias"]
    assert found.loss is None and "no return_loss" in found.how["loss"]
    assert (found.text_width, found.shared_width, found.image_width) == (8, 5, 6)
    assert found.text_projection == "matrix and bias" and found.image_projection is None


def test_what_fails_says_why_and_stops_nothing():
    found = clipnotes.probe(Toy(READS["position 1"], forward=False))
    for name in ("unit_length", "scale", "bias"):
        assert getattr(found, name) is None
        assert found.how[name] == "not measured: out of order"
    assert found.pooled_at == "position 1" and found.shared_width == 5


def test_an_old_configuration_means_the_largest_id():
    found = clipnotes.probe(two_towers("CLIP", eos_token_id=2))
    assert (found.pooled_at, found.end_token, found.cut_is_exact) == ("largest id", None, True)


def test_a_tokenizer_names_what_is_read_out(clip):
    found = clipnotes.probe(clip.model, clip.tokenizer)
    assert found.reads_out == "<|endoftext|>"
    assert found.scale == pytest.approx(clip.model.logit_scale.exp().item(), rel=1e-5)
    # One that is not the model's own has other words there.
    other = SimpleNamespace(
        __call__=None, eos_token_id=5, convert_ids_to_tokens=lambda token: f"word {token}"
    )
    without = clipnotes.probe(clip.model, other)
    assert without.end_token == found.end_token
    assert without.reads_out is None and "not measured" in without.how["reads_out"]


def test_the_end_that_the_model_looks_for_counts_and_not_the_tokenizers():
    tokenizer = SimpleNamespace(eos_token_id=5)
    found = clipnotes.probe(Toy(READS["last end token"]), tokenizer)
    # A text that ended with 5 would be read out at its last position, where padding is.
    assert (found.end_token, found.padding_matters) == (END, False)


def test_without_a_tokenizer_the_table_says_so():
    found = clipnotes.probe(two_towers("CLIP"))
    assert found.reads_out is None and found.how["reads_out"] == "no tokenizer was given"


def test_the_table_has_every_fact_and_is_narrow():
    found = clipnotes.probe(two_towers("Clap"))
    lines = str(found).splitlines()
    facts = [name for group in GROUPS.values() for name in group]
    assert {line.split()[0] for line in lines if line[:3].strip() and line[:2] == "  "} >= set(
        facts
    )
    assert sorted(facts) == sorted(set(found.to_dict()) - {"model", "how"})
    assert max(map(len, lines)) <= 110
    assert json.loads(json.dumps(found.to_dict()))["loss"] == "softmax"
    assert "hears sound" in str(found)
    assert "yes" in str(Probe("m", causal=True)) and "0.25" in str(Probe("m", scale=0.25))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda clip: CLIPTextModelWithProjection(clip.model.config.text_config), "two towers"),
        (lambda clip: CLIPVisionModelWithProjection(clip.model.config.vision_config), "two towers"),
        (lambda clip: nn.Linear(2, 2), "a Linear is no model with two towers"),
        (lambda clip: clip, r"a Clip is no model .* Give its `\.model`"),
        (lambda clip: "clip", "a str is no model with two towers"),
    ],
)
def test_a_model_without_two_towers_is_refused(clip, build, words):
    with pytest.raises(TypeError, match=f"{words}.*"):
        clipnotes.probe(build(clip))


def test_the_tower_that_lacks_is_named():
    class NoText(Toy):
        get_text_features = None

    class NoImage(Toy):
        get_image_features = None

    with pytest.raises(TypeError, match="NoText is no model with a text tower: it needs get_text"):
        clipnotes.probe(NoText(READS["mean"]))
    with pytest.raises(TypeError, match="NoImage is no model with an image tower"):
        clipnotes.probe(NoImage(READS["mean"]))


def test_what_holds_no_numbers_or_is_compiled_is_refused():
    with pytest.raises(ValueError, match="meta device"):
        clipnotes.probe(two_towers("CLIP").to("meta"))
    model = two_towers("CLIP")
    model.compile()
    with pytest.raises(ValueError, match=r"is compiled.*what measures it"):
        clipnotes.probe(model)


def test_a_model_that_encodes_no_text_is_refused():
    def broken(ids, mask):
        raise RuntimeError("out of order")

    with pytest.raises(ValueError, match=r"a Toy cannot encode 8 ids .*\(out of order\)"):
        clipnotes.probe(Toy(broken))


def test_a_vocabulary_without_words_is_refused():
    with pytest.raises(ValueError, match="a vocabulary of 9 leaves 5 words"):
        clipnotes.probe(two_towers("CLIP", vocab_size=9))


def test_the_name_is_a_function_whatever_was_imported_before():
    assert clipnotes.probe is clipnotes.probing.probe and callable(clipnotes.probe)
    assert "probe" in dir(clipnotes)
