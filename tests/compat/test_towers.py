"""The towers and the features of a model, from every class of every supported version."""

import pytest
import torch
from torch import nn

from clipnotes.compat import (
    image_features,
    text_features,
    text_states,
    text_tower,
    vision_states,
    vision_tower,
)
from every_class import IDS, MASK, images, text_models, vision_models
from reference import assert_close, pixels, tiny_clip

EQUAL_WIDTHS = {"width": 12, "projection_dim": 12}
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
