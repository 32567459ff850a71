"""The built book in a real browser. Runs after `make book`; without a book it is left out."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from browser import assert_explorer_works, explorers, visit

import build

NARROW, WIDE = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Say nothing: pytest's output is for tests."""


@pytest.fixture(scope="module")
def site(root):
    """The address of the built book, served as a host would serve it."""
    folder = root / "_build" / "html"
    if not build.DIGEST.exists() or build.DIGEST.read_text() != build.sources_digest():
        pytest.skip("the book is not built, or something changed since: run make book first")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_explorers_in_the_book_work(browser, site, viewport, scheme):
    page = f"{site}/book/chapters/12-where-it-looks.html"
    with visit(browser, page, viewport=viewport, color_scheme=scheme) as opened:
        found = explorers(opened)
        assert len(found) == 2, "one of a picture, one of a text"
        for frame in found:
            frame.frame_element().scroll_into_view_if_needed()
            assert_explorer_works(frame)
        wide = opened.evaluate("document.documentElement.scrollWidth")
        assert wide <= viewport["width"], f"{wide} pixels wide"
