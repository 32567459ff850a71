"""A real browser for tests of pages: an installed chromium, driven by playwright."""

import os
from contextlib import contextmanager

import numpy as np
import pytest

from _tools.chromium import FLAGS, MISSING, find_chromium
from pages import weights_of

MEAN = -1
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
ROUNDED = 0.0005 + 1e-6  # three decimals are shown


def cannot(reason):
    """Leave a test out where a browser may be missing, and fail where it must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (CI=true: it has to be there)", pytrace=False)
    pytest.skip(reason)


@contextmanager
def started_browser():
    program = find_chromium()
    if program is None:
        cannot(MISSING)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        cannot("playwright is not installed; it comes with the extra `test`: run make install")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def visit(browser, address, **options):
    """Open a page, and fail in the end if it asked for a strange file or complained."""
    address = address if isinstance(address, str) else address.absolute().as_uri()
    site = address.rsplit("/", 1)[0] + "/"
    if site.startswith("http"):
        site = "/".join(address.split("/")[:3]) + "/"
    said = []

    def asked(request):
        alone = address.startswith("file:")
        own = request.url == address if alone else request.url.startswith(site)
        if not own and not request.url.startswith("data:"):
            said.append(f"asks for {request.url[:200]}")

    def wrote(message):
        if message.type in ("error", "warning"):
            said.append(f"console {message.type}: {message.text}")

    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    context.set_default_timeout(30_000)  # a busy machine takes seconds to open a page

    def failed(request):
        # A page that sends the visitor on gives up what it was still asking for.
        if request.failure != "net::ERR_ABORTED":
            said.append(f"failed: {request.url[:200]}")

    def answered(response):
        if response.status >= 400:
            said.append(f"{response.status} for {response.url}")

    context.on("request", asked)
    context.on("requestfailed", failed)
    context.on("response", answered)
    context.on("console", wrote)
    context.on("weberror", lambda problem: said.append(f"script: {problem.error}"))
    try:
        page = context.new_page()
        page.goto(address)
        yield page
    finally:
        context.close()
    assert said == [], said


def explorers(page):
    """Every explorer in a page: the page itself, or the frames in it."""
    frames = page.locator("iframe.clipnotes-explorer").element_handles()
    found = [frame.content_frame() for frame in frames] or [page.main_frame]
    for frame in found:
        frame.wait_for_selector("#from .cell[aria-selected=true]", state="attached")
    return found


# Reads at once what a map shows, since every word to the browser takes milliseconds.
READ = """(section) => {
  const tokens = (all) => [...section.querySelectorAll(all)].map((one) => +one.dataset.token);
  const texts = (all) => [...section.querySelectorAll(all)].map((one) => one.textContent);
  const cells = [...section.querySelectorAll(".cell")];
  return {
    labels: cells.map((cell) => cell.getAttribute("aria-label")),
    chosen: tokens(".cell[aria-selected=true]"),
    listed: tokens(".top li"),
    numbers: texts(".top li b").map(Number),
  };
}"""


def number(label):
    """What a cell's label says; 0 for a token that the causal mask keeps out."""
    said = label.rsplit(": ", 1)[1]
    return 0.0 if said.startswith(("earlier", "later")) else float(said)


def weights_in(frame):
    return weights_of(frame.locator("#data").evaluate("(one) => one.outerHTML"))


def expected(weights, layer, head, token):
    """The two rows of numbers that should be shown."""
    of_head = weights[layer].mean(0) if head == MEAN else weights[layer, head]
    return {"from": of_head[token], "to": of_head[:, token]}


def assert_shows(frame, layer, head, token, weights=None, tolerance=ROUNDED):
    """Compare both maps and both lists with the weights (n_layers, n_heads, N, N)."""
    weights = weights_in(frame) if weights is None else weights
    for view, values in expected(weights, layer, head, token).items():
        shown = frame.locator(f"#{view}").evaluate(READ)
        close = {"rtol": 0, "atol": tolerance, "err_msg": view}
        np.testing.assert_allclose([*map(number, shown["labels"])], values, **close)
        assert shown["chosen"] == [token], shown["chosen"]
        np.testing.assert_allclose(shown["numbers"], values[shown["listed"]], **close)
        largest = np.sort(values)[::-1][: len(shown["numbers"])]
        np.testing.assert_allclose(shown["numbers"], largest, **close)


def cell(frame, token, view="from"):
    return frame.locator(f"#{view} .cell[data-token='{token}']")


def assert_explorer_works(frame):
    """Point, click, use keys, choose a head and a layer: for an explorer in any page."""
    n_layers, n_heads, n, _ = weights_in(frame).shape
    layer = int(frame.locator("#layer").input_value())
    cell(frame, n - 1).hover()
    assert_shows(frame, layer, MEAN, n - 1)
    if not frame.locator("#to").is_visible():  # a narrow page shows one map at a time
        frame.locator("#views input[value=to]").check()
    cell(frame, 1, "to").click()
    assert_shows(frame, layer, MEAN, 1)
    frame.page.keyboard.press("ArrowRight")
    assert_shows(frame, layer, MEAN, 2)
    frame.locator("#heads input").last.check()
    frame.page.mouse.move(1, 1)
    assert_shows(frame, layer, n_heads - 1, 2)
    frame.locator("#layer").focus()
    for key, end in (("Home", 0), ("End", n_layers - 1)):
        frame.page.keyboard.press(key)
        assert_shows(frame, end, n_heads - 1, 2)
