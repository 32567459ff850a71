"""What a model is known by: a digest of its weights, and a probe of what it computes."""

import copy
import re
import warnings

import pytest
import torch
from torch import nn

import clipnotes
from clipnotes.compat import text_tower, vision_tower
from clipnotes.prompts import VPT, PromptLearner
from clipnotes.prompts.saved.card import make_card
from clipnotes.prompts.saved.fits import check_fits
from clipnotes.prompts.saved.identity import distance, probe, text_tower_digest
from few_pictures import CLASSES, small_learner
from saved_prompts import CARD, changed

# The digest


def rename(model):
    mlp = text_tower(model).encoder.layers[-1].mlp
    mlp.fc3 = mlp.fc2  # the same numbers in the same order
    del mlp.fc2


def reshape(model):
    weight = model.text_projection.weight
    weight.data = weight.data.reshape(weight.shape[0] // 2, -1)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.text_projection.weight[0, 0].add_(1e-3),
        lambda model: next(text_tower(model).parameters())[5, 5].add_(1e-3),
        rename,
        reshape,
    ],
)
def test_the_digest_is_of_names_shapes_and_values(clip, change):
    other = changed(clip, change).model
    assert text_tower_digest(other) != text_tower_digest(clip.model)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.double(),
        lambda model: vision_tower(model).post_layernorm.weight.mul_(2),
    ],
)
def test_dtype_and_vision_tower_are_not_in_the_digest(clip, change):
    other = changed(clip, change).model
    assert text_tower_digest(other) == text_tower_digest(clip.model)


# The probe


def test_the_probe_is_the_same_in_every_version(clip):
    for found, expected in (
        (probe(clip.model, "text"), [0.61838, -0.18418, -0.88375]),
        (probe(clip.model, "vision"), [-0.61372, 0.50547, -1.65617]),
    ):
        assert found[:3] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", ["text", "vision"])
def test_what_the_probe_does_not_see_is_compared_by_itself(clip, tmp_path, kind):
    """Its text is 16 tokens; with another place behind them, a model is another one."""
    VPT(clip, ["rose", "tulip"], 1, 1).save(tmp_path)

    def change(model):
        tower = model.text_model if kind == "text" else model.vision_model
        tower.embeddings.position_embedding.weight[-1] += 1

    other = changed(clip, change)
    assert distance(probe(other.model, "text"), probe(clip.model, "text")) < 1e-5
    with pytest.raises(ValueError, match=f"learned with the {kind} tower"):
        VPT.load(tmp_path, other)


def test_a_probe_of_another_length_or_of_nothing(clip):
    assert distance([1.0], [1.0, 2.0]) == float("inf")
    assert distance([0.0, 0.0], [0.0, 0.0]) == 0
    assert not distance([1.0, 0.0], [0.0, 0.0]) < 1


def test_features_that_are_not_finite_are_said(clip):
    broken = changed(clip, lambda model: model.text_projection.weight.fill_(float("nan")))
    with pytest.raises(ValueError, match="features of this model are not finite"):
        make_card(broken, **CARD)


def test_the_probe_leaves_the_model_as_it_was(clip):
    model = copy.deepcopy(clip.model).train()
    model.vision_model.eval()
    before = [module.training for module in model.modules()]
    for tower in (text_tower(model), vision_tower(model)):
        for layer in tower.encoder.layers:
            layer.self_attn.dropout = 0.5
    assert probe(model, "text") == probe(model, "text")
    assert probe(model, "vision") == probe(model, "vision")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert distance(probe(model, "text"), probe(clip.model, "text")) < 1e-5
    assert [module.training for module in model.modules()] == before
    assert all(weight.grad is None for weight in model.parameters())


def test_half_precision_fits_itself_on_another_device_too(clip):
    """Which rounds otherwise: here float32 with the same values stands for it."""
    for dtype in (torch.bfloat16, torch.float16):
        half = changed(clip, lambda model, dtype=dtype: model.to(dtype))
        card = make_card(half, **CARD, vision=True)
        assert card["probe"]["dtype"] == str(dtype).removeprefix("torch.")
        wide = changed(half, lambda model: model.float())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_fits(wide, card)
            check_fits(half, make_card(wide, **CARD, vision=True))


def test_what_is_compiled_has_the_same_card(clip):
    card = make_card(clip, **CARD, vision=True)
    model = copy.deepcopy(clip.model)
    model.text_model = torch.compile(model.text_model, backend="eager")
    model.vision_model.encoder.compile(backend="eager")
    found = make_card(
        clipnotes.Clip(model, clip.tokenizer, clip.image_processor), **CARD, vision=True
    )
    ours, theirs = card.pop("probe"), found.pop("probe")
    for kind in ("text", "vision"):  # computed twice, so not to the bit
        assert distance(ours.pop(kind), theirs.pop(kind)) < 1e-5
    assert ours == theirs
    assert found == {**card, "model": found["model"]}


class Int8(torch.Tensor):
    """A weight in int8 as torchao's: a linear layer takes it, most else does not."""

    @staticmethod
    def __new__(cls, weight):
        return torch.Tensor._make_wrapper_subclass(cls, weight.shape, dtype=weight.dtype)

    def __init__(self, weight):
        self.scale = weight.abs().amax(dim=1, keepdim=True) / 127
        self.values = (weight / self.scale).round().to(torch.int8)

    def dequantize(self):
        return self.values * self.scale

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is nn.functional.linear:
            x, weight, *bias = args
            return function(x, weight.dequantize(), *bias)
        return super().__torch_function__(function, types, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.detach.default:
            return args[0]
        raise NotImplementedError(f"Int8: {function}")


def quantised(clip):
    model = copy.deepcopy(clip.model).requires_grad_(False)
    for module in model.modules():
        if type(module) is nn.Linear:
            module.weight = nn.Parameter(Int8(module.weight.data), requires_grad=False)
    return clipnotes.Clip(model, clip.tokenizer, clip.image_processor)


def test_weights_that_are_more_than_tensors(clip, tmp_path):
    """The plain path with a warning, and a prompt that can be saved."""
    small = quantised(clip)
    where = "the weight of text_projection is of type"
    learner = small_learner(small)
    with pytest.warns(UserWarning, match=re.escape(f"{where} {__name__}.Int8")):
        features = learner()
    assert (features - small_learner(clip)()).abs().max() < 0.1
    assert torch.autograd.grad(features[:, 0].sum(), learner.ctx)[0].abs().max() > 0
    learner.save(tmp_path)
    assert PromptLearner.load(tmp_path, small).classnames == CLASSES
    with pytest.raises(ValueError, match="learned with the text tower"):
        PromptLearner.load(tmp_path, clip)
