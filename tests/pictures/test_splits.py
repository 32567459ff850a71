"""Parts of a data set that are given as classes: found by what they hold, whatever their names."""

import shlex

import pytest

from clipnotes.pictures.folders import class_files
from some_folders import touch


def files(*folders, classes=("cat", "dog")):
    """Names of files: each folder holds each class."""
    return [f"{folder}/{name}/1.png" for folder in folders for name in classes]


# What is typed next: the folder to learn from, and the one to test on.
SPLIT = {
    "training_set, test_set": (files("training_set", "test_set"), "training_set", "test_set"),
    "seg_train, seg_test, and seg_pred without classes": (
        [*files("seg_train", "seg_test"), "seg_pred/1.png"],
        "seg_train",
        "seg_test",
    ),
    "train, dev": (files("train", "dev"), "train", "dev"),
    "train_images, test_images": (
        files("train_images", "test_images"),
        "train_images",
        "test_images",
    ),
    "trainSet, ValSet, TestSet": (files("trainSet", "ValSet", "TestSet"), "trainSet", "TestSet"),
    "train and test beside a third": ([*files("train", "test"), "more/1.png"], "train", "test"),
    "no word that is known": (
        [*files("lernen", "pruefen"), "lernen/cat/2.png"],
        "lernen",
        "pruefen",
    ),
    "three designers": (files("amazon", "dslr", "webcam"), "amazon", "dslr"),
    "capitals differ": (
        ["a/Cat/1.png", "a/Dog/1.png", "a/Dog/2.png", *files("b")],
        "a",
        "b",
    ),
    "one class": (files("train", "test", classes=["cat"]), "train", "test"),
    "a test without classes": ([*files("train"), "test/1.png", "test/2.png"], "train", None),
    "a space in the name": (files("my train", "my test"), "my train", "my test"),
}


@pytest.mark.parametrize("case", SPLIT)
def test_parts_are_no_classes(tmp_path, case):
    names, learn, test = SPLIT[case]
    touch(tmp_path, *names)
    with pytest.raises(ValueError, match="give the one to learn from") as caught:
        class_files(tmp_path)
    said = str(caught.value)
    command = ["clipnotes", "learn", str(tmp_path / learn)]
    command += ["--test", str(tmp_path / test)] if test else []
    assert f"{shlex.join(command)} --out prompt; if these" in said and repr(learn) in said
    _, of_classes = class_files(tmp_path, nested=True)  # the way out
    assert sum(map(len, of_classes)) == len(names)


@pytest.mark.parametrize("parts", [("train", "test"), ("train", "val", "test")])
def test_classes_that_are_split_one_by_one(tmp_path, parts):
    touch(tmp_path, *files("cat", "dog", classes=parts))
    with pytest.raises(ValueError, match=r"every class in .* is split by itself") as caught:
        class_files(tmp_path)
    assert all(repr(part) in str(caught.value) for part in parts)


@pytest.mark.parametrize(
    "names",
    [
        files("cat", "dog", classes=["images"]),
        ["cat/front/1.png", "cat/back/1.png", "dog/front/1.png", "dog/side/1.png"],
        files("train", "car", classes=["2021"]),
        ["train/1.png", "test/1.png"],
        ["train/2021/1.png", "training wheel/1.png"],
        ["train/2021/1.png", "car/1.png"],
        ["cat/.a/1.png", "cat/.b/1.png", "dog/.a/1.png", "dog/.b/1.png", "cat/1.png", "dog/1.png"],
    ],
)
def test_classes_may_have_sub_folders(tmp_path, names):
    assert len(class_files(touch(tmp_path, *names))[0]) == 2


def test_sides_of_things_that_repeat_are_refused_with_a_way_out(tmp_path):
    touch(tmp_path, *files("cup", "plate", classes=["front", "back"]))
    words = "'cup' and 'plate' .* hold the same, 'back' and 'front', .* say --nested"
    with pytest.raises(ValueError, match=words):
        class_files(tmp_path)
    assert class_files(tmp_path, nested=True)[0] == ["cup", "plate"]
