"""The built book, for the tests that look at it: where it is, its pages, and a host for them."""

import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from _tools import build

FOLDER = build.HTML
NARROW, WIDE = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Say nothing: pytest's output is for tests."""


@contextmanager
def served(folder):
    """Serve a folder's files on this machine, and yield the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def is_fresh():
    """Say whether the book is there, and is that of the present sources."""
    return build.DIGEST.exists() and build.DIGEST.read_text() == build.sources_digest()


def pages(folder=FOLDER):
    """The paths of all pages. The first one only sends its visitors on, and is left out."""
    found = (path.relative_to(folder) for path in folder.rglob("*.html"))
    return sorted(
        path.as_posix()
        for path in found
        if path.as_posix() != "index.html" and path.parts[0] != "_static"
    )
