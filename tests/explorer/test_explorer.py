"""The explorer's pages: what stands in them is what the model computed, and nothing is missing."""

import base64
import copy
import html as html_module
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from clipnotes import Clip, compat
from clipnotes.data import composite
from clipnotes.explorer import Page, explore, explore_text
from clipnotes.explorer.page import LIMIT
from clipnotes.trace import trace
from pages import data_of, similarity_of, weights_of
from reference import pixels
from tiny_clip import HALF, PROMPT, TEXTS, tiny
from tracing import hooks_of


@pytest.fixture(scope="module")
def page(clip, tiger):
    return explore(clip, tiger, TEXTS)


@pytest.fixture(scope="module")
def text_page(clip):
    return explore_text(clip, PROMPT)


def stack(attentions):
    return torch.cat(attentions).float().numpy()


def picture_in(page):
    found = data_of(page.html)["picture"].removeprefix("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found))))


# The numbers


@pytest.mark.parametrize("seed", range(8))
def test_a_picture_s_weights_are_the_model_s(seed):
    small = tiny(seed)
    image = pixels(small.model.config.vision_config, seed, batch=1)
    with torch.no_grad():
        states = compat.vision_states(small.model, image)
    for given in (image, image[0]):
        shown = weights_of(explore(small, given).html)
        expected = stack(states.attentions)
        assert shown.shape == expected.shape
        np.testing.assert_allclose(shown, expected, rtol=0, atol=HALF)


@pytest.mark.parametrize("seed", range(6))
def test_a_text_s_weights_are_the_model_s(seed):
    small = tiny(seed)
    shown = weights_of(explore_text(small, "cabbage"[: seed + 2]).html)
    with torch.no_grad():
        expected = stack(
            compat.text_states(small.model, **small.tokenize(["cabbage"[: seed + 2]])).attentions
        )
    assert shown.shape == expected.shape
    np.testing.assert_allclose(shown, expected, rtol=0, atol=HALF)
    assert not np.triu(shown, k=1).any(), "nobody looks ahead"


def test_some_layers_are_those_layers(clip, tiger, page):
    some = explore(clip, tiger, layers=(4, 1))
    assert data_of(some.html)["layers"] == [1, 4]
    assert data_of(page.html)["layers"] == [0, 1, 2, 3, 4, 5]
    shown = weights_of(page.html)[[1, 4]]
    np.testing.assert_allclose(weights_of(some.html), shown, rtol=0, atol=2 * HALF)
    text = explore_text(clip, "tulip", layers=[2])
    whole = weights_of(explore_text(clip, "tulip").html)
    np.testing.assert_allclose(weights_of(text.html), whole[[2]], rtol=0, atol=2 * HALF)


def test_half_precision_works_too(clip, tiger):
    half = Clip(copy.deepcopy(clip.model).bfloat16(), clip.tokenizer, clip.image_processor)
    page = explore(half, tiger, ["a tiger"])
    with torch.no_grad():
        states = compat.vision_states(half.model, half.preprocess([tiger]).bfloat16())
    np.testing.assert_allclose(weights_of(page.html), stack(states.attentions), rtol=0, atol=HALF)
    assert similarity_of(page.html).shape == (7, 1, 65)


@pytest.mark.parametrize("seed", range(3))
def test_logits_of_the_last_depth_are_the_model_s(seed):
    small, words = tiny(seed), ["ab", "cabbage"]
    image = pixels(small.model.config.vision_config, seed, batch=1)
    html = explore(small, image, words).html
    with torch.no_grad():
        expected = small.model(**small.tokenize(words), pixel_values=image).logits_per_image[0]
    shown = data_of(html)["scale"] * similarity_of(html)[-1, :, 0]
    np.testing.assert_allclose(shown, expected, rtol=1e-5, atol=1e-5)


def test_each_depth_goes_through_norm_and_projection(clip, tiger, page):
    with torch.no_grad():
        states = compat.vision_states(clip.model, clip.preprocess([tiger])).hidden_states
        texts = clip.encode_text(TEXTS)
        norm = compat.vision_tower(clip.model).post_layernorm
        shown = similarity_of(page.html)
        assert shown.shape == (len(states), len(TEXTS), 65)
        for depth, state in enumerate(states):
            for i in (0, 1, 37, 64):
                vector = clip.model.visual_projection(norm(state[0, i]))
                cosines = texts @ vector / vector.norm()
                np.testing.assert_allclose(shown[depth, :, i], cosines, rtol=0, atol=1e-5)


def test_the_picture_has_the_colours_it_was_given(clip, tiger, page):
    given = np.asarray(composite(tiger)).astype(int)
    assert given.shape == picture_in(page).shape
    assert np.abs(picture_in(page) - given).max() <= 1
    plain = copy.deepcopy(clip.image_processor)
    plain.do_normalize = False
    bare = explore(Clip(clip.model, clip.tokenizer, plain), tiger)
    assert np.abs(picture_in(bare) - given).max() <= 1


def test_pixels_that_fill_no_patch_are_kept():
    small = tiny(0, image_size=9, patch_size=4)
    page = explore(small, Image.new("RGB", (30, 20), "teal"))
    data = data_of(page.html)
    assert picture_in(page).shape == (9, 9, 3)
    assert (data["grid"], data["patch"]) == (2, 4 / 9)


def test_tokens_and_the_end_are_named(clip, text_page):
    data = data_of(text_page.html)
    ids = clip.tokenize([PROMPT])["input_ids"][0].tolist()
    assert data["ids"] == ids
    assert data["tokens"] == clip.tokenizer.convert_ids_to_tokens(ids)
    assert data["read"] == len(ids) - 1 and data["causal"]


def test_the_call_chain_is_there_and_folded(clip, text_page):
    with torch.no_grad():
        inputs = clip.tokenize([PROMPT])
        calls = trace(compat.text_tower(clip.model), **inputs)
    assert re.search(r"<details id=\"calls\"><summary>[^<]+</summary>", text_page.html)
    assert calls._repr_html_() in text_page.html
    assert "inputs_embeds" in text_page.html


# The page


def test_the_page_asks_for_nothing(page, text_page):
    for made in (page, text_page):
        assert len(made.html.encode()) < LIMIT
        assert not re.search(r"https?:|[\"'`(]//|@import|\bfetch\(|XMLHttp|\bimport\b", made.html)
        assert not re.search(r"""(src|href|action)\s*=\s*["']?(?!data:)""", made.html)
        assert "default-src 'none'; img-src data:" in made.html
        assert not re.search(r"\$(kind|title|style|data|script|extra)\b", made.html)


def test_texts_cannot_break_out(page):
    assert data_of(page.html)["texts"] == TEXTS
    assert "<script>document.title" not in page.html


def test_a_notebook_gets_a_frame(page):
    shown = page._repr_html_()
    frame = re.fullmatch(r'<iframe class="clipnotes-explorer" (.*?)></iframe>', shown, re.S)[1]
    assert html_module.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1]) == page.html
    assert f'title="{page.title}"' in frame and f'height="{page.height}"' in frame
    assert repr(page) == f"<Page: {page.title}, {len(page.html.encode()) // 1000} kB>"


