"""The same answers from every class of every supported version of transformers."""

import inspect
import logging
import subprocess
import sys
import urllib.parse
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from packaging.version import Version
from PIL import Image
from torch import nn
from transformers import (
    CLIPModel,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
)

from clipnotes import compat
from clipnotes.compat import (
    changes_nothing,
    checkpoint_layers,
    eager_attention,
    image_features,
    image_processor_class,
    recorded,
    source_url,
    text_features,
    text_states,
    text_tower,
    vision_states,
    vision_tower,
)
from reference import agree, assert_close, pixels, randomise, tiny_clip

IDS = torch.tensor([[2, 7, 9, 3, 0], [2, 5, 3, 0, 0]])  # BOS, words, EOS, padding
MASK = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]])
EQUAL_WIDTHS = {"width": 12, "projection_dim": 12}


def images(model):
    return pixels(getattr(model.config, "vision_config", model.config), 0, size=(8, 8))


def implementations(model):
    return [
        module.config._attn_implementation
        for module in model.modules()
        if hasattr(module, "config")
    ], [type(module) for module in model.modules()]


def vision_models(seed=0, **sizes):
    clip = tiny_clip(seed, **sizes)
    config = clip.config.vision_config
    config.projection_dim = clip.config.projection_dim
    with_projection = randomise(CLIPVisionModelWithProjection(config), 1)
    return clip, randomise(CLIPVisionModel(config), 2), with_projection


def text_models(seed=0, **sizes):
    clip = tiny_clip(seed, **sizes)
    config = clip.config.text_config
    config.projection_dim = clip.config.projection_dim
    with_projection = randomise(CLIPTextModelWithProjection(config), 1)
    return clip, randomise(CLIPTextModel(config), 2), with_projection


VISION_PARTS = ["embeddings", "pre_layrnorm", "encoder", "post_layernorm"]
TEXT_PARTS = ["embeddings", "encoder", "final_layer_norm"]


@pytest.mark.parametrize(
    ("models", "find", "parts", "attribute"),
    [
        (vision_models, vision_tower, VISION_PARTS, "vision_model"),
        (text_models, text_tower, TEXT_PARTS, "text_model"),
    ],
)
def test_towers_in_every_class(models, find, parts, attribute):
    for model in models():
        tower = find(model)
        assert [name for name, _ in tower.named_children()] == parts
        assert any(module is tower for module in model.modules())
        assert find(tower) is tower
        assert find(getattr(model, attribute, tower)) is tower


def test_towers_name_what_they_cannot_take():
    _, vision, _ = vision_models()
    _, text, _ = text_models()
    with pytest.raises(
        TypeError, match=r"vision tower in a CLIPTextModel\. Give a CLIPModel, CLIPVis"
    ):
        vision_tower(text)
    with pytest.raises(
        TypeError, match=r"text tower in a CLIPVisionModel\. Give a CLIPModel, CLIPText"
    ):
        text_tower(vision)
    with pytest.raises(TypeError, match=rf"in a Linear.*with {', '.join(VISION_PARTS)}\)"):
        vision_tower(nn.Linear(2, 2))
    with pytest.raises(TypeError, match=rf"in a str.*with {', '.join(TEXT_PARTS)}\)"):
        text_tower("openai/clip-vit-base-patch32")


@pytest.mark.parametrize("sizes", [{}, EQUAL_WIDTHS], ids=["other width", "equal widths"])
def test_features_are_those_of_the_model(sizes):
    clip = tiny_clip(0, **sizes)
    x = images(clip)
    out = clip(input_ids=IDS, pixel_values=x, attention_mask=MASK)
    for kind, features, tower_states in (
        ("image", image_features(clip, x), vision_states(clip, x)),
        ("text", text_features(clip, IDS, MASK), text_states(clip, IDS, MASK)),
    ):
        assert type(features) is torch.Tensor
        assert features.shape == (2, clip.config.projection_dim)
        assert_close(kind, features / features.norm(dim=-1, keepdim=True), out[f"{kind}_embeds"])
        # Neither the pooled vector nor a vector projected twice.
        projection = clip.visual_projection if kind == "image" else clip.text_projection
        assert_close(kind, features, projection(tower_states.pooler_output))
        assert not torch.allclose(features.norm(dim=-1), torch.ones(2))

    for kind, theirs, ours in (
        ("image", clip.get_image_features(pixel_values=x), image_features(clip, x)),
        ("text", clip.get_text_features(IDS, attention_mask=MASK), text_features(clip, IDS, MASK)),
    ):
        assert_close(kind, ours, theirs if torch.is_tensor(theirs) else theirs.pooler_output)


@pytest.mark.parametrize("sizes", [{}, EQUAL_WIDTHS], ids=["other width", "equal widths"])
def test_features_of_the_classes_with_projection(sizes):
    model = vision_models(**sizes)[2]
    x = images(model)
    assert_close("image", image_features(model, x), model(x).image_embeds)
    model = text_models(**sizes)[2]
    assert_close("text", text_features(model, IDS, MASK), model(IDS, MASK).text_embeds)
    assert_close("text", text_features(model, IDS), model(IDS).text_embeds)


