"""Attention that is somebody's own: neither weights nor modules tell, so it is looked up."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
)

import clipnotes
from clipnotes.compat import text_states, text_tower, vision_states
from clipnotes.compat.attention import foreign_attention
from clipnotes.model.clip import CLIP
from clipnotes.model.text import TextTower
from clipnotes.model.vision import VisionTower
from clipnotes.prompts import PromptLearner
from reference import assert_close

transformers_modeling = pytest.importorskip("transformers.models.clip.modeling_clip")
REGISTRY = getattr(transformers_modeling, "ALL_ATTENTION_FUNCTIONS", None)
looks_up = pytest.mark.skipif(REGISTRY is None, reason="in 4.49 a class of its own attends")
NAMES = ["rose", "tulip"]


def mine(module, query, key, value, attention_mask, *args, scaling=None, **kwargs):
    """Attention of a text, half as sharp."""
    scores = query @ key.transpose(-1, -2) * module.scale / 2
    scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), float("-inf"))
    return (scores.softmax(-1) @ value).transpose(1, 2).contiguous(), None


def with_attention(clip, name):
    model = copy.deepcopy(clip.model)
    for part in (model, model.text_model, model.vision_model):
        part.config._attn_implementation_internal = name
    for tower in (model.text_model, model.vision_model):
        for layer in tower.encoder.layers:
            layer.self_attn.config._attn_implementation_internal = name
    return clipnotes.Clip(model, clip.tokenizer, clip.image_processor)


def assert_plain(clip, words):
    with pytest.warns(UserWarning, match=f"plain path, .*because {words}"):
        found = PromptLearner(clip, NAMES, init="an emoji of a")()
    assert_close("f", found, PromptLearner(clip, NAMES, init="an emoji of a", fast=False)())
    return found


def assert_refused(clip, words):
    pixel_values = torch.zeros(1, 3, 64, 64)
    for what in (
        lambda: VisionTower.from_transformers(clip.model),
        lambda: TextTower.from_transformers(clip.model),
        lambda: CLIP.from_transformers(clip.model),
        lambda: vision_states(clip.model, pixel_values),
        lambda: text_states(clip.model, torch.tensor([[3998, 343, 3999]])),
    ):
        with pytest.raises(ValueError, match=f"the attention of this .* is {words}.*knows only"):
            what()


@looks_up
@pytest.mark.parametrize("name", ["mine", "sdpa"], ids=["one's own", "in sdpa's place"])
def test_a_registered_function_of_one_s_own_is_noticed(clip, monkeypatch, name):
    usual = PromptLearner(clip, NAMES, init="an emoji of a")()
    monkeypatch.setitem(REGISTRY, name, mine)
    other = with_attention(clip, name)
    words = rf"'{name}', which is {__name__}\.mine"
    assert (assert_plain(other, f"the attention is {words}") - usual).abs().max() > 1e-3
    assert_refused(other, words)


@looks_up
def test_a_replaced_eager_of_transformers_is_noticed(clip, monkeypatch):
    eager = with_attention(clip, "eager")
    assert foreign_attention(text_tower(eager.model).encoder.layers) is None
    monkeypatch.setattr(transformers_modeling, "eager_attention_forward", mine)
    assert_plain(eager, f"the attention is 'eager', which is {__name__}.mine")
    assert_refused(eager, "'eager'")


def test_a_replaced_sdpa_of_torch_is_noticed(clip, monkeypatch):
    sdpa = F.scaled_dot_product_attention

    def less(query, *args, **kwargs):
        return sdpa(query / 2, *args, **kwargs)

    usual = PromptLearner(clip, NAMES, init="an emoji of a")()
    monkeypatch.setattr(F, "scaled_dot_product_attention", less)
    words = "'sdpa', and torch's scaled_dot_product_attention is now"
    assert (assert_plain(clip, f"the attention is {words}") - usual).abs().max() > 1e-3
    assert_refused(clip, words)


def test_a_name_that_nobody_registered(clip):
    tower = text_tower(with_attention(clip, "mine").model)
    assert foreign_attention(tower.encoder.layers) == "'mine'"


@pytest.mark.parametrize("name", ["eager", "sdpa"])
def test_transformers_own_is_no_matter(clip, name):
    model = with_attention(clip, name).model
    for tower in (model.text_model, model.vision_model):
        assert foreign_attention(tower.encoder.layers) is None
    assert foreign_attention(VisionTower.from_transformers(model).encoder.layers) is None


@pytest.mark.parametrize(
    "register",
    [
        register_module_forward_hook,
        register_module_forward_pre_hook,
        register_module_full_backward_hook,
    ],
)
def test_a_hook_for_all_modules_is_noticed(clip, register):
    def hook(module, args, *output):
        return (2 * args[0],) if type(module) is torch.nn.LayerNorm and not output else None

    own = with_attention(clip, "sdpa")  # a copy: what is said of a model is said once
    handle = register(hook)
    try:
        assert_plain(own, "a hook is registered for all modules")
    finally:
        handle.remove()
