"""Annotated source in a real browser: it can be read everywhere, also as a piece of a page."""

import re

import pytest

from annotated_page import call, notes, shown, unfold
from browser import PHONE, visit
from clipnotes.trace.notes_html import notes_fragment
from readable import unreadable

WIDTH = "document.documentElement.scrollWidth"


def test_a_phone_has_the_notes_below_and_room_for_fingers(browser, whole):
    with visit(browser, whole, **PHONE) as page:
        page.get_by_role("button", name="Open all calls").tap()
        assert page.evaluate(WIDTH) == 390
        row = page.locator(".cn-row", has_text="pixel_values: ").first
        code, note = row.locator("code").bounding_box(), row.locator(".cn-note").bounding_box()
        assert note["y"] >= code["y"] + code["height"] - 1
        heights = page.locator("button:visible, label:visible, .cn-in > summary").evaluate_all(
            "(all) => all.map((one) => one.getBoundingClientRect().height)"
        )
        assert min(heights) >= 24
        lines = page.locator("code [data-m]").evaluate_all(
            "(all) => all.map((one) => one.getBoundingClientRect().height)"
        )
        assert min(lines) >= 18, "a name is in a line of 24 pixels"
        leading = page.locator(".cn-line").first.evaluate(
            "(one) => getComputedStyle(one).lineHeight"
        )
        assert leading == "24px"
        over = page.locator(".cn-line, .cn-note, summary, .cn-remark").evaluate_all(
            "(all) => all.filter((one) => one.getBoundingClientRect().right > 390).length"
        )
        assert over == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", [{}, PHONE], ids=["wide", "phone"])
def test_the_page_can_be_read(browser, whole, scheme, device):
    with visit(browser, whole, color_scheme=scheme, **device) as page:
        page.get_by_role("button", name="Open all calls").click()
        unfold(page)
        assert unreadable(page) == []
        page.locator("code [data-m]").first.click()
        assert unreadable(page, ["color-contrast"]) == [], "with a tensor lit"
        ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        bright = sum(map(int, re.findall(r"\d+", ground)[:3])) > 384
        assert bright == (scheme == "light")


# A piece in somebody else's page


@pytest.fixture
def pieces(tmp_path):
    """Writes a page with prose, in some colours, and with two pieces: one short, one folded."""

    def write(look=""):
        long = {**notes(), "lines": [*notes()["lines"], *["    # more"] * 20]}
        file = tmp_path / "pieces.html"
        file.write_text(
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Two pieces</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>body {{ {look} }} code, pre {{ background: red; padding: 3em; color: lime }}"
            "p, button, summary { margin: 2em; text-transform: uppercase }</style>"
            f"<main><h1>Two</h1>{notes_fragment(notes())}<p>and</p>{notes_fragment(long)}</main>",
            encoding="utf-8",
        )
        return file

    return write


@pytest.mark.parametrize("look", ["color: #222; background: #fff", "color: #ddd; background: #111"])
def test_a_piece_can_be_read_in_any_colours(browser, pieces, look):
    with visit(browser, pieces(look)) as page:
        unfold(page)
        page.locator("code [data-m]").first.click()
        assert unreadable(page) == []
        code = page.locator("code").first
        assert code.evaluate("(one) => getComputedStyle(one).backgroundColor") == "rgba(0, 0, 0, 0)"
        assert code.evaluate("(one) => getComputedStyle(one).padding").startswith("0px")


def test_two_pieces_do_not_meddle_with_each_other(browser, pieces):
    with visit(browser, pieces(), viewport={"width": 390, "height": 844}) as page:
        assert page.evaluate(WIDTH) == 390
        # Once more, as a notebook does that shows an old output again.
        page.evaluate("document.querySelectorAll('script').forEach((one) => eval(one.textContent))")
        ids = page.locator("[id]").evaluate_all("(all) => all.map((one) => one.id)")
        assert len(ids) == len(set(ids)) == 4
        first, second = page.locator(".clipnotes-notes").all()
        second.locator(".cn-fold > summary").click()
        call(second, "layer").click()
        assert second.locator(".cn-in[open]").count() == 1, "one click, one answer"
        assert first.locator(".cn-in[open]").count() == 0
        first.locator("code [data-m]").first.click()
        assert (first.locator(".cn-lit").count() > 0, second.locator(".cn-lit").count()) == (
            True,
            0,
        )
        second.locator("code [data-m]").first.click()
        assert first.locator(".cn-lit").count() == 0 < second.locator(".cn-lit").count()
        second.get_by_label("Shapes").uncheck()
        assert second.locator(".cn-note:visible").count() == 0
        assert first.locator(".cn-note:visible").count() > 0


def test_without_its_script_all_of_it_can_be_read(browser, small):
    with visit(browser, small, java_script_enabled=False) as page:
        before = shown(page)
        titles = page.locator(".cn-in > summary")
        assert titles.count() == 2 and all(title.is_visible() for title in titles.all())
        titles.first.click()
        assert shown(page) == before + 4
        assert page.get_by_role("button", name="Open all calls").count() == 0
        assert page.locator("code button, code [role=button]").count() == 0
        page.get_by_label("Shapes").uncheck()
        assert page.locator(".cn-note:visible").count() == 0
