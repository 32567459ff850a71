"""The book on paper: pages put together, and printed by a real browser."""

import pytest
from bs4 import BeautifulSoup
from pypdf import PdfReader

from _tools import pdf
from _tools.chromium import find_chromium
from browser import cannot

HEAD = '<link rel="stylesheet" href="{up}style.css?v=1"><script src="{up}theme.js"></script>'
FIRST = (
    HEAD.format(up="../")
    + """<nav>aside</nav><article class="bd-article">
<h1 id="a">First<a class="headerlink" href="#a">#</a></h1>
<p>See <a href="b/two.html#deep">a place</a>, <a href="#a">here</a>, <a href="b/two.html">two</a>,
<a href="../genindex.html">the index</a>, <a href="https://x.org/p">elsewhere</a>.</p>
<img src="../_images/a.png" alt="a"><details><summary>Show</summary>folded</details></article>"""
)
SECOND = (
    HEAD.format(up="../../")
    + """<script>window.MathJax = {}</script><article class="bd-article"><h1 id="a">Second</h1>
<h2 id="deep" style="margin-top: 400mm">A heading that is so long that it goes on in a second line
of the page, and perhaps in a third</h2><p aria-labelledby="a">Back to
<a href="../one.html#a">the first</a>.</p></article>"""
)
PARTS = [("", ["book/one"]), ("A part", ["book/b/two"])]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "book" / "b").mkdir(parents=True)
    (tmp_path / "style.css").write_text("p { color: black; }")
    (tmp_path / "book" / "one.html").write_text(FIRST)
    (tmp_path / "book" / "b" / "two.html").write_text(SECOND)
    return tmp_path


def test_links_and_names_hold_in_the_whole_page(folder):
    soup = BeautifulSoup(pdf.whole(folder, PARTS), "html.parser")
    names = [one["id"] for one in soup.select("[id]")]
    assert len(set(names)) == len(names)
    links = {one.get_text(): one["href"] for one in soup.select("a")}
    assert links == {
        "a place": "#book-b-two--deep",
        "here": "#book-one--a",
        "two": "#book-b-two",
        "elsewhere": "https://x.org/p",
        "Second": "#book-b-two",
        "the first": "#book-one--a",
    }
    assert {link[1:] for link in links.values() if link.startswith("#")} <= set(names)
    assert soup.select_one("[aria-labelledby]")["aria-labelledby"] == "book-b-two--a"
    assert "the index" in soup.get_text(), "a link that leads nowhere stays as text"
    assert "aside" not in soup.get_text()


def test_files_are_found_from_the_whole_page(folder):
    soup = BeautifulSoup(pdf.whole(folder, PARTS), "html.parser")
    assert soup.img["src"] == "_images/a.png"
    assert [one["href"] for one in soup.select("link")] == ["style.css"], "once"
    assert [one.get_text() for one in soup.select("script")] == ["window.MathJax = {}"]
    assert soup.details.has_attr("open")


def test_a_page_without_an_article_is_named(folder):
    (folder / "book" / "one.html").write_text("<p>nothing</p>")
    with pytest.raises(ValueError, match=r"book/one\.html holds no article: is the book built"):
        pdf.whole(folder, PARTS)


@pytest.fixture
def printed(folder):
    if find_chromium() is None:
        cannot("no browser")
    html = pdf.whole(folder, PARTS)
    (folder / "whole.html").write_text(html)
    pdf.print_page(folder / "whole.html", folder / "book.pdf")
    return folder / "book.pdf", pdf.headings(html)


def test_the_pdf_has_an_outline_and_links_that_lead_somewhere(printed):
    path, titles = printed
    assert titles[:3] == ["First", "Contents", "Second"]
    assert titles[3].endswith("second line of the page, and perhaps in a third")
    pdf.mend_outline(path, titles)
    book = PdfReader(path)
    lines = [line["/Title"] for line in pdf.items(book.trailer["/Root"]["/Outlines"])]
    assert lines == titles
    first, contents, second, (deep,) = book.outline
    places = [book.get_destination_page_number(one) for one in (first, contents, second, deep)]
    assert places == [0, 1, 2, 3]
    links = [note.get_object() for page in book.pages for note in page.get("/Annots", [])]
    inside = [link["/Dest"] for link in links if "/Dest" in link]
    assert set(inside) <= set(book.named_destinations)
    assert len(inside) == 5
    leads = book.named_destinations["/book-b-two--deep"]
    assert book.get_destination_page_number(leads) == 3


def test_an_outline_that_is_not_that_of_the_page_is_refused(printed):
    path, titles = printed
    with pytest.raises(ValueError, match="5 headings, 4 lines of the outline"):
        pdf.mend_outline(path, [*titles, "another"])


def test_without_a_book_or_a_browser_nothing_is_printed(folder, monkeypatch, capsys):
    monkeypatch.setattr(pdf, "HTML", folder)
    monkeypatch.setattr(pdf, "PDF", folder / "book.pdf")
    monkeypatch.setattr(pdf, "contents", lambda: iter(PARTS))
    assert pdf.main() == 1
    assert "run make book first" in capsys.readouterr().out
    (folder / "index.html").write_text("")
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", "")
    assert pdf.main() == 1
    assert "install chromium" in capsys.readouterr().out
    assert not (folder / pdf.WHOLE).exists()
    assert not (folder / "book.pdf").exists()
