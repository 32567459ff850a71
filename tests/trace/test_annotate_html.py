"""Annotated source as HTML: what it says, what it marks, and that nobody's text becomes markup."""

import json
import re
from html.parser import HTMLParser

import pytest

from annotated_page import notes
from clipnotes.trace.annotation import annotate
from clipnotes.trace.margin import blocks
from clipnotes.trace.notes_code import Span, lines_html
from clipnotes.trace.notes_html import notes_fragment, notes_page
from clipnotes.trace.notes_rows import shared_marks
from tracing import clip_inputs

# ruff: noqa: RUF001 (× is what stands there)

VOID = ("meta", "input", "wbr")


class Page(HTMLParser):
    """Every element with its attributes and its text, and that all of them are closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        element = {"tag": tag, "text": "", **dict(attributes)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, text):
        for element in self.open:
            element["text"] += text

    def of(self, name):
        """The elements of a class, or with a tag."""
        return [e for e in self.elements if name in (e["tag"], *(e.get("class") or "").split())]


@pytest.fixture(scope="module")
def small():
    return notes()


@pytest.fixture(scope="module")
def page(small):
    return Page(notes_page(small))


def test_the_code_is_the_source_to_the_letter(small, page):
    lines = [element["text"] for element in page.of("cn-line")]
    folded = '    """Say what it does. …"""'  # its first line stands for it while it is folded
    assert folded in lines
    lines[lines.index(folded)] = '    """Say what it does.'
    layer = small["inside"][0]["lines"]
    at = small["inside"][0]["statement"] + 1
    whole = [*small["lines"][:at], *layer, *small["lines"][at:]]
    at = whole.index("    hidden = self.norm(") + 4
    assert lines == [*whole[:at], *layer, *whole[at:]]


def test_the_margin_says_what_the_text_form_says(small, page):
    shown = [note["text"] for note in page.of("cn-note") if note["text"]]
    _, *below = [note for _, note in blocks(small) if note]
    layer = [note for _, note in blocks(small["inside"][0]) if note]
    last = [note for _, note in blocks(small["inside"][1]) if note]
    at = below.index("(B, 3)") + 1
    end = len(below) - 1
    # Of a head on several lines, each argument has its value beside it.
    head = ["(B, 3) float32", "'<b>&amp;'"]
    assert shown == [*head, *below[:at], *layer, *below[at:end], *last, *below[end:]]


def test_nobodys_text_becomes_markup(page):
    tags = {element["tag"] for element in page.elements}
    assert not {"more", "paragraph"} & tags
    assert page.of("b")[0]["text"] == "Layer.forward", "no bold text but titles"
    assert "\x01" not in page.of("main")[0]["text"]


def test_what_was_called_stands_below_its_statement(small, page):
    line = small["inside"][0]["line"]
    title, other = [element["text"].split(" ", 1) for element in page.of("summary")[1:]]
    assert title == ["Layer.forward", f"layers.0 … 1 ×2 · line\xa0{line}"]
    assert other == ["Layer.forward", f"norm · line\xa0{line}"]
    calls = {e["data-o"]: e["text"] for e in page.of("cn-call")}
    assert calls == {"0": "layer", "1": "self.norm"}
    assert [element["data-o"] for element in page.of("cn-in")] == ["0", "1"]


def test_a_call_that_nobody_can_place_is_named_behind_its_row(small):
    inside = [{**small["inside"][0], "callee": None}, small["inside"][1]]
    page = Page(notes_page({**small, "inside": inside}))
    assert [e["text"] for e in page.of("cn-call")] == ["Layer.forward", "self.norm"]
    assert [e["text"] for e in page.of("cn-at-end")] == ["Layer.forward"]
    assert len(page.of("cn-in")) == 2


