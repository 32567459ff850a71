"""Folders of pictures: which class, which files."""

import pytest

from clipnotes.folders import image_folder, list_files
from some_folders import NAMES, make_folders


def touch(top, *names):
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return top


# Classes and files


def test_a_class_is_called_as_its_folder(tmp_path):
    touch(tmp_path, "red_fox/1.png", "sea-horse/deep/2.JPG", "Tulip/3", "note.txt")
    touch(tmp_path, ".hidden/4.png", "Tulip/.DS_Store", "Tulip/.cache/5.png")
    table = image_folder(tmp_path)
    assert table.features["name"].names == ["Tulip", "red fox", "sea horse"]
    import datasets

    unopened = table.cast_column("image", datasets.Image(decode=False))
    files = [image["path"] for image in unopened["image"]]
    assert files == [
        str(tmp_path / f) for f in ("Tulip/3", "red_fox/1.png", "sea-horse/deep/2.JPG")
    ]
    assert list(table["name"]) == [0, 1, 2]


def test_datasets_opens_the_pictures(tmp_path):
    table = image_folder(make_folders(tmp_path, n=2))
    assert table.features["name"].names == NAMES
    assert table[0]["image"].size == (40, 64) and table[0]["name"] == 0


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "has no sub-folders"),
        (("1.png", "2.png"), "has no sub-folders"),
        (("a/.x", "b/.y"), "no picture in"),
        (("a/1.png", "b/.y", "c/.z"), "no picture of 'b', 'c'"),
        (("a/1.png",), "a single class, 'a'"),
        (("a_b/1.png", "a-b/1.png"), "'a-b' and 'a_b' .* both read as 'a b'"),
        (("train/a/1.png", "test/a/1.png"), "is split into test, train"),
    ],
)
def test_folders_that_cannot_be_learnt_from(tmp_path, names, words):
    with pytest.raises(ValueError, match=words):
        image_folder(touch(tmp_path, *names))


def test_classes_may_be_called_train_and_test(tmp_path):
    assert image_folder(touch(tmp_path, "train/1.png", "test/1.png")).num_rows == 2


def test_no_folder(tmp_path):
    with pytest.raises(ValueError, match="no folder"):
        image_folder(tmp_path / "nowhere")
    assert list_files(tmp_path) == []
