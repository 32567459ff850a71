"""Folders of images: which class, which files."""

import errno
import os

import pytest

from clipnotes.pictures.folders import class_files, list_files
from clipnotes.pictures.reading import encode_files
from some_folders import touch

# Classes and files


def test_a_class_is_called_as_its_folder(tmp_path):
    touch(tmp_path, "red_fox/1.png", "sea-horse/deep/2.JPG", "Tulip/3", "note.txt")
    touch(tmp_path, ".hidden/4.png", "Tulip/.DS_Store", "Tulip/.cache/5.png")
    names, files = class_files(tmp_path)
    assert names == ["Tulip", "red fox", "sea horse"]
    expected = ["Tulip/3", "red_fox/1.png", "sea-horse/deep/2.JPG"]
    assert files == [[tmp_path / name] for name in expected]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "has no sub-folders"),
        (("1.png", "2.png"), "has no sub-folders"),
        (("a/.x", "b/.y"), "no image in"),
        (("a/1.png", "b/.y", "c/.z"), "no image of 'b', 'c'"),
        (("a/1.png",), "a single class, 'a'"),
        (("a_b/1.png", "a-b/1.png"), "'a-b' and 'a_b' .* both read as 'a b'"),
        (("a/1.png", "_/2.png"), "'_' .* cannot be the name of a class"),
        (("a/1.png", "caf\udce9/2.png"), r"'caf\\udce9' .* cannot be the name of a class"),
        (
            ("café/1.png", "cafe\u0301/2.png"),
            r"'cafe\\u0301' and 'caf\\xe9' .* both read as 'café'",
        ),
        (("data/a/1.png", "data/b/1.png"), "a single class, 'data'.*give .*data$"),
        (("a/1.png", "b/1.png", "out/prompt.safetensors"), "out is a prompt that was saved"),
        (("a/1.png", "b/out/prompt.safetensors"), "b.out is a prompt that was saved"),
    ],
)
def test_folders_that_cannot_be_learnt_from(tmp_path, names, words):
    with pytest.raises(ValueError, match=words):
        class_files(touch(tmp_path, *names))


def test_classes_may_be_called_train_and_test(tmp_path):
    names, files = class_files(touch(tmp_path, "train/1.png", "test/1.png"))
    assert names == ["test", "train"] and [len(own) for own in files] == [1, 1]


def test_no_folder(tmp_path):
    with pytest.raises(ValueError, match="no folder"):
        class_files(tmp_path / "nowhere")
    assert list_files(tmp_path) == []


def test_names_are_composed_and_sorted_as_names(tmp_path):
    one = touch(tmp_path / "one", "cafe\u0301/1.png", "a_b/1.png", "a c/1.png")
    two = touch(tmp_path / "two", "café/2.png", "a b/2.png", "a-c/2.png")
    names = ["a b", "a c", "café"]
    assert class_files(one)[0] == class_files(two)[0] == names
    assert [file.parent.name for own in class_files(two)[1] for file in own] == [
        "a b",
        "a-c",
        "café",
    ]


def test_what_systems_leave_is_no_class_and_no_picture(tmp_path):
    touch(tmp_path, "__MACOSX/a/._1.png", "$RECYCLE.BIN/x.png", "a/Thumbs.db", "a/desktop.ini")
    touch(tmp_path, "a/@eaDir/1.png/thumb.jpg", "a/1.png", "b/Icon\r", "b/2.png", ".hidden/3.png")
    names, files = class_files(tmp_path)
    assert names == ["a", "b"]
    assert [file.name for own in files for file in own] == ["1.png", "2.png"]


def test_names_of_files_may_be_anything(tmp_path):
    touch(tmp_path, "a/caf\udce9.png", "a/two\nlines.png", "a/ spaces .png.", "b/1.png")
    files = class_files(tmp_path)[1][0]
    assert {file.name for file in files} == {"caf\udce9.png", "two\nlines.png", " spaces .png."}


# Links


def test_links_are_followed_and_every_folder_is_read_once(tmp_path):
    top = touch(tmp_path / "top", "cat/1.png", "cat/old/2.png", "dog/3.png")
    touch(tmp_path / "elsewhere", "4.png", "deep/5.png")
    (top / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (top / "cat" / "again").symlink_to(top / "cat" / "old")
    (top / "cat" / "round").symlink_to(top / "cat")
    (tmp_path / "elsewhere" / "back").symlink_to(top / "cat")
    (top / "cat" / "lost.png").symlink_to(tmp_path / "gone.png")
    found = [str(file.relative_to(top / "cat")) for file in list_files(top / "cat")]
    assert found == ["1.png", "lost.png", "more/4.png", "more/deep/5.png", "old/2.png"]
    (top / "bird").symlink_to(tmp_path / "elsewhere")
    assert class_files(top)[0] == ["bird", "cat", "dog"]


def test_links_that_lead_nowhere_are_listed(clip, tmp_path):
    (tmp_path / "lost.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "more").symlink_to(tmp_path / "gone")
    _, _, skipped = encode_files(clip, [str(path) for path in list_files(tmp_path)])
    assert [one.path for one in skipped] == [str(tmp_path / "lost.png"), str(tmp_path / "more")]


@pytest.mark.parametrize(
    ("target", "words"),
    [("gone", "more leads nowhere"), ("cat", "is a link to .*cat: the same"), (".", "lies in")],
)
def test_linked_classes_that_cannot_be(tmp_path, target, words):
    touch(tmp_path, "cat/1.png", "dog/2.png")
    (tmp_path / "more").symlink_to(tmp_path / target)
    with pytest.raises(ValueError, match=words):
        class_files(tmp_path)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "cat/private/1.png")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("private"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="private"):
        list_files(tmp_path / "cat")
