"""What tagged cells print in each version: records, comparison, tabs; and the page about runs."""

import json
from importlib.metadata import version

import pytest
import torch
from docutils import nodes
from docutils.frontend import get_default_settings
from docutils.utils import new_document
from nbformat.v4 import new_code_cell, new_notebook, new_output
from sphinx_design.shared import is_component

from _ext import status_page, version_tabs
from _tools import chapters, execute
from _tools.versions import pins, tabs
from _tools.versions import records as recorder
from clipnotes.trace.annotation import annotate
from clipnotes.trace.notes import MIME

HERE = version("transformers")
TAGGED = {
    source.stem: cells
    for source in chapters.notebooks()
    if (cells := tabs.tagged(chapters.read(source)))
}


def cell(*outputs, source="print(1)", tags=(tabs.TAG,)):
    return new_code_cell(source, metadata={"tags": list(tags)}, outputs=list(outputs))


def printed(text, name="stdout"):
    return new_output("stream", name=name, text=text)


@pytest.fixture
def records(tmp_path, monkeypatch):
    """An empty folder of records."""
    monkeypatch.setattr(tabs, "RECORDED", tmp_path)
    monkeypatch.delenv("CLIPNOTES_MODEL", raising=False)
    return tmp_path


# The records


@pytest.mark.parametrize("stem", TAGGED)
def test_every_version_has_a_record_of_every_tagged_cell(stem):
    sources = [cell.source for cell in TAGGED[stem]]
    for known in tabs.recorded().values():
        assert [cell["source"] for cell in known[stem]] == sources, "run `make record`"


def test_the_records_are_of_all_versions_and_of_tagged_cells_only():
    known = tabs.recorded()
    assert list(known) == pins.versions()
    assert {stem for pages in known.values() for stem in pages} == set(TAGGED)


def test_a_tag_stands_only_where_versions_differ():
    known = list(tabs.recorded().values())
    for stem, cells in TAGGED.items():
        for number, tagged in enumerate(cells):
            given = {str(pages[stem][number]["outputs"]) for pages in known}
            assert len(given) > 1, f"{stem}: the same in all versions: {tagged.source}"


def test_the_richest_form_of_an_output_is_kept_and_pieces_are_joined():
    data = {"text/plain": "a call", "text/html": "<b>a call</b>"}
    shown = new_output("execute_result", data=data, execution_count=1)
    plain = new_output("display_data", data={"text/plain": "b"})
    assert tabs.outputs_of(cell(printed("a"), printed("\n"), shown, plain)) == [
        ["stream", "a\n"],
        ["text/html", "<b>a call</b>"],
        ["text/plain", "b"],
    ]


@pytest.mark.parametrize(
    "output",
    [
        printed("careful", name="stderr"),
        new_output("display_data", data={"image/png": "iVBORw0KGgo="}),
        new_output("error", ename="ValueError", evalue="no"),
    ],
    ids=["stderr", "picture", "error"],
)
def test_what_tabs_are_not_made_for_is_refused(output):
    with pytest.raises(ValueError, match="it can print, and show text or HTML"):
        tabs.outputs_of(cell(output))


# The comparison


def test_an_executed_notebook_is_compared_with_its_record(records, monkeypatch):
    notebook = new_notebook(cells=[cell(printed("1\n")), cell(printed("2\n"), tags=())])
    path = records / f"{HERE}.json"
    path.write_text(json.dumps({"a": tabs.seen(notebook)}))
    assert tabs.differences("a", notebook) == []
    notebook.cells[1].outputs[0].text = "3\n"  # not tagged
    assert tabs.differences("a", notebook) == []
    notebook.cells[0].outputs[0].text = "3\n"
    (said,) = tabs.differences("a", notebook)
    assert "1\\n" in said and "3\\n" in said and "make record" in said
    assert "2\\n" not in said
    monkeypatch.setenv("CLIPNOTES_MODEL", "another")  # it prints other sizes
    assert tabs.differences("a", notebook) == []


def test_another_tagged_cell_is_a_difference(records):
    notebook = new_notebook(cells=[cell(printed("1\n"))])
    (records / f"{HERE}.json").write_text(json.dumps({"a": tabs.seen(notebook)}))
    notebook.cells[0].source = "print(2 - 1)"
    assert "not those in the record" in tabs.differences("a", notebook)[0]
    assert "not those in the record" in tabs.differences("b", notebook)[0]
    assert tabs.differences("a", new_notebook())
    assert tabs.differences("b", new_notebook()) == []


def test_a_version_that_is_not_supported_has_nothing_to_compare_with(records):
    assert tabs.differences("a", new_notebook(cells=[cell(printed("1\n"))])) == []


