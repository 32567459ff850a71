"""What the cells tagged `real` print on the real CLIP: record, tab, and the line without one."""

import json
import shutil
from importlib.metadata import version

import pytest
from docutils import nodes
from docutils.frontend import get_default_settings
from docutils.utils import new_document
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from sphinx.addnodes import pending_xref
from sphinx_design.shared import is_component

from _ext import real_tabs
from _tools import chapters, failed, other_model
from _tools.real import record, tabs
from _tools.versions import tabs as by_version
from repository import ROOT

TAGGED = {
    source: cells
    for source in chapters.notebooks()
    if (cells := by_version.tagged(chapters.read(source), tabs.TAG))
}
PAGE = """\
---
kernelspec: {name: python3}
---

# A page

```{code-cell} ipython3
:tags: [remove-cell, skip-execution]

raise SystemExit("the address of a repository")
```

```{code-cell} ipython3
import clipnotes

clip = clipnotes.load()
```

Some words.

```{code-cell} ipython3
:tags: [real]

print(clip.model.config.vision_config.image_size, "pixels")
print(clip.tokenizer("a tulip")["input_ids"][-1], "ends a text")
```
"""
ON_THE_STAND_IN = "224 pixels\n49407 ends a text\n"


def cell(*outputs, source="print(1)", tags=(tabs.TAG,)):
    return new_code_cell(source, metadata={"tags": list(tags)}, outputs=list(outputs))


def printed(text, name="stdout"):
    return new_output("stream", name=name, text=text)


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of one page with a tagged cell and one without, and no record."""
    monkeypatch.setattr(tabs, "RECORD", tmp_path / "recorded" / "real.json")
    monkeypatch.setattr(failed, "FAILED", tmp_path / "failed")
    for module in (record, other_model):
        monkeypatch.setattr(module, "BUILD", tmp_path / "build")
    monkeypatch.setenv("CLIPNOTES_MODEL", "")  # and what a test sets is taken back
    pages = [tmp_path / "chapters" / name for name in ("01-a.md", "02-b.md")]
    pages[0].parent.mkdir()
    pages[0].write_text(PAGE)
    pages[1].write_text(PAGE.replace(":tags: [real]", ""))
    for module in (record, tabs):
        monkeypatch.setattr(module, "notebooks", lambda: pages)
    return pages[0]


def recorded(page, outputs, model=tabs.REAL):
    """Write a record of a page's tagged cells."""
    cells = [{**cell, "outputs": outputs} for cell in tabs.code(chapters.read(page))]
    made = {"model": model, "date": "2026-12-07", "transformers": "5.24.0"}
    record.write({**made, "pages": {page.stem: cells}}, tabs.RECORD)


# The tag


def test_there_are_tagged_cells_and_a_record_can_hold_what_they_give():
    assert TAGGED
    for source, cells in TAGGED.items():
        for tagged in cells:
            tags = set(chapters.tags(tagged))
            assert not chapters.alt_text(tagged), f"{source.stem} draws: {tagged.source}"
            # The versions' tabs stand where ours would; what is hidden has nothing beside it.
            assert not tags & {by_version.TAG, "remove-cell", "remove-output", "skip-execution"}


# The record


def test_a_record_holds_the_code_and_what_it_printed():
    shown = new_output("execute_result", data={"text/plain": "2"}, execution_count=1)
    cells = [cell(printed("0\n"), tags=()), cell(printed("1"), printed("\n"), shown)]
    (seen,) = tabs.seen(new_notebook(cells=cells))
    assert seen["source"] == "print(1)" and len(seen["above"]) == 16
    assert seen["outputs"] == [["stream", "1\n"], ["text/plain", "2"]]


@pytest.mark.parametrize(
    "output",
    [
        printed("careful", name="stderr"),
        new_output("display_data", data={"image/png": "iVBO", "text/plain": "<Figure>"}),
        new_output("display_data", data={by_version.MIME: "{}", "text/html": "<b>a call</b>"}),
    ],
    ids=["stderr", "figure", "annotated"],
)
def test_what_is_no_text_is_not_recorded(output):
    with pytest.raises(ValueError, match=r"a cell tagged real gives .*; it can print"):
        tabs.seen(new_notebook(cells=[cell(output)]))