def test_of_calls_in_each_other_the_inner_one_stands_in_the_code(small):
    line = small["lines"].index("    hidden = self.norm(")
    outer = {**small["inside"][1], "callee": [line, 13, line + 3, 5]}
    inner = {**small["inside"][1], "title": "Inner.forward"}
    again = {**small["inside"][1], "title": "Again.forward"}
    page = Page(notes_page({**small, "inside": [outer, inner, again]}))
    assert [e["text"] for e in page.of("cn-call")] == ["self.norm", "Layer.forward"]
    numbers = [e["data-o"] for e in page.of("cn-in")]
    assert numbers == ["0", "1", "1"], "one place that calls twice opens both"


def test_remarks_are_paragraphs(page):
    assert [e["text"] for e in page.of("cn-remark")] == [
        "A Layer takes what the last one gave.Second <paragraph>.",
        "It ends here.",
    ]
    assert [e["text"] for e in page.of("p") if "Layer" in e["text"]] == [
        "A Layer takes what the last one gave."
    ]


def test_what_did_not_run_is_dimmed_and_a_text_is_not(page):
    assert [e["text"] for e in page.of("cn-off")] == [
        '        raise ValueError(f"<b>{words}</b> & never")did not run'
    ]


def test_names_carry_the_mark_of_what_they_were(small, page):
    """The result is a new tensor, though it has the argument's name."""
    first = small["arguments"]["hidden"]["mark"]
    by_name = [(e["text"], int(e["data-m"])) for e in page.of("span") if "data-m" in e]
    names = [(text, mark) for text, mark in by_name if text.isidentifier()]
    assert [text for text, mark in names if mark == first] == [
        *("hidden", "hidden", "x", "residual", "x", "x", "residual"),
    ]
    after = small["statements"][2]["made"]["hidden"]["mark"]
    assert ("hidden", after) in names and after != first
    kept = next(s for s in small["statements"] if "kept" in s.get("made", {}))
    # Behind an é, whose two bytes Python counts; and not what a comprehension calls so.
    assert names.count(("kept", kept["made"]["kept"]["mark"])) == 3
    assert "total" not in dict(names)
    assert {mark for _, mark in by_name} <= shared_marks(small)


def test_a_mark_that_is_seen_once_lights_nothing():
    value = {"type": "Tensor", "shape": [2], "dtype": "float32", "mark": 3}
    hidden = {"type": "Tensor", "shape": [2], "dtype": "float32", "mark": 4}
    inner = {"type": "Inner", "fields": {"a": hidden}}
    made = {"x": value, "out": {"type": "Output", "fields": {"of": inner}}}
    base = {"arguments": {"h": hidden}, "statements": [{"made": made}]}
    assert shared_marks(base) == set(), "an output in another one is not spelled out"
    base["statements"].append({"marks": {"x": 3, "y": None}})
    assert shared_marks(base) == {3}
    base["inside"] = [{"arguments": {"h": hidden}, "statements": []}]
    assert shared_marks(base) == {3, 4}


def test_only_marks_that_are_seen_again_stand_in_the_page(small):
    once = json.loads(json.dumps(small))
    once["statements"][-1]["returned"]["fields"]["0"]["mark"] = 99
    once["arguments"]["hidden"]["mark"] = None
    marks = {e["data-m"] for e in Page(notes_page(once)).elements if "data-m" in e}
    assert marks == {str(mark) for mark in shared_marks(once)} and "99" not in marks


def test_letters_stand_where_they_are_new(small):
    inside = [small["inside"][0], {**small["inside"][1], "letters": {"B": 2, "T": 3}}]
    page = Page(notes_page({**small, "inside": inside}))
    assert [e["text"] for e in page.of("cn-about")] == ["B = 2", "B = 2, T = 3"]


def test_notes_without_what_came_later_are_shown_too(small):
    """Notes that were stored before calls, remarks and marks were written down."""
    old = json.loads(json.dumps(small))
    for name in ("inside", "remark", "times", "last_path", "path"):
        del old[name]
    for statement in old["statements"]:
        statement.pop("marks", None)
        statement.pop("remark", None)
    for html in (notes_page(old), notes_fragment(old)):
        page = Page(html)
        assert page.of("cn-remark") == page.of("cn-in") == []
        assert "Open all" not in page.of("div")[0]["text"]
        assert len(page.of("cn-line")) == len(old["lines"])


