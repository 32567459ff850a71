"""The explorers' pages about other families than CLIP: with their numbers, or refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from clipnotes import compat
from clipnotes.explorer import explore, explore_text
from families import NAMES, tiny_clip
from pages import data_of, similarity_of, weights_of
from tiny_clip import HALF

IMAGE = Image.effect_noise((30, 20), 90).convert("RGB")


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("Siglip", "VisionTextDualEncoder")])
def test_an_image_page_of_a_model_with_clips_vision_tower(name):
    clip = tiny_clip(name)
    page = explore(clip, IMAGE, ["a fox", "a red kite"])
    with torch.no_grad():
        states = compat.vision_states(clip.model, clip.preprocess([IMAGE]))
        cosines = clip.encode_image([IMAGE]) @ clip.encode_text(["a fox", "a red kite"]).T
    expected = torch.cat(states.attentions).numpy()
    np.testing.assert_allclose(weights_of(page.html), expected, rtol=0, atol=HALF)
    shown = similarity_of(page.html)[-1, :, 0]
    np.testing.assert_allclose(shown, cosines[0].numpy(), rtol=0, atol=1e-5)


def test_an_image_page_of_a_clipseg_has_the_size_of_its_images():
    clip = tiny_clip("CLIPSeg")
    clip.image_processor.size = {"height": 16, "width": 16}
    page = explore(clip, IMAGE)
    assert data_of(page.html)["grid"] == 4 and data_of(page.html)["patch"] == 0.25
    assert weights_of(page.html).shape == (2, 2, 17, 17)


@pytest.mark.parametrize(
    ("name", "said"),
    [("Siglip", "SigLIP has no class token"), ("VisionTextDualEncoder", "no CLIP vision tower")],
)
def test_an_image_page_needs_clips_class_token(name, said):
    with pytest.raises(TypeError, match=said):
        explore(tiny_clip(name), IMAGE)


@pytest.mark.parametrize("name", NAMES)
def test_a_text_page_is_for_texts_that_are_read_at_their_end(name):
    clip = tiny_clip(name)
    place = compat.family_of(clip.model).reads(clip.model)
    if place == "end":
        data = data_of(explore_text(clip, "a red fox").html)
        assert data["tokens"] == ["<s>", "a", "red", "fox", "</s>"] and data["eos"] == 4
        return
    with pytest.raises(ValueError, match=f"looks at all others.*read out at its {place} position"):
        explore_text(clip, "a red fox")
