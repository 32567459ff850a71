"""All states and all attention weights of a tower, whatever the model attends with."""

import inspect
import logging

import pytest
import torch
from torch import nn
from transformers import (
    CLIPModel,
)

from clipnotes.compat import (
    eager_attention,
    image_features,
    text_features,
    text_states,
    text_tower,
    vision_states,
    vision_tower,
)
from every_class import IDS, MASK, images, text_models, vision_models
from reference import agree, assert_close, pixels, tiny_clip


def implementations(model):
    return [
        module.config._attn_implementation
        for module in model.modules()
        if hasattr(module, "config")
    ], [type(module) for module in model.modules()]


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_vision_states_are_complete(implementation):
    for model in vision_models(attn_implementation=implementation):
        x, tower = images(model), vision_tower(model)
        states = vision_states(model, x)
        assert [state.shape for state in states.hidden_states] == [(2, 5, 16)] * 3
        assert [weights.shape for weights in states.attentions] == [(2, 2, 5, 5)] * 2
        assert_close("shares", states.attentions[1].sum(-1), torch.ones(2, 2, 5))
        plain = tower(pixel_values=x)
        assert_close("last", states.last_hidden_state, plain.last_hidden_state)
        assert_close("pooled", states.pooler_output, plain.pooler_output)
        assert torch.equal(states.hidden_states[-1], states.last_hidden_state)
        assert_close("own", states.pooler_output, tower.post_layernorm(plain[0][:, 0]))
        first = tower.pre_layrnorm(tower.embeddings(x))
        assert_close("first", states.hidden_states[0], first)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
def test_text_states_are_complete(implementation, mask):
    for model in text_models(attn_implementation=implementation):
        tower = text_tower(model)
        states = text_states(model, IDS, mask)
        assert [state.shape for state in states.hidden_states] == [(2, 5, 16)] * 3
        assert [weights.shape for weights in states.attentions] == [(2, 2, 5, 5)] * 2
        for weights in states.attentions:
            assert torch.equal(weights, weights.tril())  # causal
            if mask is not None:
                assert weights[1, :, :, 3:].abs().max() == 0
        plain = tower(input_ids=IDS, attention_mask=mask)
        assert_close("last", states.last_hidden_state, plain.last_hidden_state)
        assert_close("pooled", states.pooler_output, plain.pooler_output)
        assert_close("own", states.pooler_output, plain[0][[0, 1], [3, 2]])  # at EOS
        normed = tower.final_layer_norm(states.hidden_states[-1])
        assert_close("before the norm", normed, states.last_hidden_state)
        first = tower.embeddings(input_ids=IDS)
        assert_close("first", states.hidden_states[0], first)


def test_states_do_not_depend_on_return_dict():
    clip = tiny_clip(0, return_dict=False)
    assert len(vision_states(clip, images(clip))) == len(text_states(clip, IDS)) == 4
    assert image_features(clip, images(clip)).shape == text_features(clip, IDS).shape == (2, 12)


def test_states_pass_arguments_on():
    clip = tiny_clip(0)
    x = pixels(clip.config.vision_config, 0, size=(12, 8))
    assert vision_states(clip, x, interpolate_pos_encoding=True).last_hidden_state.shape[1] == 7
    shifted = torch.arange(1, 6)[None]
    first = text_states(clip, IDS, position_ids=shifted).hidden_states[0]
    assert_close("first", first, text_tower(clip).embeddings(input_ids=IDS, position_ids=shifted))


def test_states_leave_no_trace_and_say_nothing(capfd):
    clip = tiny_clip(0)
    before = implementations(clip)
    vision_states(clip, images(clip))
    text_states(clip, IDS)
    assert implementations(clip) == before
    assert capfd.readouterr() == ("", "")


def test_states_refuse_a_layer_without_weights():
    class Silent(nn.Module):
        def forward(self, hidden_states, **_):
            return hidden_states, None

    clip = tiny_clip(0)
    vision_tower(clip).encoder.layers[1].self_attn = Silent()
    with pytest.raises(
        RuntimeError, match=r"not all 2 layers of CLIPVision.* gave attention weights"
    ):
        vision_states(clip, images(clip))


@pytest.mark.parametrize("states", ["vision", "text"])
def test_attentions_come_without_a_warning(states, caplog):
    """A version that falls back to eager by itself gives the same numbers, but warns."""
    logging.Logger.warning_once.cache_clear()  # else only the first test of a run would hear it
    log = logging.getLogger("transformers")
    log.addHandler(caplog.handler)
    try:
        model = tiny_clip(0)  # SDPA is the default
        if states == "vision":
            vision_states(model, images(model))
        else:
            text_states(model, IDS, MASK)
    finally:
        log.removeHandler(caplog.handler)
    assert caplog.messages == []


# `eager_attention`


def test_eager_attention_lets_the_weights_out_of_a_whole_model():
    clip = tiny_clip(0)
    x = images(clip)
    with eager_attention(clip):
        out = clip(input_ids=IDS, pixel_values=x, output_attentions=True)
    for got, states in (
        (out.vision_model_output.attentions, vision_states(clip, x)),
        (out.text_model_output.attentions, text_states(clip, IDS)),
    ):
        assert len(got) == 2
        for a, b in zip(got, states.attentions, strict=True):
            assert agree(a, b)


def test_eager_attention_restores_each_tower_also_after_an_exception():
    clip = tiny_clip(0)
    text_tower(clip).config._attn_implementation = "eager"  # another one than the rest of the model
    before = implementations(clip)
    assert {"sdpa", "eager"} <= set(before[0])
    with eager_attention(clip):
        assert set(implementations(clip)[0]) == {"eager"}
        with eager_attention(clip):  # nesting is harmless
            pass
        assert set(implementations(clip)[0]) == {"eager"}
    assert implementations(clip) == before
    with pytest.raises(ZeroDivisionError), eager_attention(clip):
        raise ZeroDivisionError
    assert implementations(clip) == before


def test_eager_attention_does_not_touch_another_model():
    clip, other = tiny_clip(0), tiny_clip(0)
    with eager_attention(clip):
        assert "eager" not in implementations(other)[0]


def test_where_the_class_decides_the_eager_one_is_put_in(monkeypatch):
    """As in 4.49, and here in any version."""
    clip = tiny_clip(0)
    attention = [layer.self_attn for layer in vision_tower(clip).encoder.layers]
    (own,) = set(map(type, attention))
    eager = type("Eager", (own,), {})
    classes = {"eager": eager, "sdpa": own}
    monkeypatch.setattr(inspect.getmodule(own), "CLIP_ATTENTION_CLASSES", classes, raising=False)
    before = implementations(clip)
    with eager_attention(clip):
        assert set(map(type, attention)) == {eager}
        assert type(clip) is CLIPModel
    assert implementations(clip) == before
