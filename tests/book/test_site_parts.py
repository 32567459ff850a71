"""What the book's own extensions work out: the address of the pages, times, the front page."""

import pytest
from sphinx.errors import ConfigError, ExtensionError

from _ext import chapter_header, site_address, tidy_pages
from _tools import build


@pytest.mark.parametrize(
    ("repository", "address"),
    [
        ("https://github.com/Someone/a-book", "https://someone.github.io/a-book/"),
        ("https://github.com/someone/a-book.git", "https://someone.github.io/a-book/"),
        ("https://github.com/someone/Someone.github.io", "https://someone.github.io/"),
    ],
)
def test_the_address_of_the_pages_follows_from_that_of_the_repository(repository, address):
    assert site_address.pages_address(repository) == address


def test_a_repository_elsewhere_needs_an_address_of_its_own():
    with pytest.raises(ConfigError, match=r"is not on GitHub.*`html:` `baseurl:"):
        site_address.pages_address("https://example.org/someone/book")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 second"), (6.9, "7 seconds"), (59.6, "1 minute"), (123, "2 minutes 3 seconds")],
)
def test_times_are_said_in_words(seconds, said):
    assert chapter_header.spoken(seconds) == said


def test_chapters_that_are_named_become_links():
    pages = {2: "book/chapters/02-b", 4: "book/chapters/04-d"}
    found = chapter_header.with_links("You need chapters 2 to 4.", pages, "book/chapters/05-e")
    assert [one.astext() for one in found] == ["You need ", "chapters 2", " to ", "4", "."]
    assert [one["reftarget"] for one in found[1::2]] == [
        "/book/chapters/02-b",
        "/book/chapters/04-d",
    ]
    with pytest.raises(ExtensionError, match="05-e needs chapter 9, which is not there"):
        chapter_header.with_links("You need chapter 9.", pages, "book/chapters/05-e")


def test_the_front_page_has_the_preview_of_the_first_page():
    first = '<meta content="A book" property="og:title"/><meta name="viewport" content="x"/>'
    first += '<meta name="description" content="About it" />'
    page = build.front_page(first)
    assert 'content="A book"' in page
    assert 'content="About it"' in page
    assert "viewport" not in page


def test_a_fold_says_what_it_hides():
    fold = (
        '<div class="cell tag_hide-cell{} docutils container">\n<details class="hide">\n<summary>'
    )
    fold += "<p>Show code cell content</p><p>Hide code cell content</p></summary>x</details></div>"
    solution = tidy_pages.mended(fold.format(" tag_solution"))
    assert "Show the solution</p><p>Hide the solution</p>" in solution
    assert "Show the imports</p>" in tidy_pages.mended(fold.format(" tag_imports"))
    assert "Show what is checked" in tidy_pages.mended(fold.format(" tag_checked"))
    assert tidy_pages.mended(fold.format("")) == fold.format("")
    both = tidy_pages.mended(fold.format("") + fold.format(" tag_solution"))
    assert both == fold.format("") + solution


def test_the_arguments_of_a_long_signature_are_lines_and_no_list():
    line = '<dd><em class="sig-param"><span>{}</span></em>,</dd>\n'
    listed = "<dl>\n{}{}</dl>".format(line.format("a"), line.format("b"))
    found = tidy_pages.mended(f"({listed})<dl><dd>what it does</dd></dl>")
    assert found.endswith(")<dl><dd>what it does</dd></dl>")
    assert found.count("<dd>") == 1
    assert found.index("<span>a</span>") < found.index("<span>b</span>")
