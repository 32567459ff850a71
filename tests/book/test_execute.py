"""Running chapters: what is kept, what is refused, and no network."""

import socket

import nbformat
import pytest
from jupyter_cache import get_cache
from nbformat.v4 import new_code_cell, new_notebook, new_output

from _tools import chapters, execute, running
from _tools.versions import tabs
from repository import ROOT
from small_chapter import CHAPTER


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A chapter whose outputs are kept, in a folder of its own."""
    monkeypatch.setattr(execute, "EXECUTED", tmp_path / "executed")
    source = tmp_path / "01-a.md"
    source.write_text(CHAPTER)
    done = chapters.read(source)
    for number, cell in enumerate(chapters.code_cells(done), start=1):
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
    monkeypatch.setattr(execute, "ROOT", tmp_path)

    def key():
        execute.surroundings.cache_clear()
        return execute.key(chapters.read(kept))

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
    _, merged = get_cache(tmp_path / "cache").merge_match_into_notebook(chapters.read(kept))
    first, second = chapters.code_cells(merged)
    assert first.metadata["tags"] == ["remove-input"]
    assert [first.outputs[0].data["text/plain"], second.outputs[0].data["text/plain"]] == ["2", "4"]


def test_what_is_kept_for_tabs_is_not_given_to_the_builder(kept, tmp_path, monkeypatch):
    whole = execute.with_outputs(kept)
    last = chapters.code_cells(whole)[-1].outputs[0]
    last.data[tabs.MIME] = "{}"
    monkeypatch.setattr(execute, "with_outputs", lambda source: whole)
    execute.publish([kept], tmp_path / "cache")
    _, merged = get_cache(tmp_path / "cache").merge_match_into_notebook(chapters.read(kept))
    assert chapters.code_cells(merged)[-1].outputs[0].data == {"text/plain": "4"}


def test_what_took_longest_runs_first(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "EXECUTED", tmp_path)
    for name, took in (("01-short", 1.5), ("02-long", 12.0), ("03-middle", 3)):
        nbformat.write(
            new_notebook(metadata={"clipnotes": {"seconds": took}}), tmp_path / f"{name}.ipynb"
        )
    names = ["01-short", "02-long", "03-middle", "04-new"]
    order = execute.longest_first([tmp_path / f"{name}.md" for name in names])
    assert [source.stem for source in order] == ["04-new", "02-long", "03-middle", "01-short"]


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
    settings = running.environment() | {"PYTHONPATH": str(tmp_path)}
    monkeypatch.setattr(running, "environment", lambda: settings)
    notebook = new_notebook(cells=[new_code_cell("1 + 1")])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    code, executed = running.run({"late": notebook})
    assert (code == 0, list(executed)) == ((True, ["late"]) if times == 1 else (False, []))
    assert (tmp_path / "starts").read_text() == "2"
    assert "once more, since no kernel started: late" in capfd.readouterr().out


def test_chapters_run_without_a_network(capfd):
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
    code, passed = running.run(notebooks)
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


def test_a_line_that_arrived_in_two_pieces_is_one_line():
    def wrote(text, name="stdout"):
        return nbformat.v4.new_output("stream", name=name, text=text)

    shown = nbformat.v4.new_output("display_data", data={"text/plain": "x"})
    given = [wrote("a"), wrote("  1\n"), wrote("b\n"), wrote("!", "stderr"), shown, wrote("c\n")]
    found = execute.in_one_piece(given)
    assert [one.get("text") for one in found] == ["a  1\nb\n", "!", None, "c\n"]
    assert given[0].text == "a"