def test_features_pass_arguments_on():
    clip = tiny_clip(0)
    x = pixels(clip.config.vision_config, 0, size=(12, 8))
    with pytest.raises(ValueError, match="doesn't match model"):
        image_features(clip, x)
    assert image_features(clip, x, interpolate_pos_encoding=True).shape == (2, 12)
    shifted = torch.arange(1, 6)[None]
    assert not torch.allclose(
        text_features(clip, IDS, position_ids=shifted), text_features(clip, IDS)
    )


def test_a_masked_word_does_not_count():
    clip, mask = tiny_clip(0), MASK.clone()
    mask[:, 1] = 0  # before the end, which looks back at it
    features, theirs = text_features(clip, IDS, mask), clip.get_text_features(IDS, mask)
    assert_close("text", features, theirs if torch.is_tensor(theirs) else theirs.pooler_output)
    assert not torch.allclose(features, text_features(clip, IDS, MASK), atol=1e-3)


def test_features_need_a_projection():
    with pytest.raises(TypeError, match=r"CLIPVisionModel has no visual_projection.*CLIPModel"):
        image_features(vision_models()[1], None)
    with pytest.raises(TypeError, match=r"CLIPTextModel has no text_projection.*CLIPModel"):
        text_features(text_models()[1], None)


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


def test_checkpointed_layers_run_twice_and_learn_above_frozen_embeddings():
    clip = tiny_clip(0).train()
    vision, starts = vision_tower(clip), []
    vision.embeddings.requires_grad_(False)
    vision.pre_layrnorm.requires_grad_(False)
    for layer in vision.encoder.layers:
        layer.layer_norm1.register_forward_pre_hook(lambda *_: starts.append(1))
    checkpoint_layers(clip, use_reentrant=False)
    vision(images(clip))[1].sum().backward()
    assert all(weight.grad is not None for weight in vision.encoder.parameters())
    assert len(starts) == 2 * len(vision.encoder.layers)


def test_checkpointing_takes_the_name_that_is_there_and_the_version_s_default():
    heard = []
    old = SimpleNamespace(gradient_checkpointing_enable=heard.append)
    checkpoint_layers(old)
    checkpoint_layers(old, use_reentrant=True)
    both = SimpleNamespace(activation_checkpointing_enable=heard.append, **vars(old))
    both.gradient_checkpointing_enable = lambda how: pytest.fail("the deprecated name was called")
    checkpoint_layers(both, use_reentrant=False)
    assert heard == [None, {"use_reentrant": True}, {"use_reentrant": False}]


def test_only_transformers_own_hooks_change_nothing():
    def hook(*_):
        pass

    assert not changes_nothing(hook)
    assert not changes_nothing("".__len__)  # of no module
    for module in ("transformers.utils.output_capturing", "transformers.modeling_utils"):
        hook.__module__ = module
        assert changes_nothing(hook)


def test_the_image_processor_is_the_one_for_pil_pictures(monkeypatch):
    found = image_processor_class()
    given = found(size=4, crop_size=4)(Image.new("RGB", (8, 4)), return_tensors="np")
    assert given["pixel_values"].shape == (1, 3, 4, 4)
    both = SimpleNamespace(CLIPImageProcessor=list, CLIPImageProcessorPil=dict)
    monkeypatch.setitem(sys.modules, "transformers", both)
    assert image_processor_class() is dict
    del both.CLIPImageProcessorPil  # as in older versions
    assert image_processor_class() is list


def test_the_records_are_read_oldest_first():
    found = recorded()
    assert list(found) == sorted(found, key=Version) and "4.49.0" in found
    assert all(facts["transformers"] == version for version, facts in found.items())


def test_eager_attention_does_not_touch_another_model():
    clip, other = tiny_clip(0), tiny_clip(0)
    with eager_attention(clip):
        assert "eager" not in implementations(other)[0]


@pytest.mark.parametrize(
    ("obj", "start"),
    [
        (CLIPModel, "class CLIPModel("),
        (CLIPVisionModel, "class CLIPVisionModel("),
        (CLIPModel.get_image_features, "def get_image_features("),  # behind decorators
        (CLIPModel.forward, "def forward("),
        (transformers.CLIPConfig, "class CLIPConfig("),
        (type(vision_tower(tiny_clip(0)).embeddings), "class CLIPVisionEmbeddings("),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_source_url_points_at_the_definition(obj, start):
    url = urllib.parse.urlsplit(source_url(obj))
    prefix = f"/huggingface/transformers/blob/v{transformers.__version__}/src/"
    assert (url.scheme, url.netloc) == ("https", "github.com")
    assert url.path.startswith(f"{prefix}transformers/models/clip/")
    file = Path(transformers.__file__).parents[1] / url.path.removeprefix(prefix)
    number = int(url.fragment.removeprefix("L"))
    assert file.read_text(encoding="utf-8").splitlines()[number - 1].lstrip().startswith(start)


@pytest.mark.parametrize(
    "obj", [nn.Linear, torch.softmax, len, "CLIPModel", 3, transformers, tiny_clip(0)]
)
def test_source_url_refuses_what_transformers_does_not_define(obj):
    with pytest.raises(TypeError, match="is not a class or function of transformers"):
        source_url(obj)


def test_importing_compat_does_not_import_transformers():
    code = "import sys, clipnotes.compat, clipnotes.model; sys.exit('transformers' in sys.modules)"
    root = Path(compat.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


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
