"""A notebook that fails: what is kept of it, and that nothing takes it for one that ran well."""

import nbformat
import pytest
from jupyter_cache import get_cache
from nbformat.v4 import new_code_cell, new_notebook, new_output

from _tools import chapters, execute, failed, running
from small_chapter import CHAPTER

SKIPPED = new_code_cell("1 / 0", metadata={"tags": ["skip-execution", "remove-cell"]})


def of_cells(*sources):
    notebook = new_notebook(cells=[SKIPPED.copy(), *map(new_code_cell, sources)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    return notebook


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Nothing is kept yet, good or failed."""
    monkeypatch.setattr(execute, "EXECUTED", tmp_path / "executed")
    monkeypatch.setattr(failed, "FAILED", tmp_path / "failed")
    return tmp_path


@pytest.fixture
def source(folders):
    """A chapter of two code cells, which lies in no book."""
    path = folders / "01-a.md"
    path.write_text(CHAPTER)
    return path


def ended(source, cell, good=True):
    """What a run of the chapter would give, with outputs up to a cell and, in it, an error."""
    notebook = chapters.read(source)
    for number, one in enumerate(chapters.code_cells(notebook)[: cell + 1]):
        one.outputs = [new_output("stream", name="stdout", text=f"{number}\n")]
        one.execution_count = number + 1
        if number == cell and not good:
            one.outputs.append(
                new_output("error", ename="ValueError", evalue="no\nmore", traceback=["no more"])
            )
    return notebook


def attempting(monkeypatch, code, passed=None, failing=None):
    """Let `execute.attempt` answer so; return the list of what it is asked to run."""
    asked = []

    def answer(notebooks):
        asked.append(sorted(notebooks))
        return running.Ran(code, passed or {}, failing or {})

    monkeypatch.setattr(execute, "attempt", answer)
    return asked


def test_an_error_a_dead_kernel_and_a_slow_cell_are_all_errors_of_a_cell(monkeypatch, folders):
    notebooks = {
        "error": of_cells("print('before')", "{}['key']", "print('after')"),
        "dead": of_cells("print('before')", "import os\nos._exit(1)", "print('after')"),
        "slow": of_cells("print('before')", "import time\ntime.sleep(99)", "print('after')"),
        "good": of_cells("print('before')"),
    }
    monkeypatch.setattr(running, "SECONDS_A_CELL", 8)
    ran = running.attempt(notebooks)
    assert ran.code == 1
    assert ran.passed.keys() == {"good"}
    assert list(ran.failed) == ["error", "dead", "slow"]
    said = {}
    for stem, notebook in ran.failed.items():
        _, before, cell, after = chapters.code_cells(notebook)
        assert before.outputs[0].text == "before\n"
        assert cell.outputs[-1].output_type == "error"
        assert after.outputs == []
        failed.keep(stem, notebook)
        said[stem] = failed.failure(stem)
    assert {found.cell for found in said.values()} == {3}
    assert said["error"].said == "KeyError: 'key'"
    assert said["dead"].said == "DeadKernelError: Kernel died"
    assert said["slow"].said.startswith("CellTimeoutError: A cell timed out while")


def test_a_run_without_a_report_leaves_every_notebook_failed(monkeypatch, folders):
    monkeypatch.setattr(
        running.subprocess, "run", lambda *_, **__: type("Done", (), {"returncode": 3})
    )
    ran = running.attempt({"a": of_cells("1")})
    assert ran.code == 3
    assert ran.passed == {}
    failed.keep("a", ran.failed["a"])
    assert failed.failure("a") == failed.Failure("a", None, "it ended, and no cell says why")


def test_a_failed_chapter_is_never_taken_for_a_good_one(source, monkeypatch, capsys):
    asked = attempting(monkeypatch, 1, failing={"01-a": ended(source, 1, good=False)})
    (found,) = execute.update([source])
    assert found == failed.Failure("01-a", 2, "ValueError: no")
    assert str(found).endswith(f"; again with {failed.python()} book/_tools execute 01")
    assert not execute.is_fresh(source)
    assert not execute.stored(source).exists()
    assert execute.complaints([source]) == []
    asked = attempting(monkeypatch, 0, passed={"01-a": ended(source, 1)})
    assert execute.update([source]) == []
    assert asked == [["01-a"]]  # it ran again
    assert failed.read("01-a") is None
    assert execute.is_fresh(source)
    asked = attempting(monkeypatch, 0)
    assert execute.update([source]) == []
    assert asked == []
    capsys.readouterr()


def test_outputs_from_before_a_change_do_not_stand_in_for_a_failure(source, monkeypatch):
    execute.keep(source, ended(source, 1))
    source.write_text(CHAPTER.replace("2 + 2", "2 + 3"))
    attempting(monkeypatch, 1, failing={"01-a": ended(source, 0, good=False)})
    assert [found.cell for found in execute.update([source])] == [1]
    first, second = chapters.code_cells(execute.with_outputs(source))
    assert [output.output_type for output in first.outputs] == ["stream", "error"]
    assert second.outputs == []
    source.write_text(CHAPTER)  # taken back: what was kept is that of this code
    assert execute.update([source]) == []
    assert failed.read("01-a") is None


def test_only_the_chapters_asked_for_are_forgotten(source, folders, monkeypatch):
    failed.keep("02-b", ended(source, 0, good=False))
    attempting(monkeypatch, 0, passed={"01-a": ended(source, 1)})
    execute.update([source])
    assert failed.failure("02-b")


def test_the_command_says_what_failed_and_ends_with_1(source, monkeypatch, capsys):
    monkeypatch.setattr(execute, "notebooks", lambda: [source])
    attempting(monkeypatch, 1, failing={"01-a": ended(source, 0, good=False)})
    assert execute.main([]) == 1
    assert "01-a: ValueError: no in code cell 1; again with" in capsys.readouterr().out
    attempting(monkeypatch, 0, passed={"01-a": ended(source, 1)})
    assert execute.main(["01"]) == 0


def test_the_cell_that_failed_is_shown_whatever_its_tags_say(source, folders):
    text = CHAPTER.replace("hide-input", "remove-cell, hide-output, solution")
    assert text != CHAPTER
    source.write_text(text)
    failed.keep("01-a", ended(source, 0, good=False))
    execute.publish([source], folders / "cache")
    as_built = chapters.parsed(failed.shown("01-a", source.read_text()))
    _, merged = get_cache(folders / "cache").merge_match_into_notebook(as_built)
    cell, other = chapters.code_cells(merged)
    assert cell.metadata["tags"] == ["solution", failed.TAG]
    assert [output.output_type for output in cell.outputs] == ["stream", "error"]
    assert failed.TAG not in other.metadata.get("tags", [])
    assert other.outputs == []


@pytest.mark.parametrize(
    ("options", "tags"),
    [
        ("", [failed.TAG]),
        (":tags: [hide-input, solution]\n\n", ["solution", failed.TAG]),
        ("---\ntags: [remove-output]\nmystnb:\n  image:\n    alt: A b\n---\n", [failed.TAG]),
        ("---\ntags:\n- remove-input\n- by-version\n---\n", ["by-version", failed.TAG]),
    ],
)
def test_only_the_tags_of_the_cell_that_failed_change(source, options, tags):
    cell = "```{code-cell} ipython3\n" + options + "a = '---'\n---1\n```\n"
    text = f"{CHAPTER}\n{cell}\nThe end.\n"
    notebook = chapters.parsed(text)
    chapters.code_cells(notebook)[2].outputs = [
        new_output("error", ename="E", evalue="", traceback=[])
    ]
    failed.keep("01-a", notebook)
    built = chapters.parsed(failed.shown("01-a", text))
    assert [one.source for one in built.cells] == [one.source for one in notebook.cells]
    before, after = chapters.code_cells(notebook), chapters.code_cells(built)
    assert [one.metadata for one in before[:2]] == [one.metadata for one in after[:2]]
    assert after[2].metadata == before[2].metadata | {"tags": tags}
    assert failed.shown("02-b", text) == text


def test_an_error_on_purpose_is_not_the_one_that_the_notebook_ended_at():
    notebook = of_cells("1 / 0", "print(1)", "2 / 0", "3")
    for place in (1, 3):
        error = new_output("error", ename="ZeroDivisionError", evalue="", traceback=[])
        notebook.cells[place].outputs = [error]
    assert failed.failing(notebook) == 3
    assert failed.failing(of_cells("1")) is None


def test_a_warning_about_a_failed_page_is_told_from_others(source):
    notebook = ended(source, 0, good=False)
    notebook.cells[-1].metadata["mystnb"] = {"figure": {"name": "fig-a"}}
    failed.keep("01-a", notebook)
    other = source.with_name("02-b.md")
    assert failed.concerns(f"{source}:12: WARNING: odd\n", [source])
    assert failed.concerns(f"\x1b[91m{source}:12: WARNING: odd\x1b[39;49;00m\n", [source])
    assert failed.concerns(f"{other}:3: WARNING: undefined label: 'fig-a'\n", [source])
    assert not failed.concerns(f"{other}:3: WARNING: undefined label: 'fig-ab'\n", [source])
    assert not failed.concerns(f"{other}:12: WARNING: odd\n", [source])
    assert not failed.concerns(f"{source}:12: WARNING: odd\n", [])


def test_what_is_kept_can_be_read_by_anything(source):
    failed.keep("01-a", ended(source, 0, good=False))
    nbformat.validate(failed.read("01-a"))
