"""What our two towers take over from transformers: weights, names, dtype, device and mode."""

from collections.abc import Callable
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection

from clipnotes.compat import eager_attention, text_states, text_tower, vision_states, vision_tower
from clipnotes.model import TextTower, VisionTower
from reference import agree, assert_close, assert_same_stages, pixels, tiny_clip, tiny_vision
from reference_text import assert_same_text_stages, texts, tiny_text


class Kind(NamedTuple):
    """One of the two towers, and what its tests need of transformers."""

    name: str
    ours: Any
    make: Callable[..., Any]
    find: Callable[..., Any]
    inputs: Callable[..., dict[str, torch.Tensor]]
    states: Callable[..., Any]
    compare: Callable[..., None]


TEXT = Kind(
    "text",
    TextTower,
    tiny_text,
    text_tower,
    lambda config, seed: texts(config, seed, kind="right"),
    text_states,
    assert_same_text_stages,
)
VISION = Kind(
    "vision",
    VisionTower,
    tiny_vision,
    vision_tower,
    lambda config, seed: {"pixel_values": pixels(config, seed)},
    vision_states,
    lambda ours, theirs, inputs: assert_same_stages(ours, theirs, **inputs),
)
WITH_PROJECTION = {"text": CLIPTextModelWithProjection, "vision": CLIPVisionModelWithProjection}
for_both = pytest.mark.parametrize("kind", [TEXT, VISION], ids=lambda kind: kind.name)


@for_both
def test_from_any_class_that_has_the_tower(kind):
    clip = tiny_clip(0)
    config = getattr(clip.config, f"{kind.name}_config")
    with_projection = WITH_PROJECTION[kind.name](config).eval()
    for model in (clip, kind.find(clip), with_projection):
        kind.compare(kind.ours.from_transformers(model), model, kind.inputs(config, 0))


@for_both
def test_what_cannot_be_taken_is_named(kind):
    words = rf"no CLIP {kind.name} tower in a Linear.*CLIP{kind.name.capitalize()}Model"
    with pytest.raises(TypeError, match=words):
        kind.ours.from_transformers(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"hidden_act 'relu' is not one of \['gelu', "):
        kind.ours.from_transformers(kind.make(0, hidden_act="relu"))


@for_both
def test_it_copies(kind):
    theirs = kind.make(1)
    inputs = kind.inputs(theirs.config, 1)
    before_copying = torch.get_rng_state()
    ours = kind.ours.from_transformers(theirs)
    assert torch.equal(torch.get_rng_state(), before_copying), "no random number was drawn"
    pooled = ours(**inputs).pooler_output
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.zero_()
    kind.find(theirs).embeddings.position_ids.zero_()
    assert agree(ours(**inputs).pooler_output, pooled)
    assert all(weight.requires_grad for weight in ours.parameters())


@pytest.mark.parametrize("training", [True, False])
@for_both
def test_the_mode_is_kept(kind, training):
    ours = kind.ours.from_transformers(kind.make(1).train(training))
    assert {module.training for module in ours.modules()} == {training}


@pytest.mark.parametrize(
    ("kind", "dtype"),
    # Of the text towers of transformers 4 none can run in double precision.
    [(TEXT, torch.bfloat16), (VISION, torch.bfloat16), (VISION, torch.float64)],
)
def test_the_dtype_is_kept_and_inputs_follow_it(kind, dtype):
    theirs = kind.make(2).to(dtype)
    ours = kind.ours.from_transformers(theirs)
    assert {weight.dtype for weight in ours.parameters()} == {dtype}
    inputs = kind.inputs(theirs.config, 2)  # pixels in float32, as an image processor makes them
    result, expected = ours(**inputs, output_attentions=True), kind.states(theirs, **inputs)
    assert {result.pooler_output.dtype, result.attentions[0].dtype} == {dtype}
    # bfloat16 has 8 bits of precision, so rounding alone differs by 2**-8 in each of some steps.
    # For float64 the reference's softmax goes down to float32.
    tolerance = 2**-5 if dtype == torch.bfloat16 else 1e-6
    assert_close("pooled", result.pooler_output, expected.pooler_output, tolerance)
    if kind is VISION:  # behind a text's end versions differ
        assert_close("last", result.last_hidden_state, expected.last_hidden_state, tolerance)


@for_both
def test_the_device_is_kept(kind):
    theirs = kind.make(2)
    ids_or_pixels, *_ = kind.inputs(theirs.config, 2).values()
    ours = kind.ours.from_transformers(theirs.to("meta"))
    assert {tensor.device.type for tensor in [*ours.parameters(), *ours.buffers()]} == {"meta"}
    assert ours(ids_or_pixels.to("meta")).pooler_output.is_meta


@for_both
def test_attention_dropout_is_that_of_the_config(kind):
    theirs = kind.make(3, attention_dropout=0.4).train()
    ours = kind.ours.from_transformers(theirs)
    inputs = kind.inputs(theirs.config, 3)
    with eager_attention(theirs):
        torch.manual_seed(0)
        expected = theirs(**inputs).last_hidden_state
    torch.manual_seed(0)
    result = ours(**inputs, output_attentions=True).last_hidden_state
    assert_close("last_hidden_state", result, expected)


@for_both
def test_names_are_those_of_the_checkpoint_and_loading_is_strict(kind):
    theirs = kind.find(kind.make(4))
    ours = kind.ours.from_transformers(theirs)
    weights = theirs.state_dict()
    assert set(ours.state_dict()) == set(weights)  # position_ids is in neither
    ours.load_state_dict(weights)
    norm = [name for name, _ in theirs.named_children() if "norm" in name][-1]
    with pytest.raises(RuntimeError, match="Missing key"):
        ours.load_state_dict({k: v for k, v in weights.items() if k != f"{norm}.bias"})
    getattr(theirs, norm).extra = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(RuntimeError, match=rf"Unexpected key.*{norm}\.extra"):
        kind.ours.from_transformers(theirs)


@for_both
def test_states_come_only_when_asked(kind):
    theirs = kind.make(0)
    ours, inputs = kind.ours.from_transformers(theirs), kind.inputs(theirs.config, 0)
    n_layers = theirs.config.num_hidden_layers
    assert ours(**inputs)[2:] == (None, None)
    asked = ours(**inputs, output_hidden_states=True)
    assert (len(asked.hidden_states), asked.attentions) == (n_layers + 1, None)
    asked = ours(**inputs, output_attentions=True)
    assert (asked.hidden_states, len(asked.attentions)) == (None, n_layers)


@pytest.mark.parametrize(("attention", "is_fused"), [("sdpa", True), ("written_out", False)])
@for_both
def test_the_chosen_attention_reaches_every_layer(kind, attention, is_fused):
    name = "scaled_dot_product_attention"
    sizes = {"hidden_size": 4, "num_attention_heads": 2, "intermediate_size": 8}
    tower = kind.ours(**sizes, num_hidden_layers=3, attention=attention)
    config = kind.make(0).config
    config.image_size, config.num_channels = 224, 3
    with patch.object(F, name, wraps=getattr(F, name)) as kernel:
        tower(**kind.inputs(config, 0))
    assert kernel.call_count == 3 * is_fused


@for_both
def test_gradient_checkpointing_through_the_tower(kind):
    theirs = kind.make(6, num_hidden_layers=3)
    ours = kind.ours.from_transformers(theirs).train()
    ours.encoder.gradient_checkpointing = True
    kind.compare(ours, theirs, kind.inputs(theirs.config, 6))
