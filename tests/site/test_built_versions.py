"""The tabs of the built book, in a browser: a version is chosen once. Runs after `make book`."""

import re

from _tools.versions import tabs
from browser import visit
from repository import ROOT

# The tabs of versions; those with the real CLIP have no such line above them.
SETS = ".cell_output p.by-version + .sd-tab-set"
# Reads the label of the open tab of each set.
OPEN = "sets => sets.map(one => one.querySelector('input:checked + label').textContent.trim())"


def opened(page):
    return page.locator(SETS).evaluate_all(OPEN)


def shown(page, number):
    """The text of the open tab of one set."""
    return page.locator(SETS).nth(number).locator(".sd-tab-content:visible")


def test_a_version_is_chosen_once_for_all_pages(browser, site):
    records = tabs.recorded()
    oldest, *_, newest = records
    first, second = "01-meet-the-model", "07-the-text-call-chain"
    with visit(browser, f"{site}/book/chapters/{first}.html") as page:
        assert opened(page) == [newest] * len(records[newest][first])
        page.locator(".sd-tab-set label", has_text=oldest).last.click()
        assert opened(page) == [oldest] * len(records[oldest][first])
        (_, printed), *_ = records[oldest][first][0]["outputs"]
        assert shown(page, 0).inner_text().strip() == printed.strip()
        page.reload()
        assert set(opened(page)) == {oldest}
        page.goto(f"{site}/book/chapters/{second}.html")
        assert opened(page) == [oldest] * len(records[oldest][second])
        (_, printed), *_ = records[oldest][second][1]["outputs"]
        assert shown(page, 1).inner_text().strip() == printed.strip()
        page.locator(".sd-tab-set label", has_text=newest).first.click()
        assert set(opened(page)) == {newest}


def test_annotated_source_works_in_every_tab(browser, site):
    records = tabs.recorded()
    with visit(browser, f"{site}/book/chapters/03-inside-an-encoder-layer.html") as page:
        assert page.locator(".clipnotes-notes").count() == 3 * len(records)
        assert page.locator(".clipnotes-notes:not(.cn-js)").count() == 0, "one script serves all"
        assert page.locator("p.source-licence").count() == 3
        for name in records:
            page.locator(".sd-tab-set label", has_text=name).first.click()
            piece = page.locator(".clipnotes-notes:visible").first
            assert piece.locator(".cn-remark:visible").count() > 2
            piece.get_by_role("button", name="Open all calls").click()
            assert piece.locator(".cn-in[open]").count() > 3
            assert piece.locator(".cn-fold[open]").count() == 1


def test_annotated_source_keeps_its_indentation():
    page = ROOT / "_build" / "html" / "book" / "reference" / "walk-through-clip.html"
    text = page.read_text(encoding="utf-8")
    indents = {len(found) for found in re.findall(r'<i class="w">( +)</i>', text)}
    assert {4, 8} <= indents
