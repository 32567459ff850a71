"""The explorers' pages in a browser: light and dark, wide and narrow, alone and in other pages."""

import pytest

from _tools.chromium import find_chromium
from browser import (
    MEAN,
    PHONE,
    assert_explorer_works,
    assert_shows,
    cell,
    explorers,
    started_browser,
    visit,
)
from clipnotes.explorer import explore, explore_text
from tiny_clip import PROMPT, TEXTS


def framed(page, body="", html=""):
    return (
        f"<!doctype html><html lang='en' {html}><head><meta charset='utf-8'><title>Book</title>"
        "<meta name='viewport' content='width=device-width'></head>"
        f"<body {body}><p>Text.</p>{page._repr_html_()}<p>Text.</p></body></html>"
    )


def background(frame):
    return frame.evaluate("getComputedStyle(document.body).backgroundColor")


LIGHT, DARK = "rgb(255, 255, 255)", "rgb(20, 24, 30)"


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
