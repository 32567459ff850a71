"""The call tracer: how a tree is printed, stored and drawn as a page."""

import json
import re
from html.parser import HTMLParser

from torch import nn

from clipnotes.trace import Trace, trace
from clipnotes.trace.text import tree_text
from tracing import Catches, stack, x

# ruff: noqa: RUF001 (× is what the tracer prints)


def test_one_module_called_in_a_row_is_folded():
    model = nn.Linear(4, 4)
    assert "─0 ×3  Linear" in str(trace(nn.Sequential(model, model, model).eval(), x()))


def test_no_line_is_longer_than_the_page(calls):
    deep = nn.Identity()
    for _ in range(60):
        deep = nn.Sequential(deep, nn.Linear(4, 4))
    for call in (calls, trace(deep.eval(), x()), trace(stack(), x(), "a" * 300)):
        assert max(map(len, str(call).splitlines())) <= 100
        assert max(map(len, tree_text(call.to_dict(), width=80).splitlines())) <= 80


def test_a_part_of_the_tree_prints_by_itself(calls):
    printed = str(calls.find("CLIPTextEmbeddings"))
    assert printed.splitlines()[0].split()[1] == "CLIPTextEmbeddings"
    assert "CLIPEncoder" not in printed


def test_the_repr_is_short(calls):
    assert repr(trace(stack(2), x())) == "<Trace: Stack, 4 calls below it>"
    assert repr(trace(stack(2), x()).calls[1]) == "<Call of layers.1: Block, 1 calls below it>"


def test_the_dict_goes_through_json(calls):
    stored = json.loads(json.dumps(calls.to_dict(), allow_nan=False))
    assert stored == calls.to_dict()
    again = Trace.from_dict(stored)
    assert again == calls
    assert str(again) == str(calls)
    assert again.to_html() == calls.to_html()
    noted = trace(stack().train(), x())
    assert Trace.from_dict(noted.to_dict()) == noted
    caught = trace(Catches().eval(), x())
    assert Trace.from_dict(caught.to_dict()) == caught


class Page(HTMLParser):
    VOID = ("meta",)

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_folds_and_asks_for_nothing(calls):
    html = calls.to_html()
    page = Page(html)
    assert page.open == []
    assert page.tags.count("details") == page.tags.count("summary") > 5
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not {"src", "href", "onclick"} & {name for name, _ in page.attributes}
    assert not re.search(r"https?:|url\(|@import", html)
    assert ("content", "light dark") in page.attributes
    assert not re.search(r"#[0-9a-f]{3,6}\b(?=[;\s}])|rgb\(", html[: html.index("</style>")])
    assert "inputs_embeds" in html and "… 1 ×2" in html


def test_the_head_says_what_a_browser_has_to_know(calls):
    head, _ = calls.to_html().split("<body>")
    assert head.startswith("<!doctype html>")  # else browsers draw as they did long ago
    assert re.sub("<.*?>", "", head) == "Calls of CLIPModel"
    known = {("lang", "en"), ("charset", "utf-8"), ("name", "viewport")}
    assert known <= set(Page(head).attributes)


def test_a_notebook_gets_a_piece_of_a_page(calls):
    for call in (calls, calls.find("CLIPTextEmbeddings")):
        html = call._repr_html_()
        assert Page(html).open == []
        assert html.startswith("<div") and html in call.to_html()


def test_names_and_texts_are_escaped():
    class Odd(nn.Module):
        def forward(self, text):
            return text

    Odd.__name__ = "Odd<b>"
    html = trace(Odd(), "<script>alert(1)</script>").to_html()
    assert "<script" not in html and "Odd<b>" not in html
    Page(html)
