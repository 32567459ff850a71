"""The drawing of CLIP in built pages, as a browser shows them: a book of stubs, one a chapter."""

import json
import os
import subprocess
import sys

import pytest
from bs4 import BeautifulSoup

import built
from _ext import clip_drawing
from _tools import clip_map, pdf
from browser import visit
from readable import unreadable
from repository import ROOT

NUMBERS = sorted({number for box in clip_map.BOXES for number in box.chapters})
SETTINGS = f"""\
extensions = ["_ext.clip_map"]
root_doc = "book/index"
html_title = "Stubs"
html_theme = "sphinx_book_theme"
html_static_path = [{str(ROOT / "book" / "_static")!r}]
html_css_files = ["clipnotes.css"]
html_favicon = {str(ROOT / "book" / "_static" / "favicon.svg")!r}
html_context = {{"default_mode": "auto"}}
"""
#: 690 is just as narrow as the wide drawing allows, 640 a little too narrow for it.
WIDTHS = pytest.mark.parametrize("width", [1280, 690, 640, 390])


def build(source, numbers):
    """Build a first page and a page for each of these chapters, in a process of its own.

    In this one, what the extension registers would stay.
    """
    (source / "book" / "chapters").mkdir(parents=True)
    pages = {n: f"chapters/{n:02}-stub" for n in numbers}
    first = ".. clip-map::\n\n.. toctree::\n\n   " + "\n   ".join(pages.values())
    (source / "book" / "index.rst").write_text(f"Start\n=====\n\n{first}\n")
    for n, page in pages.items():
        (source / "book" / f"{page}.rst").write_text(f"Title {n}\n========\n\nThe question.\n")
    (source / "conf.py").write_text(SETTINGS)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", source, source / "html"]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "book")}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    source = tmp_path_factory.mktemp("stubs")
    done = build(source, NUMBERS)
    assert done.returncode == 0, done.stderr
    return source / "html"


@pytest.fixture(scope="module")
def address(folder):
    with built.served(folder) as found:
        yield f"{found}/book"


def soup_of(folder, page):
    html = (folder / "book" / f"{page}.html").read_text(encoding="utf-8")
    return BeautifulSoup(html, "html.parser")


def test_sphinx_makes_the_links(folder):
    for drawing in soup_of(folder, "index").select(".clip-map svg"):
        for box, link in zip(clip_map.BOXES, sorted_like(drawing), strict=True):
            chapter = box.chapters[0]
            assert link["href"] == f"chapters/{chapter:02}-stub.html"
            assert link.title.get_text().endswith(f": chapter {chapter}, Title {chapter}")
            assert (folder / "book" / link["href"]).is_file()


def sorted_like(drawing):
    """The links of a drawing in the order of the table: the frames come first in both."""
    return drawing.select("a.frame") + drawing.select("a.box")


def test_a_chapter_shows_where_it_is_between_its_title_and_its_question(folder):
    article = soup_of(folder, "chapters/03-stub").select_one("article section")
    title, drawing, question = article.find_all(recursive=False)[:3]
    assert title.name == "h1"
    assert clip_drawing.you_are_here(3) in drawing.svg["aria-label"]
    assert question.get_text() == "The question."


def test_the_search_does_not_find_the_words_of_the_drawing(folder):
    index = (folder / "searchindex.js").read_text(encoding="utf-8")
    words = json.loads(index.removeprefix("Search.setIndex(").removesuffix(")"))["terms"]
    assert "question" in words
    assert not {"pixel", "cosin", "attent"} & set(words)


def test_a_chapter_that_is_missing_stops_the_build(tmp_path):
    done = build(tmp_path, NUMBERS[:-1])
    assert done.returncode != 0
    assert f"lead to chapters that are not there: [{NUMBERS[-1]}]" in done.stderr


def test_a_chapter_without_a_box_stops_the_build(tmp_path):
    done = build(tmp_path, [*NUMBERS, 99])
    assert done.returncode != 0
    assert "99-stub has no box on the map of CLIP" in done.stderr


# In a browser

