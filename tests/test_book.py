"""The book itself: its pages, its pairs, and the pipeline that runs and builds it."""

import ast
import socket

import jupytext
import nbformat
import pytest
import yaml
from jupyter_cache import get_cache
from nbformat.v4 import new_code_cell, new_notebook, new_output

import build
import execute
import pairs
from clipnotes import plots
from conftest import ROOT
from test_repo import repository_url, text_of

CHAPTERS = pairs.notebooks()
CODE_WIDTH = 84  # characters that fit into the column at 1280 pixels, see clipnotes.css

CHAPTER = """\
---
kernelspec:
  display_name: Python 3 (ipykernel)
  language: python
  name: python3
jupytext:
  text_representation:
    extension: .md
    format_name: myst
    format_version: 0.13
---

# A chapter

```{code-cell} ipython3
:tags: [hide-input]

1 + 1
```

Text in between.

```{code-cell} ipython3
2 + 2
```
"""


def every_chapter(function):
    return pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)(function)


def pages_in_toc():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    pages, queue = [toc["root"]], [toc]
    while queue:
        node = queue.pop()
        pages += [node["file"]] if "file" in node else []
        for name in ("parts", "chapters", "sections"):
            queue += node.get(name, [])
    return set(pages)


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
    for cell in execute.code_cells(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None


@every_chapter
def test_jupytext_and_the_book_see_the_same_code(chapter):
    # They differ when a code cell stands inside another block: only one of them would run it.
    ours = [cell.source for cell in execute.code_cells(execute.read(chapter))]
    theirs = [cell.source for cell in execute.code_cells(jupytext.read(chapter))]
    assert ours == theirs
    assert chapter.read_text(encoding="utf-8").count("{code-cell}") == len(ours)


@every_chapter
def test_a_chapter_s_first_code_cell_installs_the_package_on_colab(chapter):
    first, *others = execute.code_cells(execute.read(chapter))
    assert sorted(first.metadata["tags"]) == ["remove-cell", "skip-execution"]
    assert first.source == pairs.install_text(), "run `make sync`"
    assert f'%pip install --quiet {{kept}} "git+{repository_url()}"' in first.source
    for cell in others:
        assert "skip-execution" not in cell.metadata.get("tags", []), cell.source


@every_chapter
def test_code_fits_into_the_column_of_the_page(chapter):
    _, *cells = execute.code_cells(execute.read(chapter))  # without the install cell
    lines = [line for cell in cells for line in cell.source.splitlines()]
    assert lines
    assert [line for line in lines if len(line) > CODE_WIDTH] == []


def draws(cell):
    """Say whether a code cell calls a function that makes a figure, and shows it.

    A function that the cell only defines draws later, where the cell's own text cannot say so.
    """
    if {"remove-cell", "remove-output"} & set(cell.metadata.get("tags", [])):
        return False
    makers = set(plots.__all__) - {"style", "to_picture"} | {"subplots", "figure"}
    now = [part for part in ast.parse(cell.source).body if not isinstance(part, ast.FunctionDef)]
    nodes = (node for part in now for node in ast.walk(part))
    calls = (node.func for node in nodes if isinstance(node, ast.Call))
    named = (f for f in calls if isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name))
    return any(f.value.id in ("plots", "plt") and f.attr in makers for f in named)


def without_alt(cells):
    """The last lines of the cells that draw and do not say what."""
    wrong = []
    for cell in cells:
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        if draws(cell) and not str(alt).strip():
            wrong.append(cell.source.splitlines()[-1])
    return wrong


@every_chapter
def test_every_figure_says_what_it_shows(chapter):
    """From the code, before anything runs; `execute.problems` looks at what came out."""
    _, *cells = execute.code_cells(execute.read(chapter))
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
        path for folder in (pairs.CHAPTERS, pairs.REFERENCE) for path in folder.glob("*.ipynb")
    }
    assert twins == {source.with_suffix(".ipynb") for source in CHAPTERS}


def test_the_notebooks_are_the_chapters_and_reference_pages_with_cells():
    assert CHAPTERS[: len(pairs.chapters())] == pairs.chapters()
    more = {path.stem for path in CHAPTERS[len(pairs.chapters()) :]}
    assert more == {p.stem for p in pairs.REFERENCE.glob("*.md") if "{code-cell}" in text_of(p)}
    assert {"traps", "troubleshooting"} <= more


