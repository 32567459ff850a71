"""Folders of pictures: which class, which files, the right pixels, and what cannot be read."""

import numpy as np
import pytest
import torch
from PIL import Image

from clipnotes.data import composite
from clipnotes.folders import encode_files, image_folder, list_files, read_picture
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


# Pixels


def save(path, image, **arguments):
    image.save(path, **arguments)
    return path


def test_a_turned_photograph_stands_upright(tmp_path):
    image = Image.new("RGB", (30, 20), "red")
    image.paste("blue", (0, 0, 15, 20))  # blue at the left
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the right way up is a quarter turn to the right
    upright = read_picture(save(tmp_path / "a.jpg", image, exif=exif, quality=95))
    assert upright.size == (20, 30)
    red, _, blue = upright.getpixel((10, 4))
    assert blue > 200 > 60 > red, "what was at the left is at the top"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_gives_its_colour(tmp_path, mode):
    grey = Image.new("L", (12, 10), 255)
    grey.paste(0, (0, 0, 6, 10))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        image = grey.convert(mode)
    path = save(tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png"), image)
    with Image.open(path) as opened:
        assert opened.mode == mode or (mode == "I;16" and opened.mode.startswith("I"))
    picture = read_picture(path)
    assert picture.mode == "RGB" and picture.size == (12, 10)
    values = np.asarray(picture).astype(int)
    assert values[:, :6].max() < 4 and values[:, 6:].min() > 251


def test_16_bits_are_not_cut_off(tmp_path):
    image = Image.fromarray(np.full((4, 4), 128 * 256 + 7, np.uint16))
    assert read_picture(save(tmp_path / "a.png", image)).getpixel((0, 0)) == (128, 128, 128)


def test_what_is_transparent_is_white(tmp_path):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((1, 1), 1)
    picture = read_picture(save(tmp_path / "a.png", image, transparency=0))
    assert picture.getpixel((0, 0)) == (255, 255, 255) and picture.getpixel((1, 1)) == (255, 0, 0)


def test_an_animation_gives_its_first_frame(tmp_path):
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    path = save(tmp_path / "a.gif", red, save_all=True, append_images=[blue])
    assert read_picture(path).getpixel((0, 0)) == (255, 0, 0)


def test_what_cannot_be_read_has_a_reason(tmp_path):
    good = save(tmp_path / "good.png", Image.effect_noise((64, 64), 50))
    cases = {"nothing.png": b"", "text.png": b"text", "cut.png": good.read_bytes()[:500]}
    reasons = {"nothing.png": "no picture in a format", "text.png": "no picture in a format"}
    reasons |= {"cut.png": "truncated|broken", "nowhere.png": "No such file"}
    reasons |= {"float.tif": "fractions", "deep.tif": "more than 16 bits", "thin.png": "too narrow"}
    reasons |= {"a folder": "Is a directory"}
    (tmp_path / "a folder").mkdir()
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    Image.new("F", (4, 4)).save(tmp_path / "float.tif")
    Image.new("I", (4, 4), 70_000).save(tmp_path / "deep.tif")
    Image.new("RGB", (4, 401)).save(tmp_path / "thin.png")
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=reason) as caught:
            read_picture(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", Image.new("RGB", (40, 40)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert read_picture(path).size == (40, 40)  # a warning of Pillow's, and no more
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    with pytest.raises(ValueError, match="decompression bomb"):
        read_picture(path)


# Features


def test_features_come_in_order_without_those_that_cannot_be_read(clip, tmp_path):
    files = [str(path) for path in list_files(make_folders(tmp_path, n=6))]
    given = [*files[:7], "nowhere.png", *files[7:]]
    features, rows, skipped = encode_files(clip, given)
    assert rows == [*range(7), *range(8, 19)]
    assert [one.path for one in skipped] == ["nowhere.png"]
    with torch.no_grad():
        expected = clip.encode_image([composite(Image.open(path)) for path in files])
    assert torch.allclose(features, expected, atol=1e-5)
    assert encode_files(clip, ["nowhere.png"])[0].shape == (0, 128)
