"""The images of a folder: the draw, and what is known of each."""

import re
import shutil
import subprocess
import sys
from collections import Counter

import pytest
import torch
from PIL import Image

from clipnotes.data import few_shot, load_emoji
from clipnotes.pictures.folders import list_files
from clipnotes.pictures.reading import read_picture
from clipnotes.prompts import VPT, ZeroShot
from clipnotes.teach.folder import Folder, split
from some_folders import NAMES, make_folders


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folders(tmp_path_factory.mktemp("pictures"), 3)


def test_the_draw():
    labels = [0] * 20 + [1] * 5 + [2] * 2 + [3]
    train, test = split(labels, 4, 0, True)
    assert sorted(train + test) == list(range(28))
    assert Counter(labels[row] for row in train) == {0: 4, 1: 4, 2: 1, 3: 1}
    assert Counter(labels[row] for row in test) == {0: 16, 1: 1, 2: 1}
    assert Counter(labels[row] for row in split(labels, 4, 0, False)[0]) == {0: 4, 1: 4, 2: 2, 3: 1}
    assert split(labels, 4, 0, True) == (train, test)
    assert split(labels, 4, 1, True) != (train, test)
    with pytest.raises(ValueError, match="shots is 0"):
        split(labels, 0, 0, True)


def test_the_same_seed_draws_the_same_rows_for_ever():
    """Numbers of earlier versions: a run that was killed goes on with the images that it had."""
    labels = [0] * 20 + [1] * 5 + [2] * 2 + [3]
    assert split(labels, 4, 0, True)[0] == [5, 8, 11, 15, 21, 22, 23, 24, 25, 27]
    assert split(labels, 4, 7, True)[0] == [1, 8, 12, 13, 20, 21, 22, 23, 26, 27]
    assert split(labels, 2, 1, False)[0] == [3, 14, 22, 24, 25, 26, 27]
    rows = load_emoji(category="food-fruit")
    assert few_shot(rows, 3, 5)["style"][:9] == [8, 10, 5, 7, 6, 5, 7, 3, 0]
    drawn = few_shot(rows, 2, 3, label="style")["codepoint"][:6]
    assert drawn == ["1F350", "1F352", "1F34E", "1F352", "1F353", "1F351"]


def test_learning_from_a_folder_loads_no_data_set(root):
    """The emoji, and the libraries that read them, would cost a second at each start."""
    code = "import clipnotes.teach, sys; print({'clipnotes.data', 'datasets'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.stdout == "set()\n", done.stdout + done.stderr


def test_a_picture_keeps_its_label_and_its_features(clip, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "in")
    (tmp_path / "in" / "fruit" / "0.png").write_bytes(b"x")  # rows and files part here
    pool = Folder(tmp_path / "in").read(clip)
    assert [one.path for one in pool.skipped] == [str(tmp_path / "in" / "fruit" / "0.png")]
    parts = pool.draw(2, 0)
    assert [len(part) for part in parts] == [5, 3]
    assert sorted(parts[0].paths + parts[1].paths) == sorted(pool.pictures.paths)
    for part in parts:
        for i, path in enumerate(part.paths):
            image = read_picture(path)
            assert part[i].tobytes() == image.tobytes()
            assert torch.allclose(part.features[i], clip.encode_image([image])[0], atol=1e-5)
            assert NAMES[part.labels[i]] in path.replace("_", " ").replace("-", " ")


def test_what_encodes_pictures_itself_gets_them(clip, folder):
    pictures = Folder(folder).read(clip).pictures
    assert pictures.suited(ZeroShot(clip, NAMES)) is pictures.features
    assert pictures.suited(VPT(clip, NAMES, 1, 1)) is pictures


def test_a_folder_to_test_on_that_cannot_be_read(clip, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "test")
    for path in list_files(tmp_path / "test"):
        path.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"of 'fruit' in .*test can be read: .*0\.png: not an"):
        Folder(folder, tmp_path / "test").read(clip)


def test_a_class_of_which_nothing_can_be_read_is_named(clip, folder, tmp_path):
    for name in ("in", "test"):
        shutil.copytree(folder, tmp_path / name)
        for path in list_files(tmp_path / name / "small_bird"):
            path.write_bytes(b"x")
        broken = rf"none of the files of 'small bird' in .*{name} can be read: .*small_bird.0\.png"
        opened = Folder(*((folder, tmp_path / name) if name == "test" else (tmp_path / name,)))
        with pytest.raises(ValueError, match=broken):
            opened.read(clip)


def test_reading_says_how_fast_it_was_and_what_it_assumed(clip, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "in")
    Image.new("I;16", (40, 40), 3000).save(tmp_path / "in" / "fruit" / "0.png")
    said = []
    pool = Folder(tmp_path / "in", folder).read(clip, said.append)
    assert said[0] == "reading 18 files of 3 classes"
    assert re.fullmatch(r"read 18 files of 3 classes: [\d.]+ images per second", said[1])
    (note,) = pool.notes
    assert note.startswith(str(tmp_path / "in" / "fruit" / "0.png")) and "12 alone" in note
