"""The explorer's pages in a real browser: mouse, touch and keys, the numbers that are shown."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from _tools.chromium import find_chromium
from browser import (
    MEAN,
    ROUNDED,
    assert_explorer_works,
    assert_shows,
    cell,
    explorers,
    started_browser,
    visit,
    weights_in,
)
from clipnotes import compat
from clipnotes.data import load_emoji
from clipnotes.explorer import explore, explore_text
from pages import similarity_of, weights_of
from tiny_clip import HALF, TEXTS, tiny

PROMPT = "an emoji of a red umbrella"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def tiger():
    emoji = load_emoji(style="noto", category="animal-mammal")
    return emoji[emoji["name"].index("tiger face")]["image"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def picture(clip, tiger, folder):
    """The file of a picture's page."""
    return explore(clip, tiger, TEXTS).save(folder / "picture.html")


@pytest.fixture(scope="module")
def text(clip, folder):
    """The file of a text's page."""
    return explore_text(clip, PROMPT).save(folder / "text.html")


@pytest.fixture(scope="module")
def of_model(clip, tiger):
    """What the model itself says: attentions of the picture and of the text."""
    with torch.no_grad():
        image = compat.vision_states(clip.model, clip.preprocess([tiger]))
        text = compat.text_states(clip.model, **clip.tokenize([PROMPT]))
    return [torch.cat(states.attentions).numpy() for states in (image, text)]


def framed(page, body="", html=""):
    return (
        f"<!doctype html><html lang='en' {html}><head><meta charset='utf-8'><title>Book</title>"
        "<meta name='viewport' content='width=device-width'></head>"
        f"<body {body}><p>Text.</p>{page._repr_html_()}<p>Text.</p></body></html>"
    )


def background(frame):
    return frame.evaluate("getComputedStyle(document.body).backgroundColor")


# Read from a copy: a canvas of the page warns when it is read often.
PIXELS = """(canvas) => {
  const { width, height } = canvas;
  const copy = Object.assign(document.createElement("canvas"), { width, height });
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  return [...context.getImageData(0, 0, width, height).data];
}"""
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(20, 24, 30)"


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
        assert page.title() == "Where CLIP looks in a picture"

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


# Light and dark, wide and narrow, alone and in a frame


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_alone_it_follows_the_browser(browser, picture, text, scheme):
    for file in (picture, text):
        with visit(browser, file, color_scheme=scheme) as page:
            assert background(page) == {"light": LIGHT, "dark": DARK}[scheme]


@pytest.mark.parametrize("width", [320, 390, 700, 1280])
def test_nothing_is_wider_than_the_window(browser, picture, text, width):
    for file in (picture, text):
        with visit(browser, file, viewport={"width": width, "height": 800}) as page:
            if file is text:
                page.locator("#calls > summary").click()
            over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert page.evaluate(over) == 0
            out = "(one) => one.getBoundingClientRect().right > innerWidth + 1"
            sticks_out = f"all => all.filter({out}).length"
            assert page.locator("main *:visible").evaluate_all(sticks_out) == 0


def test_a_narrow_page_shows_one_map_and_a_switch(browser, picture):
    with visit(browser, picture, **PHONE) as page:
        assert page.locator("#from").is_visible() and not page.locator("#to").is_visible()
        assert page.locator("#from .picture").bounding_box()["width"] > 350
        page.get_by_role("radio", name="who looks at it").check()
        assert page.locator("#to").is_visible() and not page.locator("#from").is_visible()
        cell(page, 12, "to").tap()
        assert_shows(page, 5, MEAN, 12)
    with visit(browser, picture) as page:
        assert page.locator("#from").is_visible() and page.locator("#to").is_visible()
        assert not page.locator("#views").is_visible()


@pytest.mark.parametrize("options", [{}, PHONE], ids=["wide", "phone"])
def test_in_a_frame_it_works_and_takes_the_height_it_needs(browser, clip, tiger, folder, options):
    for made in (explore(clip, tiger, TEXTS), explore_text(clip, PROMPT)):
        file = folder / "host.html"
        file.write_text(framed(made))
        with visit(browser, file, **options) as page:
            (frame,) = explorers(page)
            outside = page.locator("iframe")
            needed = "Math.ceil(document.body.getBoundingClientRect().height)"
            for _ in range(2):
                page.wait_for_timeout(100)
                assert abs(outside.bounding_box()["height"] - frame.evaluate(needed)) <= 1
                page.set_viewport_size({"width": 620, "height": 800})
            if not options:
                assert_explorer_works(frame)
            wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert page.evaluate(wide) == 0 and frame.evaluate(wide) == 0


