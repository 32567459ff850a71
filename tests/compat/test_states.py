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
    family_of,
    image_features,
    text_features,
    text_states,
    text_tower,
    vision_states,
    vision_tower,
)
from every_class import IDS, MASK, images, text_models, vision_models
from families import dual_clip, some_clip
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


def shares_by_hand(layer, states, heads, mask=None):
    """What a layer's queries and keys say, with nothing of transformers but these matrices."""
    norm = getattr(layer, "layernorm_before", getattr(layer, "layer_norm1", None))  # not in BERT
    states = states if norm is None else norm(states)
    parts = {name.rpartition(".")[2]: part for name, part in layer.named_modules()}
    query, key = (
        next(parts[name] for name in names if name in parts)(states)
        .unflatten(-1, (heads, -1))
        .transpose(1, 2)  # (B, L, D) -> (B, H, L, D / H)
        for names in (("query", "q_proj"), ("key", "k_proj"))
    )
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(mask[:, None, None] == 0, -torch.inf)
    return scores.softmax(-1)


BERTS = ["ChineseCLIP", "AltCLIP", "ViT+Bert", "ViT+Roberta", "ViT+XLMRoberta", "ViT+Camembert"]


@pytest.mark.parametrize("name", BERTS)
@torch.no_grad()
def test_text_states_of_a_bert(name):
    clip = some_clip(name)
    family, texts = family_of(clip.model), clip.tokenize(["a photo of a red fox", "a dog"])
    ids, mask = texts["input_ids"], texts["attention_mask"]
    assert mask.sum(1).tolist() == [8, 4], "the second text is padded"
    tower, layers = family.text_tower(clip.model), family.text_layers(clip.model)
    before = implementations(clip.model)
    states = text_states(clip.model, ids, mask)
    assert implementations(clip.model) == before
    plain = tower(input_ids=ids, attention_mask=mask)
    assert_close("last", states.last_hidden_state, plain[0])
    pooled = plain[0][:, 0] if name == "ChineseCLIP" else plain[1]
    assert_close("pooled", states.pooler_output, pooled)
    first = family.text_embeddings(clip.model)(input_ids=ids)
    assert_close("first", states.hidden_states[0], first)
    assert len(states.hidden_states) == len(layers) + 1 == len(states.attentions) + 1
    for layer, state, weights in zip(layers, states.hidden_states, states.attentions, strict=False):
        assert_close("weights", weights, shares_by_hand(layer, state, 2, mask))
        assert weights[1, :, :, 4:].abs().max() == 0 and weights[0].triu(1).max() > 0.01
    alone = text_states(clip.model, ids[1:, :4])  # unpadded, the layers need nothing but states
    for i, layer in enumerate(layers):
        made = layer(alone.hidden_states[i])
        assert_close(
            "layer", alone.hidden_states[i + 1], made if isinstance(made, torch.Tensor) else made[0]
        )
    if name != "AltCLIP":  # which transforms what its BERT returns
        assert_close("end", states.hidden_states[-1], states.last_hidden_state)


@pytest.mark.parametrize("name", ["ViT+Bert", "DeiT+Bert", "CLIPVision+Bert", "ChineseCLIP"])
@torch.no_grad()
def test_vision_states_of_a_dual_encoder(name):
    model = some_clip(name).model
    family, x = family_of(model), torch.randn(2, 3, 8, 8, generator=torch.manual_seed(0))
    tower, layers = family.vision_tower(model), family.vision_layers(model)
    before = implementations(model)
    states = vision_states(model, x)
    assert implementations(model) == before
    plain = tower(pixel_values=x)
    assert_close("last", states.last_hidden_state, plain[0])
    assert_close("pooled", states.pooler_output, plain[1])
    n_tokens = 4 + family.class_tokens(model)
    assert [state.shape for state in states.hidden_states] == [(2, n_tokens, 12)] * 3
    tokens = family.vision_embeddings(model)(x)
    if "ViT" not in name and "DeiT" not in name:
        tokens = vision_tower(model).pre_layrnorm(tokens)
    assert_close("first", states.hidden_states[0], tokens)
    for layer, state, weights in zip(layers, states.hidden_states, states.attentions, strict=False):
        assert_close("weights", weights, shares_by_hand(layer, state, 2))
    if hasattr(tower, "layernorm"):  # ViT keeps what stands in front of it
        assert_close("end", tower.layernorm(states.hidden_states[-1]), states.last_hidden_state)
    features = family.read_out(model, states.hidden_states[-1])
    assert_close("features", features, image_features(model, x))
    given = model.get_image_features(pixel_values=x) if name != "ChineseCLIP" else features
    assert_close("own", features, given if isinstance(given, torch.Tensor) else given[1])


def test_a_dual_encoder_needs_the_pooler_of_its_vit():
    model = dual_clip("ViT").model
    model.vision_model.pooler = None
    with pytest.raises(TypeError, match=r"is a ViTModel, and how it pools .* with its pooler"):
        vision_states(model, torch.zeros(1, 3, 8, 8))


def test_a_compiled_layer_of_a_bert_is_named():
    model = dual_clip("ViT").model
    layer = model.text_model.encoder.layer[1]
    layer.attention = torch.compile(layer.attention, backend="eager")
    with pytest.raises(ValueError, match=r"encoder\.layer\.1\.attention' is compiled"):
        text_states(model, IDS)


@pytest.mark.parametrize("states", ["vision", "text", "ViT", "BERT"])
def test_attentions_come_without_a_warning(states, caplog):
    """A version that falls back to eager by itself gives the same numbers, but warns."""
    logging.Logger.warning_once.cache_clear()  # else only the first test of a run would hear it
    log = logging.getLogger("transformers")
    log.addHandler(caplog.handler)
    try:
        model = tiny_clip(0)  # SDPA is the default
        if states == "vision":
            vision_states(model, images(model))
        elif states == "ViT":
            vision_states(dual_clip("ViT").model, images(model))
        elif states == "BERT":
            text_states(dual_clip("ViT").model, IDS, MASK)
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