# The pairs


def test_a_changed_chapter_is_seen_and_mended(tmp_path):
    source = tmp_path / "01-a.md"
    source.write_text(CHAPTER)
    assert pairs.drifted(source)  # no twin yet
    source.with_suffix(".ipynb").write_text(pairs.text(source))
    assert not pairs.drifted(source)
    source.write_text(CHAPTER.replace("2 + 2", "2 + 3"))
    assert pairs.drifted(source)
    source.write_text(CHAPTER.replace("hide-input", "hide-cell"))
    assert pairs.drifted(source)


@pytest.mark.parametrize("inside", ["\n# old\n# cell\n", "\n", ""])
def test_the_install_cell_is_renewed(tmp_path, monkeypatch, inside):
    old = f"```{{code-cell}} ipython3\n:tags: [remove-cell, skip-execution]\n{inside}```\n"
    source = tmp_path / "01-a.md"
    source.write_text(CHAPTER.replace("# A chapter", "# A chapter\n\n" + old))
    monkeypatch.setattr(pairs, "CHAPTERS", tmp_path)
    monkeypatch.setattr(pairs, "REFERENCE", tmp_path / "reference")
    assert pairs.main([]) == 0
    assert pairs.main(["--check"]) == 0
    cells = pairs.notebook(source).cells
    assert [cell.source for cell in cells if cell.cell_type == "code"] == [
        pairs.install_text(),
        "1 + 1",
        "2 + 2",
    ]


def test_equal_cells_get_different_ids_and_the_same_each_time(tmp_path):
    source = tmp_path / "01-a.md"
    source.write_text(CHAPTER.replace("2 + 2", "1 + 1"))
    ids = [cell.id for cell in pairs.notebook(source).cells]
    assert len(set(ids)) == len(ids)
    assert ids == [cell.id for cell in pairs.notebook(source).cells]