def test_save_writes_it_whole_or_not_at_all(page, tmp_path, monkeypatch):
    file = tmp_path / "page.html"
    assert page.save(str(file)) == file
    assert file.read_bytes() == page.html.encode()

    def fail(*args):
        raise OSError("the disk is full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="full"):
        Page("other", "Other", 10).save(file)
    assert file.read_bytes() == page.html.encode()
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(ValueError, match=r"page\.txt does not end in \.html"):
        page.save(tmp_path / "page.txt")
    with pytest.raises(FileNotFoundError, match=r"no folder .*none: make it"):
        page.save(tmp_path / "none" / "page.html")


def test_the_model_is_left_as_it_was(clip, tiger):
    model = copy.deepcopy(clip.model)
    twin = Clip(model, clip.tokenizer, clip.image_processor)

    def state():
        configs = (model.config, model.config.text_config, model.config.vision_config)
        return (
            [config._attn_implementation for config in configs],
            [p.requires_grad for p in model.parameters()],
            [len(hooks) for hooks in hooks_of(model)],
            torch.is_grad_enabled(),
        )

    with torch.no_grad():  # since 5.2 the first run leaves transformers' own hooks
        compat.vision_states(model, clip.preprocess([tiger]))
        compat.text_states(model, **clip.tokenize(["a tiger"]))
    before = state()
    explore(twin, tiger, ["a tiger"])
    explore_text(twin, "a tiger")
    assert state() == before
