"""Print the built book to one PDF, `_build/book.pdf`.

The built pages are put one after the other into one page, with a contents page in front, and a
browser prints that. What is folded is unfolded. A link to another page of the book leads to its
place in the PDF, and the headings become the PDF's outline.

    python book/_tools pdf      after make book
"""

import posixpath
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag

import yaml
from bs4 import BeautifulSoup, Tag
from pypdf import PdfWriter
from pypdf.generic import DictionaryObject, NameObject, TextStringObject

from _tools import BUILD, ROOT
from _tools.chromium import FLAGS, MISSING, find_chromium

HTML = BUILD / "html"
WHOLE = "whole.html"  # beside the built pages while it is printed, so their files are found
PDF = BUILD / "book.pdf"
#: What is pressed, and not read.
BUTTONS = ".headerlink, .chapter-buttons, .sd-btn, .sd-tab-set > input, button, script"
#: Attributes that hold the name of another element of the page.
NAMES = ("aria-labelledby", "aria-describedby", "for")

PAGE = """\
<!doctype html>
<html lang="en" data-theme="light" data-mode="light">
<head>
<meta charset="utf-8">
<title>{title}</title>
{head}
<style>
  html {{ font-size: 14px; scroll-padding-top: 0; }}
  body {{ display: block; }}
  .bd-content {{ display: block; width: 100%; }}
  .bd-content .bd-article {{ padding: 0; width: 100%; max-width: none; }}
  article + article {{ break-before: page; }}
  .contents p {{ font-weight: 600; margin: 1.2rem 0 0.3rem; }}
  .contents ul {{ list-style: none; padding-left: 1rem; margin: 0; }}
</style>
</head>
<body><main class="bd-content">
{pages}
</main></body>
</html>
"""
FOOTER = """<div style="width: 100%; text-align: center; font: 8px sans-serif; color: #555">
<span class="pageNumber"></span></div>"""