# The run


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A chapter whose outputs are kept, in a folder of its own."""
    monkeypatch.setattr(execute, "EXECUTED", tmp_path / "executed")
    source = tmp_path / "01-a.md"
    source.write_text(CHAPTER)
    done = execute.read(source)
    for number, cell in enumerate(execute.code_cells(done), start=1):
        data = {"text/plain": str(2 * number)}
        cell.outputs = [new_output("execute_result", data=data, execution_count=number)]
    execute.keep(source, done)
    return source


def test_a_chapter_runs_again_when_its_code_changes(kept):
    assert execute.is_fresh(kept)
    kept.write_text(CHAPTER.replace("Text in between", "Other text"))
    assert execute.is_fresh(kept)
    kept.write_text(CHAPTER.replace("2 + 2", "2 + 3"))
    assert not execute.is_fresh(kept)


def test_a_chapter_runs_again_when_the_package_or_the_versions_change(kept, tmp_path, monkeypatch):
    (tmp_path / "clipnotes").mkdir()
    (tmp_path / "clipnotes" / "weights.bin").write_bytes(b"1")
    (tmp_path / "constraints.txt").write_text("torch==1")
    (tmp_path / "_config.yml").write_text((ROOT / "_config.yml").read_text())
    (tmp_path / "execute.py").write_text("")
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    monkeypatch.setattr(execute, "__file__", str(tmp_path / "execute.py"))

    def key():
        execute.surroundings.cache_clear()
        return execute.key(execute.read(kept))

    try:
        keys = [key()]
        (tmp_path / "clipnotes" / "weights.bin").write_bytes(b"2")
        keys.append(key())
        (tmp_path / "constraints.txt").write_text("torch==2")
        keys.append(key())
        monkeypatch.setenv("CLIPNOTES_MODEL", "another")
        keys.append(key())
        assert len(set(keys)) == 4
        assert key() == keys[-1]
    finally:
        execute.surroundings.cache_clear()


def test_the_builder_finds_the_kept_outputs(kept, tmp_path):
    kept.write_text(CHAPTER.replace("hide-input", "remove-input"))  # a new tag, the same code
    execute.publish([kept], tmp_path / "cache")
    _, merged = get_cache(tmp_path / "cache").merge_match_into_notebook(execute.read(kept))
    first, second = execute.code_cells(merged)
    assert first.metadata["tags"] == ["remove-input"]
    assert [first.outputs[0].data["text/plain"], second.outputs[0].data["text/plain"]] == ["2", "4"]


def picture(**metadata):
    output = new_output("display_data", data={"image/png": "iVBORw0KGgo="})
    return new_notebook(cells=[new_code_cell("plot()", metadata=metadata, outputs=[output])])


def test_a_picture_needs_alt_text():
    assert "alt text" in execute.problems(picture())[0]
    assert execute.problems(picture(mystnb={"image": {"alt": " "}}))
    assert execute.problems(picture(mystnb={"image": {"alt": "A line"}})) == []
    assert execute.problems(picture(tags=["remove-cell"])) == []


def test_stderr_and_widgets_are_named():
    noise = new_output("stream", name="stderr", text="careful")
    widget = new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {}})
    cell = new_code_cell("noisy()", outputs=[noise, widget])
    said = execute.problems(new_notebook(cells=[cell]))
    assert ["stderr" in said[0], "widget" in said[1]] == [True, True]


@pytest.mark.parametrize("times", [1, 2])
def test_a_kernel_that_does_not_start_is_tried_once_more(tmp_path, monkeypatch, capfd, times):
    """Of two kernels that take the same port, one dies before its first cell."""
    die = "import os, sys\nfrom pathlib import Path\n"
    die += "if 'ipykernel_launcher' in ' '.join(sys.orig_argv):\n"
    die += f"    starts = Path({str(tmp_path / 'starts')!r})\n"
    die += "    n = int(starts.read_text()) if starts.exists() else 0\n"
    die += "    starts.write_text(str(n + 1))\n"
    die += f"    n < {times} and os._exit(1)\n"
    (tmp_path / "sitecustomize.py").write_text(die)
    settings = execute.environment() | {"PYTHONPATH": str(tmp_path)}
    monkeypatch.setattr(execute, "environment", lambda: settings)
    notebook = new_notebook(cells=[new_code_cell("1 + 1")])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    code, executed = execute.run({"late": notebook})
    assert (code == 0, list(executed)) == ((True, ["late"]) if times == 1 else (False, []))
    assert (tmp_path / "starts").read_text() == "2"
    assert "once more, since no kernel started: late" in capfd.readouterr().out


def test_chapters_run_without_a_network(capfd):
    """A green notebook beside red ones."""
    local = [
        "import socket\nserver = socket.create_server(('127.0.0.1', 0))",
        "socket.create_connection(server.getsockname()).close()",
        "socket.getaddrinfo('localhost', 80)",
    ]
    skipped = new_code_cell("1 / 0", metadata={"tags": ["skip-execution"]})
    expected = new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]})
    lookup = "import socket\nsocket.getaddrinfo('example.org', 443)"
    connect = "import socket\nsocket.socket().connect(('192.0.2.1', 80))"
    notebooks = {
        "green": new_notebook(cells=[*map(new_code_cell, local), skipped, expected]),
        "lookup": new_notebook(cells=[new_code_cell(lookup)]),
        "connect": new_notebook(cells=[new_code_cell(connect)]),
    }
    for notebook in notebooks.values():
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    code, passed = execute.run(notebooks)
    said = capfd.readouterr().out
    assert code == 1
    assert passed.keys() == {"green"}
    assert "the network is blocked here: socket.getaddrinfo of 'example.org'" in said
    assert "the network is blocked here: socket.connect to '192.0.2.1'" in said


def test_tests_run_without_a_network():
    with pytest.raises(RuntimeError, match="blocked"):
        socket.socket().connect(("192.0.2.1", 80))
    with pytest.raises(RuntimeError, match="blocked"):
        socket.getaddrinfo("example.org", 443)
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


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


def test_a_line_that_arrived_in_two_pieces_is_one_line():
    def wrote(text, name="stdout"):
        return nbformat.v4.new_output("stream", name=name, text=text)

    shown = nbformat.v4.new_output("display_data", data={"text/plain": "x"})
    given = [wrote("a"), wrote("  1\n"), wrote("b\n"), wrote("!", "stderr"), shown, wrote("c\n")]
    found = execute.in_one_piece(given)
    assert [one.get("text") for one in found] == ["a  1\nb\n", "!", None, "c\n"]
    assert given[0].text == "a"
