"""The explorers of the built book in a real browser. Runs after `make book`."""

import pytest

from browser import assert_explorer_works, explorers, visit
from built import NARROW, WIDE


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_explorers_in_the_book_work(browser, site, viewport, scheme):
    page = f"{site}/book/chapters/12-where-it-looks.html"
    with visit(browser, page, viewport=viewport, color_scheme=scheme) as opened:
        found = explorers(opened)
        assert len(found) == 2, "one of an image, one of a text"
        for frame in found:
            frame.frame_element().scroll_into_view_if_needed()
            assert_explorer_works(frame)
        wide = opened.evaluate("document.documentElement.scrollWidth")
        assert wide <= viewport["width"], f"{wide} pixels wide"