def contents() -> Iterator[tuple[str, list[str]]]:
    """Yield each part of the book: its caption and its pages, as `_toc.yml` says."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    yield "", [toc["root"]]
    for part in toc["parts"]:
        yield part["caption"], [page for node in part["chapters"] for page in files(node)]


def files(node: dict[str, Any]) -> Iterator[str]:
    """Yield a page and those below it."""
    yield node["file"]
    for below in node.get("sections", []):
        yield from files(below)


def slug(page: str, anchor: str = "") -> str:
    """Name a place in the whole page: an anchor of one of the pages, or its beginning."""
    return "--".join(filter(None, [page.replace("/", "-"), anchor]))


def destination(page: str, address: str, taken: set[str]) -> str | None:
    """Say where a link of a page leads in the whole page; None if nowhere in print."""
    if address.startswith(("https:", "http:", "mailto:")):
        return address
    path, anchor = urldefrag(address)
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
    target = target.removesuffix(".html")
    return f"#{slug(target, anchor)}" if target in taken else None


def article(page: str, soup: BeautifulSoup, taken: set[str]) -> Tag:
    """Take the article out of a built page, with names and links that hold in the whole page."""
    found = soup.select_one("article.bd-article")
    if found is None:
        raise ValueError(f"{page}.html holds no article: is the book built?")
    for button in found.select(BUTTONS):
        button.decompose()
    for fold in found.select("details"):
        fold["open"] = ""
    for one in found.select("[id]"):
        one["id"] = slug(page, str(one["id"]))
    for name in NAMES:
        for one in found.select(f"[{name}]"):
            one[name] = slug(page, str(one[name]))
    for picture in found.select("[src]"):
        source = posixpath.join(posixpath.dirname(page), str(picture["src"]))
        if not str(picture["src"]).startswith("data:"):
            picture["src"] = posixpath.normpath(source)
    for link in found.select("a[href]"):
        leads = destination(page, str(link["href"]), taken)
        if leads is None:
            link.unwrap()
        else:
            link["href"] = leads
    found["id"] = slug(page)
    return found


def assets(soup: BeautifulSoup, page: str) -> Iterator[str]:
    """Yield what a page needs of its head: its styles, and the scripts that set formulas."""
    for one in soup.select("link[rel=stylesheet], script"):
        key = "href" if one.name == "link" else "src"
        if one.name == "script" and "mathjax" not in str(one).lower():
            continue
        if key in one.attrs:
            path = str(one[key]).partition("?")[0]
            one[key] = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
        yield str(one)


def whole(folder: Path, parts: list[tuple[str, list[str]]]) -> str:
    """Put the pages of these parts into one; the contents stand below the first page."""
    taken = {page for _, pages in parts for page in pages}
    head: dict[str, None] = {}  # a set that keeps its order
    articles, listed = [], ""
    for caption, pages in parts:
        rows = ""
        for page in pages:
            text = (folder / f"{page}.html").read_text(encoding="utf-8")
            soup = BeautifulSoup(text, "html.parser")
            head |= dict.fromkeys(assets(soup, page))
            articles.append(article(page, soup, taken))
            title = articles[-1].find("h1")
            rows += f'<li><a href="#{slug(page)}">{title.get_text() if title else page}</a></li>'
        listed += f"<p>{caption}</p><ul>{rows}</ul>" if caption else ""
    title = articles[0].find("h1")
    contents = BeautifulSoup(
        f'<article class="bd-article contents"><h1>Contents</h1>{listed}</article>', "html.parser"
    )
    joined = "\n".join(map(str, [articles[0], contents, *articles[1:]]))
    return PAGE.format(title=title.get_text() if title else "", head="\n".join(head), pages=joined)


def print_page(page: Path, target: Path) -> None:
    """Print a page of this machine to a PDF with an outline."""
    program = find_chromium()
    if program is None:
        raise FileNotFoundError(MISSING)
    from playwright.sync_api import sync_playwright  # not needed to put the page together

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        opened = browser.new_page(color_scheme="light")
        opened.set_default_timeout(300_000)  # hundreds of pages
        opened.goto(page.as_uri())
        opened.evaluate("window.MathJax?.startup?.promise")
        opened.emulate_media(media="print")
        opened.pdf(
            path=target,
            format="A4",
            margin={"top": "18mm", "bottom": "18mm", "left": "18mm", "right": "18mm"},
            print_background=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOTER,
            outline=True,
            tagged=True,
        )
        browser.close()


def headings(html: str) -> list[str]:
    """Return the texts of a page's headings, in their order."""
    found = BeautifulSoup(html, "html.parser").select("h1, h2, h3, h4, h5, h6")
    return [" ".join(one.get_text().split()) for one in found]


def items(outline: DictionaryObject) -> Iterator[DictionaryObject]:
    """Yield the lines of an outline from top to bottom."""
    below = outline.get("/First")
    while below is not None:
        line = below.get_object()
        yield line
        yield from items(line)
        below = line.get("/Next")


def mend_outline(path: Path, titles: list[str]) -> None:
    """Write the titles of an outline: the browser doubles some, and drops spaces in others."""
    writer = PdfWriter(clone_from=path)
    outline = writer.root_object["/Outlines"].get_object()
    assert isinstance(outline, DictionaryObject)
    lines = list(items(outline))
    if len(lines) != len(titles):
        raise ValueError(f"{path.name}: {len(titles)} headings, {len(lines)} lines of the outline")
    for line, title in zip(lines, titles, strict=True):
        line[NameObject("/Title")] = TextStringObject(title)
    writer.write(path)


def main() -> int:
    """Print the book; the PDF that is there stays until the new one is whole."""
    if not (HTML / "index.html").exists():
        print("There is no book to print: run make book first.")
        return 1
    page = HTML / WHOLE
    html = whole(HTML, list(contents()))
    page.write_text(html, encoding="utf-8")
    draft = PDF.with_suffix(".draft.pdf")
    try:
        print_page(page, draft)
    except FileNotFoundError as error:
        print(error)
        return 1
    finally:
        page.unlink()
    mend_outline(draft, headings(html))
    draft.replace(PDF)
    print(f"The book is printed: open {PDF}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
