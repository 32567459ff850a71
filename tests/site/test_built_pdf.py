"""The built book as the one page that is printed. Runs after `make book`."""

from bs4 import BeautifulSoup

import built
from _tools import pdf
from repository import pages_in_toc


def test_the_whole_page_holds_every_page_and_its_links_lead_somewhere(site):
    parts = list(pdf.contents())
    assert {page for _, pages in parts for page in pages} == pages_in_toc()
    soup = BeautifulSoup(pdf.whole(built.FOLDER, parts), "html.parser")
    names = [one["id"] for one in soup.select("[id]")]
    inside = {one["href"][1:] for one in soup.select("a[href^='#']")}
    assert len(set(names)) == len(names)
    assert inside <= set(names)
    assert {pdf.slug(page) for page in pages_in_toc()} <= set(names)
    sources = {one["src"] for one in soup.select("img") if not one["src"].startswith("data:")}
    assert [one for one in sources if not (built.FOLDER / one).is_file()] == []
