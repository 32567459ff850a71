"""Pictures in files: the right pixels, and what cannot be read."""

import numpy as np
import pytest
import torch
from PIL import Image

from clipnotes.data import composite
from clipnotes.folders import list_files
from clipnotes.pictures import encode_files, read_picture
from some_folders import make_folders

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