# Of each drawing that is seen: its height, the height of its letters, and how far each text is from
# the edges of its box.
MEASURED = """() => [...document.querySelectorAll(".clip-map svg")]
  .filter((one) => one.checkVisibility())
  .map((drawing) => {
    const scale = drawing.getScreenCTM().a;
    const room = [...drawing.querySelectorAll(":is(.box, .frame)")].flatMap((box) => {
      const outer = box.querySelector("rect").getBBox();
      const name = box.querySelector("text")?.textContent;
      if (name === "CLIPModel") return [];  // it stands on its frame
      return [...box.querySelectorAll("text")].map((text) => {
        const inner = text.getBBox();
        const sides = [inner.x - outer.x, outer.x + outer.width - inner.x - inner.width,
          inner.y - outer.y, outer.y + outer.height - inner.y - inner.height];
        return [text.textContent, Math.min(...sides)];
      });
    });
    const letters = parseFloat(getComputedStyle(drawing).fontSize) * scale;
    return {height: drawing.getBoundingClientRect().height, letters, room};
  })"""
# The contrast of each text in a box with the box's colour, which may let the page shine through.
CONTRASTS = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (colour) => colour.map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const page = parse(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll(".clip-map .wide .box text")].map((text) => {
    const rect = getComputedStyle(text.parentNode.querySelector("rect"));
    const alpha = parseFloat(rect.fillOpacity);
    const behind = parse(rect.fill).map((c, i) => alpha * c + (1 - alpha) * page[i]);
    const [low, high] = [light(parse(getComputedStyle(text).fill)), light(behind)].sort();
    return [text.textContent, (high + 0.05) / (low + 0.05)];
  });
}"""


@WIDTHS
@pytest.mark.parametrize("page", ["index", "chapters/07-stub"])
def test_letters_can_be_read_and_stay_in_their_boxes(browser, address, page, width):
    size = {"width": width, "height": 844}
    with visit(browser, f"{address}/{page}.html", viewport=size) as opened:
        assert opened.evaluate("document.documentElement.scrollWidth") == width
        if page != "index":
            seen = opened.evaluate(MEASURED)
            folded = opened.locator(".clip-map").bounding_box()["height"]
            assert folded <= (140 if width > 650 else 40)
            assert len(seen) == (1 if width > 650 else 0)
            opened.locator(".clip-map details").evaluate("(one) => { one.open = true; }")
        (drawing,) = opened.evaluate(MEASURED)
        assert drawing["letters"] > 10.95
        assert len(drawing["room"]) >= len(clip_map.BOXES) - 1
        assert [said for said, room in drawing["room"] if room < 0.5] == []


def test_colours_can_be_told_apart_in_light_and_dark(browser, address):
    for number in (3, 9, 11):
        with visit(browser, f"{address}/chapters/{number:02}-stub.html") as opened:
            for scheme in ("light", "dark"):
                opened.emulate_media(color_scheme=scheme)
                opened.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
                found = opened.evaluate(CONTRASTS)
                assert len(found) > 20
                assert [one for one in found if one[1] < 4.5] == [], scheme


@WIDTHS
def test_nothing_keeps_people_from_reading_it(browser, address, width):
    size = {"width": width, "height": 844}
    for page in ("index", "chapters/07-stub"):
        with visit(browser, f"{address}/{page}.html", viewport=size) as opened:
            said = unreadable(opened)
            own = [one for one in said if not one.startswith("region: ")]  # a stub has no logo
            assert own == [], page


def test_keys_reach_a_box_and_open_its_chapter(browser, address):
    with visit(browser, f"{address}/index.html") as opened:
        thin = "(one) => parseFloat(getComputedStyle(one.querySelector('rect')).strokeWidth)"
        link = opened.get_by_role("link", name="attention tokens mix")
        before = link.evaluate(thin)
        opened.get_by_role("link", name="tokens + class").focus()
        for _ in clip_map.BOXES:
            if link.evaluate("(one) => one === document.activeElement"):
                break
            opened.keyboard.press("Tab")
        assert link.evaluate(thin) > before, "one sees where the focus is"
        opened.keyboard.press("Enter")
        opened.wait_for_url("**/chapters/03-stub.html")


def test_on_paper_it_is_the_wide_one_and_its_links_lead_into_the_book(browser, folder):
    pages = ["book/index", *(f"book/chapters/{n:02}-stub" for n in NUMBERS)]
    (folder / "whole.html").write_text(pdf.whole(folder, [("", pages)]), encoding="utf-8")
    (folder / "favicon.ico").touch()  # a browser asks for it, where a page names none
    with (
        built.served(folder) as address,
        visit(browser, f"{address}/whole.html", viewport={"width": 658, "height": 1000}) as opened,
    ):
        opened.emulate_media(media="print")
        seen = opened.evaluate(MEASURED)
        assert len(seen) == 1 + len(NUMBERS)
        assert all(one["letters"] > 10.95 for one in seen)
        first = opened.locator(".clip-map .wide a").first.get_attribute("href")
        assert first == "#book-chapters-01-stub"
