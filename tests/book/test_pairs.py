"""A chapter and the notebook beside it: one is written from the other."""

import pytest

from _tools import chapters, pairs
from small_chapter import CHAPTER


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
    monkeypatch.setattr(chapters, "CHAPTERS", tmp_path)
    monkeypatch.setattr(chapters, "REFERENCE", tmp_path / "reference")
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
