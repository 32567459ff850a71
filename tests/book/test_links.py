"""Following links to other hosts, tried on a host on this machine."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from _tools import links


class Host(BaseHTTPRequestHandler):
    """Answers with the status that the path names; of `/late`, only the second time."""

    asked: list

    def do_GET(self):
        type(self).asked.append(self.path)
        status = self.path.strip("/")
        if status == "late":
            status = 200 if self.asked.count(self.path) > 1 else 503
        self.send_response(int(status))
        if int(status) in (301, 302):
            self.send_header("Location", "/200")
        self.end_headers()

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def host():
    handler = type("Fresh", (Host,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.asked = handler.asked
        server.address = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()


def test_pages_that_are_gone_are_named(host):
    paths = ("200", "301", "404", "410", "500", "403", "429", "late")
    wrong = links.broken([f"{host.address}/{path}" for path in paths], pause=0)
    assert {address.rsplit("/", 1)[1]: said[:3] for address, said in wrong.items()} == {
        "404": "404",
        "410": "410",
        "500": "500",
    }
    assert host.asked.count("/404") == 1, "who says that it is gone is not asked again"
    assert host.asked.count("/500") == links.TRIES
    assert host.asked.count("/late") == 2


def test_a_host_that_does_not_answer_is_named():
    with ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:  # and closed again
        address = f"http://127.0.0.1:{server.server_port}/"
    assert "refused" in links.broken([address], pause=0)[address]


def test_each_link_is_followed_once_and_those_on_the_list_never(tmp_path):
    ours = "https://github.com/someone/book"
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "theme.html").write_text("<a href='https://x.org/theme'>x</a>")
    (tmp_path / "a.html").write_text(
        "<link rel='canonical' href='https://x.org/own'>"
        f"<a href='https://x.org/p#one'>x</a><a href='b.html'>b</a><a href='{ours}/edit/a'>e</a>"
    )
    (tmp_path / "b.html").write_text(
        f"<a href='https://x.org/p#two'>x</a><a href='{ours}'>us</a><a href='mailto:a@x.org'>m</a>"
        "<a href='https://colab.research.google.com/github/x'>c</a>"
    )
    assert links.elsewhere(tmp_path, ours) == {
        "https://x.org/p": {"a.html", "b.html"},
        ours: {"b.html"},
    }


def test_broken_links_are_printed_with_their_pages(host, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(links, "TRIES", 1)
    assert links.main(tmp_path) == 1
    assert "run make book first" in capsys.readouterr().out
    page = tmp_path / "index.html"
    page.write_text(f"<a href='{host.address}/404'>x</a><a href='{host.address}/200'>x</a>")
    assert links.main(tmp_path) == 1
    said = capsys.readouterr().out
    assert f"{host.address}/404\n    on index.html\n2 links to other hosts, 1 broken" in said
    page.write_text(f"<a href='{host.address}/200'>x</a>")
    assert links.main(tmp_path) == 0
