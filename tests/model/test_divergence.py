"""`first_divergence` names the stage at which a port goes wrong, and leaves both models alone."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPTextModelWithProjection

from clipnotes.compat import text_tower
from clipnotes.model import CLIP, Divergence, TextTower, VisionTower, first_divergence
from reference import pixels, tiny_clip, tiny_vision
from reference_text import texts, tiny_text

ONE = "text_model.encoder.layers.1"


@pytest.fixture
def pair():
    theirs = tiny_clip(0)
    inputs = texts(theirs.config.text_config, 0, kind="right")
    inputs.pop("position_ids", None)
    images = pixels(theirs.config.vision_config, 0, batch=3)
    inputs.update(pixel_values=images, return_loss=True)
    return CLIP.from_transformers(theirs), theirs, inputs


def test_emoji_clip_does_not_part(clip):
    model = copy.deepcopy(clip.model).float()
    inputs = dict(clip.tokenizer(["a tulip", "a beetle"], padding=True, return_tensors="pt"))
    inputs["pixel_values"] = pixels(model.config.vision_config, 0)
    ours = CLIP.from_transformers(model)
    assert first_divergence(ours, model, inputs) is None
    ours.text_model.encoder.layers[2].mlp.activation = F.gelu
    found = first_divergence(ours, model, inputs)
    assert found.stage == "text_model.encoder.layers.2.mlp.fc2, what goes in"


MUTATIONS = {
    "weight": (
        lambda clip: clip.text_model.encoder.layers[1].mlp.fc1.weight.data[0, 0].add_(0.1),
        f"{ONE}.mlp.fc1, what comes out",
    ),
    "table": (
        lambda clip: clip.text_model.embeddings.token_embedding.weight.data.add_(0.1),
        "text_model.embeddings.token_embedding, what comes out",
    ),
    "positions": (
        lambda clip: clip.text_model.embeddings.position_ids.copy_(torch.arange(9).roll(1)),
        "text_model.embeddings.position_embedding, what goes in",
    ),
    "scale": (
        lambda clip: setattr(clip.text_model.encoder.layers[1].self_attn, "scale", 1.0),
        f"{ONE}.self_attn.out_proj, what goes in",
    ),
    "activation": (
        lambda clip: setattr(clip.text_model.encoder.layers[1].mlp, "activation", F.gelu),
        f"{ONE}.mlp.fc2, what goes in",
    ),
    "end": (
        lambda clip: setattr(clip.text_model, "_ends", lambda ids: torch.zeros_like(ids[:, 0])),
        "text_projection, what goes in",
    ),
    "patches": (
        lambda clip: clip.vision_model.embeddings.patch_embedding.weight.data.mul_(1.01),
        "vision_model.embeddings.patch_embedding, what comes out",
    ),
    "class token": (
        lambda clip: clip.vision_model.embeddings.class_embedding.data.add_(0.1),
        "vision_model.embeddings, what comes out",
    ),
    "temperature": (lambda clip: clip.logit_scale.data.add_(0.1), "output logits_per_text"),
}


@pytest.mark.parametrize(("mutate", "stage"), MUTATIONS.values(), ids=MUTATIONS.keys())
def test_the_first_stage_is_named(pair, mutate, stage):
    mutate(pair[0])
    found = first_divergence(*pair)
    assert found.stage == stage
    assert found.difference > 1e-5
    assert str(found).startswith(f"{stage}: differs by up to ")


def test_unit_length_and_loss_are_stages_too(pair, monkeypatch):
    monkeypatch.setattr("clipnotes.model.clip.unit_length", lambda x: x)
    assert first_divergence(*pair).stage == "output image_embeds"
    monkeypatch.undo()
    monkeypatch.setattr("clipnotes.model.clip.contrastive_loss", lambda x: x.sum())
    assert first_divergence(*pair).stage == "output loss"


def test_a_tower_is_compared_with_the_tower_in_any_class():
    clip = tiny_clip(0)
    inputs = texts(clip.config.text_config, 0)
    projected = CLIPTextModelWithProjection(clip.config.text_config).eval()
    for theirs in (clip, text_tower(clip), tiny_text(0, vocab_size=20), projected):
        ours = TextTower.from_transformers(theirs)
        assert first_divergence(ours, theirs, inputs) is None
        ours.final_layer_norm.eps = 1.0
        stage = "final_layer_norm, what comes out"
        assert first_divergence(ours, theirs, inputs).stage == stage
    inputs = {"pixel_values": pixels(clip.config.vision_config, 0)}
    for theirs in (clip, tiny_vision(0, image_size=8, patch_size=4, num_channels=3)):
        ours = VisionTower.from_transformers(theirs)
        assert first_divergence(ours, theirs, inputs) is None
        ours.post_layernorm.eps = 1.0
        assert first_divergence(ours, theirs, inputs).stage == "post_layernorm, what comes out"


def test_another_pooled_vector_is_found_in_the_output():
    theirs = tiny_text(0)
    ours = TextTower.from_transformers(theirs)
    ours._ends = lambda ids: torch.zeros(len(ids), dtype=torch.int64)
    found = first_divergence(ours, theirs, texts(theirs.config, 0))
    assert found.stage == "output pooler_output"


def test_nan_and_another_shape_are_divergences():
    ours, theirs = nn.Sequential(nn.Linear(2, 3)), nn.Sequential(nn.Linear(2, 4))
    inputs = {"input": torch.ones(1, 2)}
    found = first_divergence(ours, theirs, inputs)
    assert found == Divergence("0, what comes out", torch.inf, found.largest, (1, 3), (1, 4))
    assert str(found) == "0, what comes out: the shape is (1, 3) and should be (1, 4)"
    same = copy.deepcopy(ours)
    same[0].weight.data.fill_(torch.nan)
    assert first_divergence(same, ours, inputs).stage == "0, what comes out"
    assert first_divergence(same, ours, inputs).difference != 0


def test_a_module_called_twice_has_two_stages():
    class Twice(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.layer, self.factor = nn.Identity(), factor

        def forward(self, x):
            return self.layer(self.layer(x) * self.factor)

    found = first_divergence(Twice(2), Twice(3), {"x": torch.ones(2)})
    assert found == Divergence("layer, what goes in, call 2", 1.0, 3.0, (2,), (2,))


class Shift(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, x):
        return x + self.by


@pytest.mark.parametrize(
    ("value", "by", "parts"),
    [(100.0, 0.05, False), (100.0, 0.2, True), (0.5, 0.0009, False), (0.5, 0.0015, True)],
)
def test_a_difference_is_judged_by_the_largest_value_if_that_is_above_one(value, by, parts):
    inputs = {"x": torch.full((2,), value, dtype=torch.float64)}
    found = first_divergence(Shift(by), Shift(0), inputs, tolerance=1e-3)
    assert (found is not None) is parts
    assert found is None or found.stage == "output itself"


def test_equal_models_do_not_part_at_any_tolerance():
    assert first_divergence(Shift(1), Shift(1), {"x": torch.ones(2)}, tolerance=0) is None


@pytest.mark.parametrize("training", [(True, False), (False, True)])
def test_both_run_in_evaluation_mode(training):
    pair = [nn.Sequential(nn.Dropout(0.5)).train(mode) for mode in training]
    assert first_divergence(*pair, {"input": torch.ones(100)}) is None


class Returns(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, input):
        return self.value


@pytest.mark.parametrize("value", [None, "text", (1, 2), (), {}, torch.zeros(0)])
def test_what_holds_no_number_is_no_stage(value):
    pair = [nn.Sequential(Returns(value)), nn.Sequential(Returns(value))]
    assert first_divergence(*pair, {"input": torch.ones(2)}) is None


def test_fields_of_a_dict_are_stages():
    one, two = torch.ones(1), torch.zeros(1)
    pair = [nn.Sequential(Returns({"a": value})) for value in (one, two)]
    assert first_divergence(*pair, {"input": one}).stage == "0, what comes out"
    # Of an output's fields those that CLIP has come first, as it computes them.
    pair = [Returns({"a": value, "loss": value, "text_embeds": value}) for value in (one, two)]
    assert first_divergence(*pair, {"input": one}).stage == "output text_embeds"


def test_models_without_a_common_name_are_an_error():
    class Other(nn.Module):
        def forward(self, input):
            return {"other": input}

    with pytest.raises(ValueError, match="a Identity and a Other share no name"):
        first_divergence(nn.Identity(), Other(), {"input": torch.ones(1)})


def test_both_models_are_left_as_they_were(pair):
    ours, theirs, inputs = pair
    ours.train()
    theirs.text_model.train()
    before = [m.training for m in (*ours.modules(), *theirs.modules())]
    assert first_divergence(ours, theirs, inputs) is None
    with pytest.raises(ValueError, match="input_ids"):
        first_divergence(ours, theirs, {**inputs, "input_ids": inputs["input_ids"] + 100})
    assert [m.training for m in (*ours.modules(), *theirs.modules())] == before
    for module in (*ours.modules(), *theirs.modules()):
        assert not module._forward_pre_hooks
    assert not any(module._forward_hooks for module in ours.modules())