@pytest.mark.parametrize("words", [["--check"], []])
def test_a_run_that_differs_from_the_record_is_red(records, tmp_path, monkeypatch, capsys, words):
    source = tmp_path / "a.md"
    source.write_text("---\nkernelspec: {name: python3}\n---\n```{code-cell}\n1 + 1\n```\n")
    notebook = new_notebook(cells=[cell(printed("1\n"))])
    monkeypatch.setattr(execute, "notebooks", lambda: [source])
    monkeypatch.setattr(execute, "run", lambda notebooks: (0, {"a": notebook}))
    monkeypatch.setattr(execute, "is_fresh", lambda source: True)
    monkeypatch.setattr(execute, "with_outputs", lambda source: notebook)
    monkeypatch.setattr(execute, "publish", lambda sources: None)
    path = records / f"{HERE}.json"
    path.write_text(json.dumps({"a": tabs.seen(notebook)}))
    assert execute.main(words) == 0
    path.write_text(path.read_text().replace("1\\n", "2\\n"))
    assert execute.main(words) == 1
    assert "run `make record`" in capsys.readouterr().out


def test_a_check_of_some_chapters_runs_these_and_keeps_nothing(records, tmp_path, monkeypatch):
    sources, ran = [tmp_path / "01-a.md", tmp_path / "02-b.md"], []
    for source in sources:
        source.write_text("---\nkernelspec: {name: python3}\n---\n```{code-cell}\n1 + 1\n```\n")
    monkeypatch.setattr(execute, "EXECUTED", tmp_path / "executed")
    monkeypatch.setattr(execute, "notebooks", lambda: sources)
    monkeypatch.setattr(execute, "run", lambda books: (ran.append([*books]) or 0, books))
    assert execute.main(["--check", "01"]) == 0
    assert execute.main(["02", "--check"]) == 0
    assert ran == [["01-a"], ["02-b"]]
    assert not execute.EXECUTED.exists()  # else the book would show what another version did
    with pytest.raises(SystemExit):
        execute.main(["--chekc", "01"])
    assert len(ran) == 2


def test_recording_runs_the_notebooks_with_tagged_cells_only(records, monkeypatch):
    asked = []

    def run(notebooks):
        asked.append(set(notebooks))
        for one in notebooks.values():
            for tagged in tabs.tagged(one):
                tagged.outputs = [printed("new\n")]
        return 0, notebooks

    monkeypatch.setattr(recorder, "run", run)
    assert recorder.record_outputs() == 0
    assert asked == [set(TAGGED)]
    (known,) = tabs.recorded().values()
    assert {stem: [c["source"] for c in cells] for stem, cells in known.items()} == {
        stem: [c.source for c in cells] for stem, cells in TAGGED.items()
    }
    assert {str(c["outputs"]) for cells in known.values() for c in cells} == {
        "[['stream', 'new\\n']]"
    }


def test_nothing_is_recorded_when_a_notebook_fails(records, monkeypatch):
    monkeypatch.setattr(recorder, "run", lambda notebooks: (1, {}))
    monkeypatch.setattr(recorder, "record_facts", lambda: None)
    assert recorder.main() == 1
    assert list(records.iterdir()) == []


# Annotated source


def double(x):
    y = x * 2
    return y


@pytest.fixture
def annotated():
    """A cell that shows annotated source, and its notes."""
    notes = annotate(double, torch.ones(2, 3), notes={"double": {"y =": "<twice>"}})
    data = {**notes._repr_mimebundle_(), "text/html": notes._repr_html_()}
    return cell(new_output("execute_result", data=data, execution_count=1)), notes.to_dict()


def test_annotated_source_is_recorded_as_its_dict_in_the_order_of_its_names(annotated):
    ((kind, given),) = tabs.outputs_of(annotated[0])
    assert (kind, given) == (MIME, annotated[1])
    assert list(given) == list(annotated[1])  # a notebook would sort what is JSON


def test_a_record_is_laid_out_for_people_and_is_the_same(annotated):
    value = {"a": tabs.outputs_of(annotated[0]), "ä": [], "long": ["word " * 30, {}]}
    text = tabs.laid_out(value)
    assert json.loads(text) == value and "ä" in text
    lines = text.splitlines()
    assert any('"returned"' in line for line in lines) and len(lines) > 10
    assert all(len(line) <= tabs.WIDTH + 20 for line in lines if "word" not in line)


def test_what_torch_and_python_decide_is_no_difference(annotated):
    given = annotated[1]
    of_torch = {**given, "file": "torch/nn/functional.py", "callee": None}
    before = [
        [MIME, {**given, "callee": [1, 2, 1, 3], "inside": [{**given, "inside": [of_torch]}]}]
    ]
    now = [[MIME, {**given, "callee": None, "inside": [given]}]]
    assert tabs.difference(before, now) == ""
    changed = [[MIME, {**given, "inside": [{**given, "times": 2}]}]]
    assert '"times": 2' in tabs.difference(before, changed)
    assert tabs.difference([["stream", "a"]], [["stream", "b"]])


