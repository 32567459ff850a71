"""Every page of the built book in a real browser: it loads, can be read, and its buttons answer."""

import pytest

import built
from browser import visit
from buttons import ANSWERS, ANY
from readable import unreadable
from repository import ROOT

VIEWPORTS = pytest.mark.parametrize("viewport", [built.WIDE, built.NARROW], ids=["wide", "narrow"])
PAGES = pytest.mark.parametrize("page", built.pages())

# What is folded or behind a tab is on the page too, and is not to be looked at while it fades in.
UNFOLD = """() => {
  const style = document.createElement("style");
  style.textContent = `* { animation: none !important; transition: none !important; }
    .sd-tab-content { display: block !important; }`;
  document.head.append(style);
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
}"""
WIDTH = "document.documentElement.scrollWidth"
# The rules that depend on the scheme.
COLOURS = ["color-contrast", "link-in-text-block"]


@PAGES
@VIEWPORTS
def test_a_page_can_be_read(browser, site, page, viewport):
    with visit(browser, f"{site}/{page}", viewport=viewport) as opened:
        assert opened.evaluate(WIDTH) == viewport["width"], "folded"
        opened.evaluate(UNFOLD)
        for scheme in ("light", "dark"):
            opened.emulate_media(color_scheme=scheme)
            opened.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
            assert opened.evaluate(WIDTH) == viewport["width"], scheme
            if viewport == built.WIDE:  # colours and texts are the same in both
                rules = COLOURS if scheme == "dark" else None  # texts are the same in both
                assert unreadable(opened, rules) == [], scheme


@PAGES
@VIEWPORTS
def test_every_button_answers(browser, site, page, viewport):
    rights = ["clipboard-read", "clipboard-write"]
    with visit(browser, f"{site}/{page}", viewport=viewport, permissions=rights) as opened:
        known = ", ".join(ANSWERS)
        strange = opened.locator(ANY).evaluate_all(
            "(all, known) => all.filter((one) => !one.matches(known)).map((one) => one.outerHTML)",
            known,
        )
        assert strange == [], "what are these for? tests/helpers/buttons.py has to know"
        for selector, answers in ANSWERS.items():
            shown = opened.locator(f"{selector}:visible")
            if shown.count():
                answers(opened, shown)


def test_a_chapter_can_be_downloaded_in_both_forms(browser, site):
    chapters = [page for page in built.pages() if page.startswith("book/chapters/")]
    assert len(chapters) == len([*(ROOT / "book" / "chapters").glob("*.md")])
    for page in chapters:
        with visit(browser, f"{site}/{page}") as opened:
            for form in ("ipynb", "md"):
                with opened.expect_download() as download:
                    opened.get_by_role("link", name=f"Download .{form}").click()
                source = ROOT / page.replace(".html", f".{form}")
                assert download.value.suggested_filename == source.name
                assert download.value.path().read_bytes() == source.read_bytes()


def test_the_search_finds_a_word(browser, site):
    with visit(browser, f"{site}/book/index.html") as opened:
        opened.locator("button.search-button__button").first.click()
        opened.locator("dialog input[type=search]").fill("quick_gelu")
        opened.keyboard.press("Enter")
        found = opened.locator("#search-results li a[href*='03-inside-an-encoder-layer']").first
        found.click()
        opened.wait_for_selector("article h1:has-text('Inside an encoder layer')")


def test_the_front_page_leads_to_the_book(browser, site):
    with visit(browser, f"{site}/index.html") as opened:
        opened.wait_for_url(f"{site}/book/index.html")
        picture = opened.locator("article img").first.bounding_box()
        words = ("Who it is for", "What you will be able to do", "Begin with chapter 1")
        boxes = [picture, *(opened.get_by_text(word).bounding_box() for word in words)]
        assert all(box["y"] + box["height"] <= built.WIDE["height"] for box in boxes), "one screen"