def test_a_cell_is_another_one_when_code_above_it_changes_and_only_then():
    install = cell(source="%pip install here", tags=("skip-execution",))
    above, below = cell(source="x = 1", tags=()), cell(source="y = 1", tags=())
    text, asked = new_markdown_cell("Words."), cell(source="print(x)")
    before = tabs.code(new_notebook(cells=[install, text, above, asked, below]))
    install.source, text.source, below.source = "%pip install there", "Other words.", "y = 2"
    assert tabs.code(new_notebook(cells=[install, text, above, asked, below])) == before
    above.source = "x = 2"
    assert tabs.code(new_notebook(cells=[install, text, above, asked, below])) != before


def test_a_stand_in_of_vit_b_32_s_size_is_recorded_and_shown(book, monkeypatch):
    """From the program to the tabs; only the model's name is the hub's."""
    monkeypatch.setattr(other_model, "fetch", lambda name, draft: other_model.make(draft))
    try:
        assert record.main([tabs.REAL]) == 0
    finally:
        shutil.rmtree(other_model.BUILD)
    assert [path.name for path in tabs.RECORD.parent.iterdir()] == ["real.json"]  # no draft
    made = json.loads(tabs.RECORD.read_text())
    assert made["model"] == "openai/clip-vit-base-patch32"
    assert made["transformers"] == version("transformers")
    ((stem, (kept,)),) = made["pages"].items()
    assert stem == "01-a" and kept["source"].startswith("print(clip.model")
    assert kept["outputs"] == [["stream", ON_THE_STAND_IN]]

    monkeypatch.delenv("CLIPNOTES_MODEL")
    document, transform = page(book)
    transform.apply()
    ours, theirs = [n for n in document.findall() if is_component(n, "tab-item")]
    assert "64 pixels" in ours.astext() and "224 pixels" not in ours.astext()
    assert ON_THE_STAND_IN.strip() in theirs.astext()


def test_only_the_real_one_s_record_goes_into_the_book(book, tmp_path, monkeypatch):
    asked = []

    def run(notebooks):
        asked.append(sorted(notebooks))
        for notebook in notebooks.values():
            for tagged in by_version.tagged(notebook, tabs.TAG):
                tagged.outputs = [printed("new\n")]
        return 0, notebooks

    monkeypatch.setattr(record, "run", run)
    monkeypatch.setattr(other_model, "make", lambda draft: None)
    assert record.main([]) == 0
    assert record.main([str(tmp_path)]) == 0
    assert asked == [["01-a"], ["01-a"]]  # the page without a tagged cell does not run
    assert not tabs.RECORD.parent.exists()
    tried = sorted(path.name for path in (record.BUILD / "real").iterdir())
    assert tried == sorted(["vit-b-32.json", f"{tmp_path.name}.json"])
    assert record.destination(tabs.REAL) == tabs.RECORD
    # A folder of that name may hold anything.
    monkeypatch.chdir(tmp_path)
    (tmp_path / tabs.REAL).mkdir(parents=True)
    assert record.destination(tabs.REAL) != tabs.RECORD


def test_the_chapters_get_the_model_and_a_failure_leaves_the_record(book, tmp_path, monkeypatch):
    recorded(book, [["stream", "old"]])
    before, seen = tabs.RECORD.read_bytes(), []
    monkeypatch.setattr(
        record, "run", lambda books: (seen.append(record.os.environ["CLIPNOTES_MODEL"]) or 1, {})
    )
    monkeypatch.setattr(other_model, "directory", lambda name: tmp_path / name)
    monkeypatch.setenv("CLIPNOTES_MODEL", tabs.REAL)
    assert record.main([]) == 1
    assert seen == [str(tmp_path / tabs.REAL)]
    assert tabs.RECORD.read_bytes() == before


def test_a_record_of_a_different_model_is_refused(book):
    recorded(book, [["stream", "1"]], model="vit-b-32")
    with pytest.raises(ValueError, match="is of vit-b-32; the book shows openai/clip-vit-base"):
        tabs.recorded()


@pytest.mark.parametrize("change", [("pixels", "dots"), ("load()", "load(None)")])
def test_a_record_of_changed_code_is_not_shown_and_the_build_says_so(book, change):
    assert tabs.changed() == []
    recorded(book, [["stream", "224 pixels"]])
    assert tabs.changed() == [] and tabs.counted() == {"chapters/01-a.md": (1, 1)}
    assert tabs.beside("01-a", chapters.read(book)) == [[["stream", "224 pixels"]]]
    book.write_text(PAGE.replace("Some words.", "Other words."))
    assert tabs.changed() == []
    book.write_text(PAGE.replace(*change))
    assert tabs.beside("01-a", chapters.read(book)) == [None]
    assert tabs.counted() == {"chapters/01-a.md": (0, 1)}
    (said,) = tabs.changed()
    assert said.startswith(f"01-a: 1 of 1 cells recorded on {tabs.REAL} are not shown")
    book.rename(book.with_name("01-c.md"))
    tabs.notebooks().pop(0)
    assert tabs.changed() == [said]


