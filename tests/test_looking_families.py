"""What is read off a model that ran, for the families beside CLIP: computed, or refused."""

import pytest
import torch
from torch.nn.functional import normalize

from clipnotes import compat, looking
from families import NAMES, some_clip, tiny_model
from reference import assert_close

DUALS = ["ViT+XLMRoberta", "DeiT+Bert", "CLIPVision+Bert", "ChineseCLIPVision+Bert"]


@pytest.fixture
def pixel_values():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", NAMES)
def test_the_grid_of_any_family(name, pixel_values):
    assert looking.grid_of(tiny_model(name), pixel_values) == (2, 2)
    assert looking.grid_of(tiny_model(name), pixel_values[..., :4]) == (2, 1)


@pytest.mark.parametrize("name", [*NAMES, *DUALS])
@torch.no_grad()
def test_every_family_is_looked_into(name, pixel_values):
    model = some_clip(name).model
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


@pytest.mark.parametrize("name", ["VisionTextDualEncoder", *DUALS])
@torch.no_grad()
def test_a_dual_encoder_patch_by_patch(name, pixel_values):
    model = some_clip(name).model
    front = 2 if name.startswith("DeiT") else 1  # DeiT's distillation token is no patch
    assert compat.family_of(model).class_tokens(model) == front
    states = compat.vision_states(model, pixel_values)
    texts = normalize(torch.eye(6)[:3] + 0.1, dim=-1)
    # Where a patch stands in the class token's place, the tower itself reads it out.
    last = states.hidden_states[-1]
    tower = compat.family_of(model).vision_tower(model)
    expected = []
    for i in range(front, front + 4):

        def in_front(module, args, output, i=i):
            made = output if isinstance(output, torch.Tensor) else output[0]
            made = torch.cat([made[:, i : i + 1], made[:, 1:]], dim=1)
            return made if isinstance(output, torch.Tensor) else (made, *output[1:])

        hook = compat.family_of(model).vision_layers(model)[-1].register_forward_hook(in_front)
        pooled = tower(pixel_values=pixel_values)[1]
        hook.remove()
        expected.append(normalize(model.visual_projection(pooled), dim=-1) @ texts.T)
    maps = looking.patch_text_maps(model, last, texts)
    assert_close("maps", maps, torch.stack(expected, dim=-1).unflatten(-1, (2, 2)))

    # Some patches: the model itself, with a table of positions for the patches that are there.
    kept = torch.tensor([[0, 3], [2, 1]])
    found = looking.features_from(model, pixel_values, kept)
    embeddings = compat.family_of(model).vision_embeddings(model)
    whole = embeddings(pixel_values)
    for picture in range(2):
        rows = [*range(front), *(kept[picture] + front).tolist()]
        hook = embeddings.register_forward_hook(lambda *_, i=picture, r=rows: whole[i : i + 1, r])
        own = compat.image_features(model, pixel_values[picture : picture + 1])
        hook.remove()
        assert_close("some", found[picture], normalize(own, dim=-1)[0])
    none = looking.features_from(model, pixel_values, kept[:, :0])  # a class token alone
    assert none.shape == (2, 6) and none.isfinite().all()
    with pytest.raises(ValueError, match=r"names patches 0 to 4; there are 0 to 3"):
        looking.features_from(model, pixel_values, torch.tensor([[0], [4]]))


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
