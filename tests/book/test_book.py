"""The book itself: its pages, and what is built of them."""

import ast

import jupytext
import nbformat
import pytest
from nbformat.v4 import new_code_cell

from _tools import build, chapters, pairs
from clipnotes import plots
from repository import ROOT, pages_in_toc, repository_url, text_of

CHAPTERS = chapters.notebooks()
CODE_WIDTH = 84  # characters that fit into the column at 1280 pixels, see clipnotes.css


def every_chapter(function):
    return pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)(function)


# The pages


def test_the_contents_name_every_page_and_no_other():
    files = {
        path.relative_to(ROOT).with_suffix("").as_posix()
        for path in (ROOT / "book").rglob("*.md")
        if not any(part.startswith((".", "_")) for part in path.relative_to(ROOT).parts)
    }
    assert pages_in_toc() == files


@every_chapter
def test_the_notebook_beside_a_chapter_is_the_same(chapter):
    assert not pairs.drifted(chapter), "run `make sync`"


@every_chapter
def test_the_notebook_beside_a_chapter_has_no_outputs(chapter):
    notebook = nbformat.read(chapter.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(notebook)
    for cell in chapters.code_cells(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None


@every_chapter
def test_everybody_sees_the_same_cells(chapter):
    """Programs differ on a code cell inside another block, which only some would run."""
    built = chapters.code_cells(chapters.read(chapter))
    opened = chapters.code_cells(jupytext.read(chapter))
    written = list(chapters.blocks(text_of(chapter)))
    assert [cell.source for cell in built] == [cell.source for cell in opened]
    assert [cell.source for cell in built] == [block.code.strip("\n") for block in written]
    assert [cell.metadata for cell in built] == [block.metadata for block in written]
    assert text_of(chapter).count("{code-cell}") == len(built)


@every_chapter
def test_a_chapter_s_first_code_cell_installs_the_package_on_colab(chapter):
    first, *others = chapters.code_cells(chapters.read(chapter))
    assert sorted(first.metadata["tags"]) == ["remove-cell", "skip-execution"]
    assert first.source == pairs.install_text(), "run `make sync`"
    assert f'%pip install --quiet {{kept}} "git+{repository_url()}"' in first.source
    for cell in others:
        assert "skip-execution" not in chapters.tags(cell), cell.source


@every_chapter
def test_code_fits_into_the_column_of_the_page(chapter):
    _, *cells = chapters.code_cells(chapters.read(chapter))  # without the install cell
    lines = [line for cell in cells for line in cell.source.splitlines()]
    assert lines
    assert [line for line in lines if len(line) > CODE_WIDTH] == []


def draws(cell):
    """Say whether a code cell calls, and does not only define, what makes a figure."""
    if {"remove-cell", "remove-output"} & set(chapters.tags(cell)):
        return False
    makers = set(plots.__all__) - {"style", "to_picture"} | {"subplots", "figure"}
    now = [part for part in ast.parse(cell.source).body if not isinstance(part, ast.FunctionDef)]
    nodes = (node for part in now for node in ast.walk(part))
    calls = (node.func for node in nodes if isinstance(node, ast.Call))
    named = (f for f in calls if isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name))
    return any(f.value.id in ("plots", "plt") and f.attr in makers for f in named)


def without_alt(cells):
    """The last lines of the cells that draw and do not say what."""
    wrong = [cell for cell in cells if draws(cell) and not chapters.alt_text(cell)]
    return [cell.source.splitlines()[-1] for cell in wrong]


@every_chapter
def test_every_figure_says_what_it_shows(chapter):
    """From the code, before anything runs; `execute.problems` looks at what came out."""
    _, *cells = chapters.code_cells(chapters.read(chapter))
    assert without_alt(cells) == []


def test_a_figure_without_alt_text_is_found():
    said = {"mystnb": {"image": {"alt": "A line"}}}
    blank = {"mystnb": {"image": {"alt": " "}}}
    wrong = [new_code_cell("x = 1\n_ = plots.maps(x)"), new_code_cell("plt.subplots()")]
    wrong += [new_code_cell("plots.curves()", metadata=blank)]
    fine = [new_code_cell("plots.curves()", metadata=said), new_code_cell("plots.style()")]
    fine += [new_code_cell("plots.maps()", metadata={"tags": ["remove-cell"]})]
    fine += [new_code_cell("def draw():\n    plots.maps()")]
    assert without_alt([*fine, *wrong]) == ["_ = plots.maps(x)", "plt.subplots()", "plots.curves()"]


def test_a_notebook_without_its_chapter_is_not_left_behind():
    twins = {
        path
        for folder in (chapters.CHAPTERS, chapters.REFERENCE)
        for path in folder.glob("*.ipynb")
    }
    assert twins == {source.with_suffix(".ipynb") for source in CHAPTERS}


def test_the_notebooks_are_the_chapters_and_reference_pages_with_cells():
    assert CHAPTERS[: len(chapters.chapters())] == chapters.chapters()
    more = {path.stem for path in CHAPTERS[len(chapters.chapters()) :]}
    assert more == {p.stem for p in chapters.REFERENCE.glob("*.md") if "{code-cell}" in text_of(p)}
    assert {"traps", "troubleshooting"} <= more


# The build


@pytest.mark.parametrize(
    ("html", "said"),
    [
        ('<img src="a.png">', "without alt text: a.png"),
        ('<img src="a.png" alt="">', "without alt text: a.png"),
        ('<img src="https://x.org/a.png" alt="a">', "loads from another host"),
        ('<script src="//x.org/a.js"></script>', "loads from another host"),
        ('<link rel="stylesheet" href="https://x.org/a.css">', "loads from another host"),
        ('<img src="a.png" alt="a"><a href="https://x.org">x</a>', None),
        ('<link rel="canonical" href="https://x.org/"><script>1</script>', None),
    ],
)
def test_built_pages_are_looked_at(html, said, tmp_path):
    (tmp_path / "page.html").write_text(html)
    found = build.site_problems(tmp_path)
    assert (said in found[0]) if said else found == []


def test_the_book_is_built_again_when_a_source_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "ROOT", tmp_path)
    (tmp_path / "book" / "chapters").mkdir(parents=True)
    page = tmp_path / "book" / "chapters" / "01-a.md"
    digests = [build.sources_digest()]
    page.write_text("a")
    digests.append(build.sources_digest())
    page.write_text("b")
    digests.append(build.sources_digest())
    (tmp_path / "_toc.yml").write_text("root: a")
    digests.append(build.sources_digest())
    assert len(set(digests)) == 4
    page.unlink()
    (tmp_path / "_toc.yml").unlink()
    assert build.sources_digest() == digests[0]
