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
from clipnotes.data import composite, load_emoji
from clipnotes.explorer import Page, explore, explore_text
from clipnotes.explorer.page import LIMIT
from clipnotes.trace import trace
from pages import data_of, similarity_of, weights_of
from reference import pixels
from tiny_clip import HALF, TEXTS, tiny
from tracing import hooks_of


@pytest.fixture(scope="module")
def tiger():
    emoji = load_emoji(style="noto", category="animal-mammal")
    return emoji[emoji["name"].index("tiger face")]["image"]


@pytest.fixture(scope="module")
def page(clip, tiger):
    return explore(clip, tiger, TEXTS)


@pytest.fixture(scope="module")
def text_page(clip):
    return explore_text(clip, "an emoji of a red umbrella")


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


def test_emoji_clip_s_weights_are_all_there(clip, tiger, page, text_page):
    with torch.no_grad():
        image = compat.vision_states(clip.model, clip.preprocess([tiger]))
        text = compat.text_states(clip.model, **clip.tokenize(["an emoji of a red umbrella"]))
    for shown, states, shape in (
        (weights_of(page.html), image, (6, 4, 65, 65)),
        (weights_of(text_page.html), text, (3, 4, 8, 8)),
    ):
        assert shown.shape == shape
        np.testing.assert_allclose(shown, stack(states.attentions), rtol=0, atol=HALF)


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
    ids = clip.tokenize(["an emoji of a red umbrella"])["input_ids"][0].tolist()
    assert data["ids"] == ids
    assert data["tokens"] == clip.tokenizer.convert_ids_to_tokens(ids)
    assert data["eos"] == len(ids) - 1


def test_the_call_chain_is_there_and_folded(clip, text_page):
    with torch.no_grad():
        inputs = clip.tokenize(["an emoji of a red umbrella"])
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


# What is too large or wrong


def test_a_page_over_the_limit_says_what_to_leave_out():
    """As many tokens, heads and layers as ViT-B/16, in a narrow model."""
    shape = {"hidden_size": 48, "num_attention_heads": 12, "num_hidden_layers": 12}
    large = tiny(0, **shape, image_size=28, patch_size=2)
    image = pixels(large.model.config.vision_config, 0, batch=1)
    said = (
        r"page would have 7\.4\d MB, and at most 1 MB is allowed: 12 layers of 12 heads over 197 "
        r"tokens take 7\.45 MB, 0\.62 MB each\. Choose at most 1 of the layers, for instance "
        r"layers=\[11\]"
    )
    with pytest.raises(ValueError, match=said):
        explore(large, image)
    assert weights_of(explore(large, image, layers=[11]).html).shape == (1, 12, 197, 197)


def test_a_model_of_which_no_layer_fits():
    huge = tiny(0, hidden_size=16, num_attention_heads=16, image_size=34, patch_size=2)
    image = pixels(huge.model.config.vision_config, 0, batch=1)
    with pytest.raises(ValueError, match="Not even one layer fits"):
        explore(huge, image)


def test_vit_b_32_fits():
    shape = {"hidden_size": 48, "num_attention_heads": 12, "num_hidden_layers": 12}
    model = tiny(0, **shape, image_size=224, patch_size=32)
    drawn = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    photo = Image.fromarray(drawn).resize((300, 250), Image.Resampling.BICUBIC)
    page = explore(model, photo, ["abc", "cab"])
    assert weights_of(page.html).shape == (12, 12, 50, 50)


PICTURE = Image.new("RGB", (64, 64), "red")
NOT_ONE = [
    ([PICTURE], TypeError, "image is a list; give one PIL picture"),
    (None, TypeError, "image is a NoneType"),
    (np.zeros((64, 64, 3)), TypeError, "image is a ndarray"),
    (torch.zeros(3, 64, 64, dtype=torch.uint8), TypeError, r"torch\.uint8; give floating-point"),
    (torch.zeros(2, 3, 64, 64), ValueError, r"shape \(2, 3, 64, 64\); one picture of this model"),
    (torch.zeros(3, 32, 64), ValueError, r"shape \(1, 3, 32, 64\); one picture of this model"),
    (torch.full((3, 64, 64), torch.nan), ValueError, "hold NaN"),
    (Image.new("RGB", (0, 5)), ValueError, "0 x 5 pixels"),
]


@pytest.mark.parametrize(("image", "error", "said"), NOT_ONE)
def test_what_is_no_picture_is_refused(clip, image, error, said):
    with pytest.raises(error, match=said):
        explore(clip, image)


@pytest.mark.parametrize(
    ("layers", "error"),
    [
        *(([], ValueError), ([6], ValueError), ([-1], ValueError), ([1, 1], ValueError)),
        *((3, TypeError), ("12", TypeError), ([0.5], TypeError)),
    ],
)
def test_layers_that_are_not_there_are_refused(clip, layers, error):
    with pytest.raises(error, match=r"layers is .*; give"):
        explore(clip, PICTURE, layers=layers)
    with pytest.raises(error, match=r"layers is .*; give"):
        explore_text(clip, "a tiger", layers=layers)


def test_texts_are_looked_at(clip):
    with pytest.raises(TypeError, match="one text was given"):
        explore(clip, PICTURE, "a tiger")
    with pytest.raises(ValueError, match="no text"):
        explore(clip, PICTURE, [])
    with pytest.raises(TypeError, match="text is a list; give one string"):
        explore_text(clip, ["a tiger"])
    with pytest.raises(ValueError, match="has 42 tokens, and this model has 32"):
        explore_text(clip, "tiger " * 40)


def test_only_a_clip_in_evaluation_mode(clip):
    for make in (lambda c: explore(c, PICTURE), lambda c: explore_text(c, "a tiger")):
        with pytest.raises(TypeError, match="clip is a CLIPModel; give a Clip"):
            make(clip.model)
        model = copy.deepcopy(clip.model)
        model.vision_model.encoder.layers[0].train()
        with pytest.raises(ValueError, match="in training mode"):
            make(Clip(model, clip.tokenizer, clip.image_processor))


def test_a_broken_model_is_named(clip):
    model = copy.deepcopy(clip.model)
    broken = Clip(model, clip.tokenizer, clip.image_processor)
    with torch.no_grad():
        model.visual_projection.weight.fill_(torch.inf)
    explore(broken, PICTURE)
    with pytest.raises(ValueError, match="features that are not numbers"):
        explore(broken, PICTURE, ["a tiger"])
    with torch.no_grad():
        for tower in (compat.vision_tower(model), compat.text_tower(model)):
            tower.encoder.layers[1].self_attn.q_proj.weight.fill_(torch.nan)
    for make in (lambda: explore(broken, PICTURE), lambda: explore_text(broken, "a tiger")):
        with pytest.raises(ValueError, match="attention weights that are not numbers"):
            make()
