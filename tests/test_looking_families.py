"""What is read off a model that ran, for the families beside CLIP: computed, or refused."""

import pytest
import torch
from torch.nn.functional import normalize

from clipnotes import compat, looking
from families import NAMES, tiny_model
from reference import assert_close

WITHOUT = ("VisionTextDualEncoder",)  # a class token that is read out otherwise


@pytest.fixture
def pixel_values():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", NAMES)
def test_the_grid_of_any_family(name, pixel_values):
    assert looking.grid_of(tiny_model(name), pixel_values) == (2, 2)
    assert looking.grid_of(tiny_model(name), pixel_values[..., :4]) == (2, 1)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT])
@torch.no_grad()
def test_what_ends_as_clips_or_siglips_is_looked_into(name, pixel_values):
    model = tiny_model(name)
    states = compat.vision_states(model, pixel_values)
    features = normalize(compat.image_features(model, pixel_values), dim=-1)
    if name != "Siglip":  # whose feature is not read out of one vector alone
        alone = looking.shared_vectors(model, states.hidden_states[-1])
        assert_close("vectors", alone[:, 0], features)
    texts = normalize(torch.eye(compat.shared_width(model))[:3] + 0.1, dim=-1)
    found = looking.logits_by_layer(model, states.hidden_states, texts)
    assert_close("logits", found[-1], compat.logits(model, features @ texts.T))
    everything = torch.arange(4).expand(2, -1)
    assert_close("all", looking.features_from(model, pixel_values, everything), features)


@pytest.mark.parametrize("name", WITHOUT)
def test_what_ends_otherwise_says_so(name, pixel_values):
    model = tiny_model(name)
    with pytest.raises(TypeError, match="no CLIP vision tower"):
        looking.shared_vectors(model, torch.zeros(1, 5, 12))
    with pytest.raises(TypeError, match="no CLIP vision tower"):
        looking.logits_by_layer(model, [torch.zeros(1, 5, 12)], torch.zeros(1, 12))


@torch.no_grad()
def test_a_siglip_sees_some_of_its_patches(pixel_values):
    model = tiny_model("Siglip")
    kept = torch.tensor([[0, 3], [2, 1]])
    found = looking.features_from(model, pixel_values, kept)
    everything = torch.arange(4).expand(2, -1)
    whole = normalize(compat.image_features(model, pixel_values), dim=-1)
    assert_close("all", looking.features_from(model, pixel_values, everything), whole)
    assert_close("order", looking.features_from(model, pixel_values, kept.flip(1)), found)
    # The reference is the model itself, with a table of positions for the patches that are there.
    tower = compat.family_of(model).vision_tower(model)
    patches = tower.embeddings(pixel_values)
    for picture in range(2):
        hook = tower.embeddings.register_forward_hook(
            lambda *_, i=picture: patches[i : i + 1, kept[i]]
        )
        own = compat.image_features(model, pixel_values[picture : picture + 1])
        hook.remove()
        assert_close("some", found[picture], normalize(own, dim=-1)[0])
    assert (found - whole).abs().max() > 0.01
    with pytest.raises(ValueError, match="kept is empty, and SigLIP has no class token"):
        looking.features_from(model, pixel_values, kept[:, :0])
    with pytest.raises(ValueError, match=r"names patches 0 to 4; there are 0 to 3"):
        looking.features_from(model, pixel_values, torch.tensor([[0], [4]]))


def test_offsets_without_a_class_token():
    attention = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    found = looking.by_offset(attention[..., 1:, 1:], class_tokens=0)
    assert_close("the same patches", found, looking.by_offset(attention))