# The page


def page(source, *extra):
    """A document with the tagged cell of a page as MyST-NB makes it, and the transform on it."""
    document = new_document("a.md", get_default_settings())
    container = nodes.container(nb_element="cell_code", classes=["cell", f"tag_{tabs.TAG}"])
    output = nodes.container(nb_element="cell_code_output")
    output += [nodes.literal_block("64 pixels", "64 pixels"), *extra]
    container += [nodes.container(nb_element="cell_code_source"), output]
    document += container
    names = {"docname": f"book/chapters/{source.stem}", "doc2path": lambda self, name: str(source)}
    document.settings.env = type("Environment", (), names)()
    return document, real_tabs.RealTabs(document)


@pytest.fixture
def built(book, monkeypatch):
    """The page with the book's own model."""
    monkeypatch.delenv("CLIPNOTES_MODEL")
    return book


def test_what_was_recorded_stands_in_a_tab_beside_emoji_clip_s(built):
    recorded(built, [["stream", "224 pixels"]])
    document, transform = page(built)
    transform.apply()
    items = [n for n in document.findall() if is_component(n, "tab-item")]
    assert len(document.children[0].children[1].children) == 1  # nothing beside the tabs
    assert [item.children[0].astext() for item in items] == ["Emoji-CLIP", "the real CLIP"]
    assert [item["selected"] for item in items] == [True, False]
    assert {item.children[0]["sync_group"] for item in items} == {"clip"}
    ours, theirs = (item.children[1].children for item in items)
    assert [node.astext() for node in ours] == ["64 pixels"]
    assert [node.astext() for node in theirs] == [
        "224 pixels",
        "openai/clip-vit-base-patch32, recorded on 2026-12-07, transformers 5.24.0.",
    ]
    assert "Not yet" not in document.astext()


@pytest.mark.parametrize("stale", [False, True], ids=["none", "of other code"])
def test_without_a_record_the_output_stays_and_a_line_says_so(built, stale):
    if stale:
        recorded(built, [["stream", "224 pixels"]])
        built.write_text(PAGE.replace('"pixels"', '"px"'))
    document, transform = page(built)
    transform.apply()
    assert not [n for n in document.findall() if is_component(n, "tab-item")]
    output = document.children[0].children[1]
    assert [type(node) for node in output.children] == [nodes.literal_block, nodes.paragraph]
    words = "Not yet recorded on the real CLIP. How it is done."
    assert [node.astext() for node in output.children] == ["64 pixels", words]
    (link,) = document.findall(pending_xref)
    assert (link["reftype"], link["reftarget"]) == ("ref", real_tabs.HOW)
    status = (ROOT / "book" / "reference" / "status.md").read_text(encoding="utf-8")
    assert f"\n({real_tabs.HOW})=\n## " in status and "```{real-record}" in status


def test_what_is_not_emoji_clip_s_is_left_alone(built, monkeypatch):
    recorded(built, [["stream", "224 pixels"]])
    before = page(built)[0].pformat()
    monkeypatch.setattr(real_tabs, "failure", lambda stem: "it failed")
    document, transform = page(built)
    transform.apply()
    assert document.pformat() == before
    monkeypatch.setattr(real_tabs, "failure", lambda stem: None)
    monkeypatch.setenv("CLIPNOTES_MODEL", "another")
    document, transform = page(built)
    transform.apply()
    assert document.pformat() == before


def test_a_tagged_cell_that_draws_stops_the_build(built):
    with pytest.raises(ValueError, match="01-a: a cell tagged real draws; it can only print"):
        page(built, nodes.image(uri="a.png"))[1].apply()


def test_the_status_counts_the_cells_and_names_the_record(built):
    written = real_tabs.RealRecord.markdown(None)
    assert written.startswith("No record has been made yet.\n")
    assert "| [](../chapters/01-a.md) | 1 | 0 |" in written and "02-b" not in written
    recorded(built, [["stream", "224 pixels"]])
    written = real_tabs.RealRecord.markdown(None)
    assert written.startswith(f"The record: {tabs.REAL}, recorded on 2026-12-07, transformers 5.")
    assert "| [](../chapters/01-a.md) | 1 | 1 |" in written