def test_a_long_function_is_folded_in_a_page_of_somebody_else(small):
    assert Page(notes_fragment(small)).of("cn-fold") == []
    padded = {**small, "lines": [*small["lines"], *["    # more"] * 20]}
    (fold,) = Page(notes_fragment(padded)).of("cn-fold")
    seen = len(padded["lines"]) - int(re.match(r"\s*(\d+) more lines", fold["text"])[1])
    docstring = small["statements"][0]
    assert 20 <= seen - docstring["last"] + docstring["first"] <= 22 and "open" not in fold
    assert padded["lines"][0].strip() not in fold["text"], "the first lines are seen at once"
    assert Page(notes_page(padded)).of("cn-fold") == []
    # A docstring is one line as long as nobody opens it.
    text = small["statements"][0]
    assert text["text"] and text["last"] > text["first"]
    long_text = {**text, "last": text["last"] + 20}
    moved = [
        {**s, "first": s["first"] + 20, "last": s["last"] + 20} for s in small["statements"][1:]
    ]
    at = text["last"]
    lines = [*small["lines"][:at], *["    more"] * 20, *small["lines"][at:]]
    longer = {**small, "lines": lines, "statements": [long_text, *moved], "inside": []}
    assert Page(notes_fragment(longer)).of("cn-fold") == []


def test_the_page_asks_for_nothing(small, tiny):
    deep = annotate(tiny, **clip_inputs(tiny), deep=True)
    for html in (notes_page(small), deep.to_html(), deep._repr_html_()):
        page = Page(html)
        assert not {"link", "img", "iframe", "object", "base"} & {e["tag"] for e in page.elements}
        assert not {"src", "href", "onclick", "id"} & {n for e in page.elements for n in e}
        style, script = page.of("style")[0]["text"], page.of("script")[0]["text"]
        assert not re.search(r"url\(|@import|https?:", style)
        assert not re.search(r"\bfetch|XMLHttp|https?:|import\(|eval\(", script)
    html = deep.to_html()
    assert len(html.encode()) < 2_000_000
    head = Page(html.split("<body>")[0] + "</html>").elements
    assert html.startswith("<!doctype html>")
    assert {"en", "utf-8", "viewport", "Content-Security-Policy"} <= {
        value for element in head for value in element.values()
    }


def test_a_function_that_this_python_cannot_read_is_shown_without_names(small):
    """Notes of a newer Python: there is the source, and its colours."""
    lines = [*small["lines"][:-1], "    return hidden, parts !"]
    page = Page(notes_page({**small, "lines": lines}))
    assert page.of("cn-line")[-1]["text"] == lines[-1]
    outer = [e["text"] for e in page.of("span") if "data-m" in e and e["text"] == "kept"]
    assert outer == [] and page.of("k")
    # Nobody knows on which line an argument stands: all of them are beside the first.
    assert "hidden (B, 3) float32, words '<b>&amp;'" in [e["text"] for e in page.of("cn-note")]


def test_elements_cut_through_tokens():
    assert lines_html(["a <b and c"], [])[0] == 'a &lt;b <i class="k">and</i> c'
    lines = ["a = 'b<c'  # ü"]
    spans = [Span(0, 0, 1, "x"), Span(0, 5, 8, "y"), Span(0, 6, 7, "overlaps"), Span(0, 8, 14, "z")]
    (html,) = lines_html(lines, spans)
    assert html == (
        '<span x>a</span> = <i class="s">&#x27;</i><span y><i class="s">b&lt;c</i></span>'
        '<span z><i class="s">&#x27;</i>  <i class="c"># ü</i></span>'
    )
