"""The links of the built book. Runs after `make book`; needs neither a browser nor a network."""

import posixpath
import re
from urllib.parse import unquote, urldefrag

import pytest
import yaml
from bs4 import BeautifulSoup

import built
from _tools import links
from repository import ROOT

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
OURS = CONFIG["repository"]["url"]
NAME, BRANCH = OURS.removeprefix("https://github.com/"), CONFIG["repository"]["branch"]
COLAB = f"{CONFIG['launch_buttons']['colab_url']}/github/{NAME}/blob/"


@pytest.fixture(scope="module")
def book(site):
    """Each page's path and what it links."""
    return {
        path.relative_to(built.FOLDER).as_posix(): one for path, one in links.pages(built.FOLDER)
    }


def lost(page, address, pages, files):
    """What is wrong with a link inside the book, or None."""
    path, anchor = urldefrag(address)
    path = path.partition("?")[0]  # a style's or a script's digest
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(path)))
    target = target if path else page
    if target not in files:
        return f"{page}: {address}: there is no {target}"
    if anchor and target in pages and unquote(anchor) not in pages[target].anchors:
        return f"{page}: {address}: {target} has no such anchor"
    return None


def lost_links(pages, files):
    """What is wrong with the links inside the book. A scheme, as in https:, leads out."""
    out = re.compile(r"[a-z]+:|//|#?$")
    inside = ((p, a) for p, one in pages.items() for a in one.addresses if not out.match(a))
    return [said for page, address in inside if (said := lost(page, address, pages, files))]


def test_every_link_and_anchor_in_the_book_is_there(book):
    files = {p.relative_to(built.FOLDER).as_posix() for p in built.FOLDER.rglob("*") if p.is_file()}
    assert all(one.addresses for one in book.values())
    assert lost_links(book, files) == []


def test_a_lost_link_is_found():
    pages = {
        "index.html": links.Links("<a href='a/b.html#x'></a><a href='a/b.html#y'></a>"),
        "a/b.html": links.Links(
            "<p id='x'></p><a href='#x'></a><a href='#z'></a><a href='../index.html'></a>"
            "<a href='https://x.org'></a><a href='c.html'></a><img src='../a%20b.png'>"
        ),
    }
    assert lost_links(pages, {*pages, "a b.png"}) == [
        "index.html: a/b.html#y: a/b.html has no such anchor",
        "a/b.html: #z: a/b.html has no such anchor",
        "a/b.html: c.html: there is no a/c.html",
    ]


def test_every_link_into_the_repository_names_a_file_of_it(book):
    """Colab's too: they are made by the theme and by `chapter_header`."""
    path = re.compile(rf"(?:{re.escape(COLAB)}|{re.escape(OURS)}/(?:blob|edit|raw)/)([^#?]+)")
    named = {m[1] for one in book.values() for a in one.addresses if (m := path.match(a))}
    for one in sorted(named):
        branch, _, file = one.partition("/")
        assert branch == BRANCH, one
        assert (ROOT / unquote(file)).is_file(), one
    chapters = (ROOT / "book" / "chapters").glob("*.md")
    for chapter in chapters:
        page = f"book/chapters/{chapter.stem}"
        addresses = book[f"{page}.html"].addresses
        assert f"{COLAB}{BRANCH}/{page}.ipynb" in addresses
        assert f"{OURS}/edit/{BRANCH}/{page}.md" in addresses


def test_previews_and_search_engines_are_told_addresses_that_are_there(book):
    owner, name = NAME.split("/")
    base = f"https://{owner.lower()}.github.io/{name}/"
    for page in book:
        text = (built.FOLDER / page).read_text(encoding="utf-8")
        soup = BeautifulSoup(text.partition("<body")[0], "html.parser")
        kinds = 'meta[property="og:url"], meta[property="og:image"], link[rel=canonical]'
        told = [one.get("content") or one["href"] for one in soup.select(kinds)]
        assert told or page in ("genindex.html", "py-modindex.html", "search.html"), page
        for address in told:
            assert address.startswith(base), (page, address)
            assert (built.FOLDER / address.removeprefix(base)).is_file(), (page, address)


def test_names_in_code_cells_link_to_the_api_pages(book):
    """The function that every chapter calls, and the class of what it returns."""
    chapters = [one for page, one in book.items() if page.startswith("book/chapters/")]
    assert chapters
    for one in chapters:
        ends = {address.rpartition("/")[2] for address in one.addresses}
        assert {"clipnotes.html#clipnotes.load", "clipnotes.html#clipnotes.Clip"} <= ends
