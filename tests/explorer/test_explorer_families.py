"""The explorers' pages about other families than CLIP: with their numbers, or refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from clipnotes import compat
from clipnotes.explorer import explore, explore_text
from families import NAMES, dual_clip, some_clip, tiny_clip
from pages import data_of, similarity_of, weights_of
from tiny_clip import HALF

IMAGE = Image.effect_noise((30, 20), 90).convert("RGB")


EYES = [*(name for name in NAMES if name != "Siglip"), "CLIPVision+Bert", "ViT+Roberta"]


@pytest.mark.parametrize("name", EYES)
def test_an_image_page_of_a_model_with_a_class_token(name):
    clip = some_clip(name)
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


@pytest.mark.parametrize("name", ["VisionTextDualEncoder", "CLIPVision+Bert"])
@torch.no_grad()
def test_an_image_page_of_a_dual_encoder_equals_its_own_run(name):
    clip, texts = some_clip(name), ["a fox", "a red kite"]
    page = explore(clip, IMAGE, texts, layers=[1])
    data, pixel_values = data_of(page.html), clip.preprocess([IMAGE])
    assert data["reader"] == "class token" and data["grid"] == 2 and data["layers"] == [1]
    inputs = {**clip.tokenize(texts), "pixel_values": pixel_values}
    logits = clip.model(**inputs).logits_per_image[0]
    found = data["scale"] * similarity_of(page.html)[-1, :, 0] + data["bias"]
    np.testing.assert_allclose(found, logits.numpy(), rtol=1e-5, atol=1e-4)
    # An earlier depth: the rest of the layers hand on what they were given.
    tower = compat.family_of(clip.model).vision_tower(clip.model)
    seen = []
    for layer in compat.family_of(clip.model).vision_layers(clip.model):
        layer.register_forward_hook(
            lambda _, args, output: (
                seen.append(args[0]),
                args[0] if isinstance(output, torch.Tensor) else (args[0], *output[1:]),
            )[1]
        )
    pooled = clip.model.visual_projection(tower(pixel_values=pixel_values)[1])
    assert len(seen) == 2
    cosines = normalize(pooled, dim=-1) @ clip.encode_text(texts).T
    np.testing.assert_allclose(similarity_of(page.html)[0, :, 0], cosines[0], rtol=0, atol=1e-5)


def test_an_image_page_has_no_place_for_a_second_token_in_front():
    with pytest.raises(ValueError, match=r"VisionTextDualEncoder puts 2 tokens in front .* DeiT"):
        explore(dual_clip("DeiT"), IMAGE)


@pytest.mark.parametrize("size", ["small", "larger"])
@torch.no_grad()
def test_an_image_page_of_a_siglip_has_its_pooling_head_in_front(size):
    clip = tiny_clip("Siglip", size)
    texts = ["a fox", "a red kite"]
    page = explore(clip, IMAGE, texts)
    data, shown = data_of(page.html), weights_of(page.html)
    assert data["reader"] == "pooling head"
    pixel_values = clip.preprocess([IMAGE])
    states = compat.vision_states(clip.model, pixel_values)
    expected = torch.cat(states.attentions).numpy()
    np.testing.assert_allclose(shown[:, :, 1:, 1:], expected, rtol=0, atol=HALF)
    assert not shown[:, :, :, 0].any(), "no patch looks at the head"
    # What the head itself computes behind the last layer, by PyTorch.
    head = compat.family_of(clip.model).vision_tower(clip.model).head
    _, collected = head.attention(
        head.probe, states.last_hidden_state, states.last_hidden_state, average_attn_weights=False
    )
    np.testing.assert_allclose(shown[-1, :, :1, 1:], collected[0].numpy(), rtol=0, atol=HALF)
    assert np.abs(shown[0, :, 0] - shown[-1, :, 0]).max() > 2 * HALF, "every depth has its own"
    logits = clip.model(**clip.tokenize(texts), pixel_values=pixel_values).logits_per_image[0]
    found = data["scale"] * similarity_of(page.html)[-1, :, 0] + data["bias"]
    np.testing.assert_allclose(found, logits.numpy(), rtol=1e-5, atol=1e-4)
    # A patch is compared as if the head saw no other.
    alone = normalize(head(states.last_hidden_state[:, 2:3]), dim=-1) @ clip.encode_text(texts).T
    np.testing.assert_allclose(similarity_of(page.html)[-1, :, 3], alone[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [*NAMES, "ViT+Roberta", "CLIPVision+Camembert"])
def test_a_text_page_marks_the_place_that_is_read(name):
    clip = some_clip(name)
    page = explore_text(clip, "a red fox")
    data = data_of(page.html)
    states = compat.text_states(clip.model, **clip.tokenize(["a red fox"]))
    expected = torch.cat(states.attentions).detach().numpy()
    np.testing.assert_allclose(weights_of(page.html), expected, rtol=0, atol=HALF)
    place = compat.family_of(clip.model).reads(clip.model)
    if place == "end":
        assert data["tokens"] == ["<s>", "a", "red", "fox", "</s>"]
        assert (data["read"], data["mark"], data["causal"]) == (4, "EOS", True)
    elif place == "first":
        assert data["tokens"][1:-1] == ["a", "red", "fox"]
        assert data["tokens"][0] == clip.tokenizer.cls_token
        assert (data["read"], data["mark"], data["causal"]) == (0, "CLS", False)
        assert np.triu(expected, k=1).any(), "every token looks ahead, too"
    else:  # the last place, which is padding
        assert data["tokens"] == ["a", "red", "fox", *["</s>"] * 9]
        assert (data["read"], data["mark"], data["causal"]) == (11, "last", False)
        assert np.triu(expected, k=1).any(), "every token looks ahead, too"


@pytest.mark.parametrize("name", ["ChineseCLIP", "AltCLIP", "VisionTextDualEncoder"])
@torch.no_grad()
def test_a_text_page_of_a_bert_shows_what_its_own_queries_and_keys_say(name):
    clip = tiny_clip(name)
    seen = {}
    for i, layer in enumerate(compat.family_of(clip.model).text_layers(clip.model)):
        for part in ("query", "key"):
            module = getattr(layer.attention.self, part)
            module.register_forward_hook(lambda *args, at=(i, part): seen.update({at: args[2]}))
    compat.text_features(clip.model, **clip.tokenize(["a red fox"]))  # as the model runs alone
    shown = weights_of(explore_text(clip, "a red fox", layers=[1]).html)
    query, key = (seen[1, part].unflatten(-1, (2, -1)).transpose(1, 2) for part in ("query", "key"))
    shares = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)  # (1, H, L, L)
    np.testing.assert_allclose(shown, shares.numpy(), rtol=0, atol=HALF)
