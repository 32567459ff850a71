"""write_atomically(): the old file or the new one, and nothing beside it."""

import os

import pytest

from clipnotes.files import write_atomically


def test_it_writes_and_replaces(tmp_path):
    path = tmp_path / "file"
    for content in (b"old", b"new, and longer"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_fails_in_between_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def refuse(*args):
        raise OSError("no space left")

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    order = []
    for step in ("fsync", "replace"):
        real = getattr(os, step)
        monkeypatch.setattr(
            os, step, lambda *args, step=step, real=real: (order.append(step), real(*args))
        )
    write_atomically(tmp_path / "file", b"content")
    assert order == ["fsync", "replace"]
