"""write_atomically() and write_folder(): the old or the new, and nothing beside it."""

import os

import pytest

from clipnotes.files import write_atomically, write_folder


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


def test_a_folder_is_there_whole_and_replaces_one(tmp_path):
    home = tmp_path / "new" / "home"
    write_folder(home, {"a": b"1", "b": b"2"})
    write_folder(home, {"c": b"3"})
    assert os.listdir(home) == ["c"] and (home / "c").read_bytes() == b"3"
    assert os.listdir(home.parent) == ["home"]


@pytest.mark.parametrize("fails_at", range(1, 5))  # two files, and two folders, get their names
def test_a_folder_that_fails_in_between_stays_as_it_was(tmp_path, monkeypatch, fails_at):
    home = tmp_path / "home"
    write_folder(home, {"a": b"old"})
    calls = []

    def counted(real):
        def move(*names):
            calls.append(names)
            if len(calls) == fails_at:
                raise OSError(28, "no space left")
            real(*names)

        return move

    for step in ("replace", "rename"):
        monkeypatch.setattr(os, step, counted(getattr(os, step)))
    with pytest.raises(OSError, match="no space left") as raised:
        write_folder(home, {"a": b"new", "b": b"new"})
    assert raised.value.filename == str(home)
    assert (home / "a").read_bytes() == b"old"
    assert os.listdir(home) == ["a"] and os.listdir(tmp_path) == ["home"]


def test_a_folder_that_fails_leaves_no_folders_around_it(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "rename", lambda *names: (_ for _ in ()).throw(OSError(1, "no")))
    with pytest.raises(OSError, match="no"):
        write_folder(tmp_path / "one" / "two" / "home", {"a": b"new"})
    assert os.listdir(tmp_path) == []
