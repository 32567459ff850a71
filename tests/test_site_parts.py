"""What the book's own extensions work out: the address of the pages, times, the front page."""

import pytest
from sphinx.errors import ConfigError, ExtensionError

import build
import chapter_header
import site_address
import tidy_pages


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


@pytest.mark.parametrize(("tag", "said"), [("solution", "Show a solution"), ("x", "Show code cell")])
def test_what_unfolds_a_solution_says_so(tag, said):
    cell = f'<div class="cell tag_hide-cell tag_{tag} docutils container">\n<details class="hide">'
    context = {"body": cell + "\n<summary>\n<p>Show code cell content</p>\n</summary>"}
    tidy_pages.name_solutions(None, "", "", context, None)
    assert said in context["body"]