def test_in_a_book_it_takes_the_book_s_theme(browser, clip, folder):
    made = explore_text(clip, PROMPT)
    file = folder / "book.html"
    file.write_text(framed(made, html="data-theme='dark'"))
    with visit(browser, file, color_scheme="light") as page:
        (frame,) = explorers(page)
        assert background(frame) == DARK
        for theme, shown in (("light", LIGHT), ("dark", DARK)):
            page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
            page.wait_for_timeout(50)
            assert background(frame) == shown
        page.evaluate("delete document.documentElement.dataset.theme")
        page.wait_for_timeout(50)
        assert background(frame) == LIGHT  # the browser's own
        page.evaluate("document.documentElement.setAttribute('theme', 'dark')")  # Colab's
        page.wait_for_timeout(50)
        assert background(frame) == DARK


def test_in_a_stranger_s_page_it_still_works(browser, clip, folder):
    """In a frame that may not look at the page around it."""
    made = explore_text(clip, PROMPT)
    file = folder / "stranger.html"
    file.write_text(framed(made).replace("<iframe ", "<iframe sandbox='allow-scripts' "))
    with visit(browser, file, color_scheme="dark") as page:
        (frame,) = explorers(page)
        assert background(frame) == DARK
        cell(frame, 3).click()
        assert_shows(frame, 0, MEAN, 3)


def test_in_an_exported_notebook(browser, clip, tiger, folder):
    """JupyterLab's template is light, whatever the browser prefers."""
    from IPython.core.interactiveshell import InteractiveShell
    from nbconvert import HTMLExporter
    from nbformat.v4 import new_code_cell, new_notebook, new_output

    show = InteractiveShell.instance().display_formatter.format
    cells = []
    for made in (explore(clip, tiger, TEXTS), explore_text(clip, PROMPT)):
        bundle, _ = show(made)
        assert bundle["text/plain"] == repr(made)
        output = new_output("execute_result", data=bundle, execution_count=1)
        cells.append(new_code_cell("explore(clip, tiger)", outputs=[output], execution_count=1))
    nothing = "data:text/javascript,"  # the template itself would ask a server for these two
    exporter = HTMLExporter(require_js_url=nothing, mathjax_url=nothing)
    html, _ = exporter.from_notebook_node(new_notebook(cells=cells))
    file = folder / "notebook.html"
    file.write_text(html)
    with visit(browser, file, color_scheme="dark") as page:
        frames = explorers(page)
        assert len(frames) == 2
        for frame in frames:
            assert background(frame) == LIGHT
            assert_explorer_works(frame)


# The instruments


def test_what_a_page_asks_for_or_complains_of_is_seen(browser, folder):
    file = folder / "noisy.html"
    noisy = {
        "asks for": "<img src='other.png'>",
        "console error": "<script>console.error('no')</script>",
        "script": "<script>throw Error('no')</script>",
    }
    for said, html in noisy.items():
        file.write_text(html)
        with pytest.raises(AssertionError, match=said), visit(browser, file) as page:
            page.wait_for_timeout(100)


def test_the_page_s_policy_refuses_requests(browser, picture, folder):
    file = folder / "curious.html"
    file.write_text(picture.read_text().replace("</main>", "<img src='other.png'></main>"))
    said = "Content Security Policy"
    with pytest.raises(AssertionError, match=said), visit(browser, file) as page:
        page.wait_for_timeout(100)


def test_without_a_browser_the_reason_is_said(monkeypatch):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", "")
    assert find_chromium() is None
    for value, outcome in (("true", pytest.fail.Exception), ("", pytest.skip.Exception)):
        monkeypatch.setenv("CI", value)
        with pytest.raises(outcome, match="no browser: none of chromium"), started_browser():
            pass