def test_a_tab_draws_annotated_source_and_names_its_licence(records, annotated):
    notes, plain = annotated[1], [["stream", "x"]]
    for name in ("1.9.0", "1.10.0"):
        outputs = [{"outputs": [[MIME, notes]]}, {"outputs": plain}]
        (records / f"{name}.json").write_text(json.dumps({"a": outputs}))
    document, transform = page(*[["cell", f"tag_{tabs.TAG}"]] * 2)
    transform.apply()
    drawn = [node.astext() for node in document.findall(nodes.raw)]
    assert len(drawn) == 2 and all("&lt;twice&gt;" in text for text in drawn)
    # One style and one script serve all of a page.
    assert ["<style>" in text for text in drawn] == [True, False]
    assert ["window.clipnotesNotes ??=" in text for text in drawn] == [True, False]
    assert [text.count("<script>") for text in drawn] == [1, 1]
    licences = [n for n in document.findall(nodes.paragraph) if "source-licence" in n["classes"]]
    assert len(licences) == 1 and "Apache License 2.0" in licences[0].astext()
    assert [n["refuri"] for n in document.findall(nodes.reference)] == [version_tabs.LICENCE]


# The tabs


def page(*cells, name="book/chapters/a"):
    """A document with code cells as MyST-NB makes them, and the transform on it."""
    document = new_document("a.md", get_default_settings())
    for classes in cells:
        container = nodes.container(nb_element="cell_code", classes=classes)
        output = nodes.container(nb_element="cell_code_output")
        output += nodes.literal_block("here", "here")
        container += [nodes.container(nb_element="cell_code_source"), output]
        document += container
    document.settings.env = type("Environment", (), {"docname": name})
    return document, version_tabs.VersionTabs(document)


def test_a_tagged_cell_s_output_becomes_a_tab_for_each_version(records):
    for name, said in {"1.10.0": "new", "1.9.0": "old"}.items():
        outputs = [["stream", said], ["text/html", f"<b>{said}</b>"]]
        (records / f"{name}.json").write_text(json.dumps({"a": [{"outputs": outputs}]}))
    document, transform = page(["cell"], ["cell", f"tag_{tabs.TAG}"])
    transform.apply()
    untouched, changed = document.children
    assert untouched.astext().strip() == "here"
    assert "here" not in changed.astext()
    items = [n for n in changed.findall() if is_component(n, "tab-item")]
    assert [item.children[0].astext() for item in items] == ["1.9.0", "1.10.0"]
    assert [item["selected"] for item in items] == [False, True]
    assert {item.children[0]["sync_group"] for item in items} == {"transformers"}
    assert [item.children[0]["sync_id"] for item in items] == ["1.9.0", "1.10.0"]
    printed, shown = items[0].children[1].children
    assert isinstance(printed, nodes.literal_block) and printed.astext() == "old"
    assert isinstance(shown, nodes.raw) and shown.astext() == "<b>old</b>"


def test_a_version_without_a_record_stops_the_build(records):
    (records / "1.0.0.json").write_text(json.dumps({"a": [{"outputs": [["stream", "x"]]}]}))
    (records / "1.1.0.json").write_text(json.dumps({"a": []}))
    with pytest.raises(ValueError, match=r"no record of its cells .* in \['1.1.0'\]"):
        page([f"tag_{tabs.TAG}"])[1].apply()
    page(["cell"])[1].apply()


# The status


def test_a_run_is_kept_with_its_time_and_its_versions(tmp_path, monkeypatch):
    source = tmp_path / "a.md"
    source.write_text("---\nkernelspec: {name: python3}\n---\n```{code-cell}\n1 + 1\n```\n")
    monkeypatch.setattr(execute, "EXECUTED", tmp_path / "executed")
    execute.keep(source, chapters.read(source))
    monkeypatch.setattr(status_page, "notebooks", lambda: [source])
    (run,) = status_page.runs().values()
    assert run["versions"]["transformers"] == HERE
    assert {"python", "torch", "datasets"} <= run["versions"].keys()
    assert status_page.moment(run)[4] == "-" and len(status_page.moment(run)) == 16


def test_the_status_tells_each_run_and_who_ran_with_what():
    old = {"seconds": 3.4, "finished": "2026-01-02T03:04:05+00:00", "versions": {"torch": "1"}}
    new = old | {"seconds": 2.2, "versions": {"torch": "2"}}
    text = status_page.markdown({"chapters/01-a.md": old, "chapters/02-b.md": old})
    assert "| [](../chapters/02-b.md) | 3 | 2026-01-02 03:04 |" in text
    assert "| all | 7 | |" in text
    assert "All ran with" in text and text.count("| torch | 1 |") == 1
    text = status_page.markdown({"chapters/01-a.md": old, "chapters/02-b.md": new})
    assert (
        "[](../chapters/02-b.md) ran with\n\n| Package | Version |\n|---|---|\n| torch | 2 |"
        in text
    )
