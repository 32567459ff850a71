"""The explorer's pages in a real browser: mouse, touch and keys, the numbers that are shown."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from browser import (
    MEAN,
    PHONE,
    ROUNDED,
    assert_shows,
    cell,
    explorers,
    visit,
    weights_in,
)
from clipnotes import compat
from clipnotes.explorer import explore, explore_text
from families import tiny_clip
from pages import similarity_of, weights_of
from tiny_clip import HALF, PROMPT, TEXTS, tiny


@pytest.fixture(scope="module")
def of_model(clip, tiger):
    """What the model itself says: attentions of the image and of the text."""
    with torch.no_grad():
        image = compat.vision_states(clip.model, clip.preprocess([tiger]))
        text = compat.text_states(clip.model, **clip.tokenize([PROMPT]))
    return [torch.cat(states.attentions).numpy() for states in (image, text)]


# Read from a copy: a canvas of the page warns when it is read often.
PIXELS = """(canvas) => {
  const { width, height } = canvas;
  const copy = Object.assign(document.createElement("canvas"), { width, height });
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  return [...context.getImageData(0, 0, width, height).data];
}"""


# Mouse, keys, touch


def test_pointing_at_a_token_shows_its_weights(browser, picture, text, of_model):
    for file, weights, layer, start in ((picture, of_model[0], 5, 0), (text, of_model[1], 0, 7)):
        with visit(browser, file) as page:
            (frame,) = explorers(page)
            exact = {"weights": weights, "tolerance": HALF + ROUNDED}
            assert_shows(frame, layer, MEAN, start, **exact)
            for i in (1, 4, len(weights[0, 0]) - 1, 0):
                for view in ("from", "to"):
                    cell(frame, i, view).hover()
                    assert_shows(frame, layer, MEAN, i, **exact)
            page.mouse.move(2, 2)
            assert_shows(frame, layer, MEAN, start, **exact)  # what was only pointed at is let go


def test_a_click_keeps_a_token_in_every_head_and_layer(browser, picture, text, of_model):
    for file, weights in ((picture, of_model[0]), (text, of_model[1])):
        with visit(browser, file) as page:
            cell(page, 3).click()
            page.mouse.move(2, 2)
            slider = page.locator("#layer")
            slider.focus()
            slider.press("Home")
            for layer in range(len(weights)):
                assert page.locator("#layer-name").text_content() == str(layer)
                assert slider.get_attribute("aria-valuetext") == f"layer {layer}"
                for head in (MEAN, *range(weights.shape[1])):
                    page.locator(f"#heads input[value='{head}']").check()
                    assert_shows(page, layer, head, 3, weights, HALF + ROUNDED)
                slider.press("ArrowRight")


def test_a_click_on_a_name_in_a_list_goes_there(browser, picture):
    with visit(browser, picture) as page:
        second = page.locator("#from .top li").nth(1)
        i = int(second.get_attribute("data-token"))
        second.click()
        assert_shows(page, 5, MEAN, i)


def test_keys_walk_over_the_patches(browser, picture):
    with visit(browser, picture) as page:
        page.locator("#to .cell[tabindex='0']").focus()
        walk = [("ArrowUp", 0), ("ArrowDown", 1), ("ArrowLeft", 1), ("ArrowRight", 2)]
        walk += [("ArrowDown", 10), ("ArrowUp", 2), ("ArrowUp", 0), ("End", 64), ("ArrowDown", 64)]
        walk += [("ArrowRight", 64), ("ArrowUp", 56), ("ArrowRight", 56), ("ArrowLeft", 55)]
        for key, i in walk:
            page.keyboard.press(key)
            assert_shows(page, 5, MEAN, i)
            focused = page.locator("#to .cell:focus")
            assert focused.get_attribute("data-token") == str(i), key
        page.keyboard.press("PageDown")
        assert_shows(page, 4, MEAN, 55)
        page.keyboard.press("PageUp")
        page.keyboard.press("PageUp")  # there is no layer above the last
        assert_shows(page, 5, MEAN, 55)
        page.keyboard.press("Home")
        assert_shows(page, 5, MEAN, 0)
        # Others' keys stay theirs, and tab leaves the map.
        page.keyboard.press("Control+ArrowDown")
        assert_shows(page, 5, MEAN, 0)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "depth"


def test_keys_walk_over_the_tokens(browser, text):
    with visit(browser, text) as page:
        cell(page, 7).focus()
        walk = [("ArrowRight", 7), ("ArrowLeft", 6), ("ArrowUp", 5), ("ArrowDown", 6), ("Home", 0)]
        for key, i in [*walk, ("ArrowLeft", 0), ("ArrowRight", 1), ("End", 7)]:
            page.keyboard.press(key)
            assert_shows(page, 0, MEAN, i)


def test_what_a_screen_reader_is_told(browser, picture, text, of_model):
    with visit(browser, picture) as page:
        cell(page, 9).click()
        said = page.locator("[role=status]").text_content()
        row = of_model[0][5, :, 9].mean(0)
        first = int(page.locator("#from .top li").first.get_attribute("data-token"))
        name = f"patch {first}" if first else "class token"
        assert said.startswith(
            "Layer 5, mean over heads. patch 9 looks most at "
            f"{name} {weights_of(picture.read_text())[5, :, 9].mean(0)[first]:.3f}, "
        )
        assert abs(row[first] - row.max()) <= HALF
        grid = page.get_by_role("grid").first
        assert grid.get_by_role("row").count() == 9
        assert grid.get_by_role("gridcell").count() == 65
        assert page.get_by_role("slider", name="Layer").count() == 1
        assert page.get_by_role("radio", name="mean").is_checked()
        assert page.get_by_role("img", name=f"Similarity of the patches to {TEXTS[1]}").count() == 1
    with visit(browser, text) as page:
        assert page.get_by_role("listbox").first.get_by_role("option").count() == 8
        cell(page, 2).click()
        label = cell(page, 5).get_attribute("aria-label")
        assert label == "5 red: later, so it is hidden"
        assert cell(page, 1, "to").get_attribute("aria-label").endswith("it cannot look here")


def test_a_finger_taps_and_slides(browser, picture, text):
    with visit(browser, picture, **PHONE) as page:
        page.locator("article .picture").nth(1).tap(position={"x": 2, "y": 2})
        assert_shows(page, 5, MEAN, 1)
        cell(page, 28).tap()
        assert_shows(page, 5, MEAN, 28)
        boxes = [cell(page, i).bounding_box() for i in (28, 29, 30, 31)]
        points = [{"x": box["x"] + 5, "y": box["y"] + 5} for box in boxes]
        touch = page.context.new_cdp_session(page)
        steps = ["touchStart", *["touchMove"] * 3]
        for kind, point in zip(steps, points, strict=True):
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        page.wait_for_selector("#from .cell[data-token='31'][aria-selected=true]")
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert_shows(page, 5, MEAN, 31)
    with visit(browser, text, **PHONE) as page:
        cell(page, 4).tap()
        assert_shows(page, 0, MEAN, 4)


# What is drawn


def test_patches_lie_where_they_are_in_the_picture(browser, folder):
    """Also when pixels are left over that fill no patch."""
    small = tiny(0, image_size=9, patch_size=4)
    page = explore(small, Image.new("RGB", (9, 9), "teal"), ["ab"])
    with visit(browser, page.save(folder / "small.html")) as page:
        whole = page.locator("#from .picture").bounding_box()
        for i, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)], start=1):
            box = cell(page, i).bounding_box()
            found = [box["x"] - whole["x"], box["y"] - whole["y"], box["width"], box["height"]]
            side = whole["width"] * 4 / 9
            np.testing.assert_allclose(found, [column * side, row * side, side, side], atol=1)
        mask = page.locator("#heads canvas").first.bounding_box()
        thumbnail = page.locator("#heads .picture").first.bounding_box()
        assert abs(mask["width"] - thumbnail["width"] * 8 / 9) < 1
        cell(page, 4).click()
        mark, small_one = page.locator(".frame").bounding_box(), page.locator("article .picture")
        around = small_one.bounding_box()
        for axis in "xy":
            assert abs(mark[axis] - around[axis] - around["width"] * 4 / 9) < 1
        box = page.locator("article .picture").bounding_box()
        small_one.click(position={"x": box["width"] - 2, "y": box["height"] - 2})  # no patch there
        assert_shows(page, len(weights_in(page)) - 1, MEAN, 4)


@pytest.mark.parametrize(("layer", "i"), [(5, 9), (0, 0)])
def test_a_patch_is_as_bright_as_its_weight(browser, picture, layer, i):
    """Relative to the brightest patch, also where the class token gets most of it."""
    weights = weights_of(picture.read_text())[layer]
    assert (weights.mean(0)[0, 0] > weights.mean(0)[0, 1:].max()) or layer > 0
    with visit(browser, picture) as page:
        page.locator("#layer").press("Home" if layer == 0 else "End")
        cell(page, i).click()
        page.mouse.move(2, 2)
        row = weights.mean(0)[i, 1:]
        styles = page.locator("#from .picture .cell").evaluate_all(
            "all => all.map((one) => getComputedStyle(one).backgroundColor)"
        )
        shown = [float([*re.findall(r"[\d.]+", style), "1"][3]) for style in styles]
        np.testing.assert_allclose(shown, 0.85 * (1 - row / row.max()), atol=0.01)
        for head, of_head in enumerate(weights):
            row = of_head[i, 1:]
            shown = page.locator("#heads canvas").nth(head + 1).evaluate(PIXELS)
            alpha = np.array(shown).reshape(-1, 4)[:, 3] / 255
            np.testing.assert_allclose(alpha, 0.85 * (1 - row / row.max()), atol=0.01)


def test_small_pictures_of_a_text_s_heads_are_its_matrices(browser, text):
    weights = weights_of(text.read_text())[0]
    with visit(browser, text) as page:
        for head, of_head in enumerate(weights):
            shown = np.array(page.locator("#heads canvas").nth(head + 1).evaluate(PIXELS))
            shown = shown.reshape(8, 8, 4)
            np.testing.assert_allclose(shown[..., 3] / 255, of_head, atol=0.005)


def test_texts_show_similarity_and_logits_of_every_depth(browser, clip, tiger, picture):
    similarity = similarity_of(picture.read_text())
    with torch.no_grad():
        inputs = clip.tokenize(TEXTS)
        logits = clip.model(**inputs, pixel_values=clip.preprocess([tiger])).logits_per_image[0]
    scale = clip.model.logit_scale.exp().item()
    with visit(browser, picture) as page:
        cards = page.locator("article")
        assert cards.locator("h3").all_text_contents() == TEXTS
        assert page.title() == "Where CLIP looks in an image"

        def shown(name):
            texts = cards.locator(name).all_text_contents()
            return [float(text.removesuffix(" %")) for text in texts]

        np.testing.assert_allclose(shown(".logit"), logits, atol=0.0051)
        lines = cards.locator("polyline").evaluate_all(
            "all => all.map((l) => l.getAttribute('points'))"
        )
        curves = np.array([re.findall(r",(\S+)", line) for line in lines], float).T  # from above
        of_class = similarity[:, :, 0]
        heights = (of_class - of_class.min()) / np.ptp(of_class)
        np.testing.assert_allclose(1 - curves / 24, heights, atol=0.003)

        cell(page, 20).click()
        page.locator("#depth").focus()
        page.keyboard.press("Home")
        for depth, of_depth in enumerate(similarity):
            said = f"after layer {depth - 1}" if depth else "before layer 0"
            assert page.locator("#depth-name").text_content() == said
            np.testing.assert_allclose(shown(".cosine"), of_depth[:, 20], atol=ROUNDED)
            marks = cards.locator("line").evaluate_all("all => all.map((l) => l.x1.baseVal.value)")
            np.testing.assert_allclose(marks, 100 * depth / 6, atol=0.01)
            values = scale * of_depth[:, 0]
            np.testing.assert_allclose(shown(".logit"), values, atol=0.0051)
            shares = np.exp(values - values.max())
            np.testing.assert_allclose(shown(".percent"), 100 * shares / shares.sum(), atol=0.051)
            for t, canvas in enumerate(page.locator("article canvas").all()):
                alpha = np.array(canvas.evaluate(PIXELS)).reshape(-1, 4)[:, 3] / 255
                patches = of_depth[t, 1:]
                bright = (patches - patches.min()) / np.ptp(patches)
                np.testing.assert_allclose(alpha, 0.85 * (1 - bright), atol=0.01)
            page.keyboard.press("ArrowRight")
        page.locator("#layer").focus()
        page.keyboard.press("ArrowLeft")  # the depth goes with the layer
        assert page.locator("#depth-name").text_content() == "after layer 4"
        of_first = page.locator("article .picture").first
        side = of_first.bounding_box()["width"] / 8
        of_first.hover(position={"x": 2.5 * side, "y": 1.5 * side})
        assert_shows(page, 4, MEAN, 11)


def test_the_end_is_marked_and_the_call_chain_unfolds(browser, text):
    with visit(browser, text) as page:
        assert page.locator("#from .eos").text_content().startswith("7EOS")
        assert page.locator("#from .token").all_text_contents()[5] == "red"
        chain = page.locator("#calls .clipnotes-trace")
        assert not chain.is_visible()
        page.locator("#calls > summary").click()
        assert chain.is_visible()
        assert chain.get_by_text("token_embedding").is_visible()


@pytest.mark.parametrize("name", ["AltCLIP", "VisionTextDualEncoder"])
def test_of_a_bert_the_first_token_is_marked_and_everybody_looks_at_all(browser, folder, name):
    page_of = explore_text(tiny_clip(name), "a red fox")
    weights = weights_of(page_of.html)
    with visit(browser, page_of.save(folder / f"{name}.html")) as page:
        assert page.locator("#from .eos").text_content().startswith("0CLS")
        assert page.locator("#from .token").all_text_contents()[:4] == ["CLS", "a", "red", "fox"]
        assert "CLS is the first token" in page.locator("#help").text_content()
        for i in (0, 2):
            for view in ("from", "to"):
                cell(page, i, view).hover()
                assert_shows(page, 0, MEAN, i, weights, HALF + ROUNDED)
