"""The right way up: as a camera noted it, in Python as on the command line, whatever is damaged."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from clipnotes.data import composite
from clipnotes.pictures.reading import encode_files, read_picture
from clipnotes.pictures.upright import ORIENTATION, TURNS
from clipnotes.prompts import PromptLearner
from clipnotes.prompts.inputs import features_of


def photo():
    """Four colours in four corners, so that every turn shows."""
    image = Image.new("RGB", (48, 32))
    for i, colour in enumerate(("red", "lime", "blue", "yellow")):
        image.paste(colour, (24 * (i % 2), 16 * (i // 2), 24 + 24 * (i % 2), 16 + 16 * (i // 2)))
    return image


def noted(path, orientation, image=None, **arguments):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    (image or photo()).save(path, exif=exif, **arguments)
    return path


@pytest.mark.parametrize("orientation", [1, *TURNS, 0, 9])
@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp"])
def test_every_turn_is_that_of_pillow(tmp_path, clip, orientation, kind):
    path = noted(
        tmp_path / f"a.{kind}", orientation, **({"lossless": True} if kind == "webp" else {})
    )
    with Image.open(path) as opened:
        expected = ImageOps.exif_transpose(opened).convert("RGB")
    found = read_picture(path)
    assert found.size == ((32, 48) if orientation in (5, 6, 7, 8) else (48, 32))
    assert np.array_equal(found, expected)
    assert np.array_equal(composite(found), found), "and it is not turned twice"
    with Image.open(path) as opened:
        assert np.array_equal(composite(opened), expected)
    with Image.open(path) as opened:
        assert torch.equal(clip.preprocess([opened]), clip.preprocess([expected]))


def test_python_and_the_command_line_agree(tmp_path, clip):
    path = str(noted(tmp_path / "a.jpg", 6))
    features, _, _ = encode_files(clip, [path])
    with Image.open(path) as opened:
        lying = clip.encode_image([Image.fromarray(np.asarray(opened))])
    assert (features - lying).abs().max() > 0.01
    for encode in (clip.encode_image, lambda images: features_of(clip, images)):
        with Image.open(path) as opened:
            torch.testing.assert_close(encode([opened]), features, atol=1e-5, rtol=0)
    names = ["tulip", "fox"]
    logits = PromptLearner(clip, names).logits(features)
    assert logits.shape == (1, 2)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA"])
def test_a_picture_without_a_note_is_as_it_was(clip, mode):
    """What ``composite`` does without alpha is what it does by way of alpha."""
    image = photo().convert("L").convert(mode) if mode in ("LA", "PA") else photo().convert(mode)
    white = Image.new("RGBA", image.size, "white")
    expected = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    made = composite(image)
    assert np.array_equal(made, expected) and made is not image and made.info == {}
    given = clip.image_processor([expected], return_tensors="pt")["pixel_values"]
    assert torch.equal(clip.preprocess([image]), given)


def test_a_colour_that_counts_as_transparent_shines_through():
    for mode, colour in (("RGB", (255, 0, 0)), ("L", 76)):
        image = photo().convert(mode)
        image.info["transparency"] = colour
        assert composite(image).getpixel((0, 0)) == (255, 255, 255)
        assert composite(image).getpixel((40, 28)) != (255, 255, 255)


def test_16_bits_and_other_modes_are_turned_too(tmp_path):
    deep = Image.fromarray(np.arange(6, dtype=np.uint16).reshape(2, 3) * 10000)
    for name, image in (("a.png", deep), ("a.tif", deep), ("b.tif", photo().convert("CMYK"))):
        for orientation in (6, 8):
            found = np.asarray(read_picture(noted(tmp_path / name, orientation, image))).astype(int)
            noted(tmp_path / name, 1, image)
            flat = np.asarray(read_picture(tmp_path / name)).astype(int)
            assert np.array_equal(found, np.rot90(flat, -1 if orientation == 6 else 1)), name


def test_a_background_lies_under_the_turned_picture(tmp_path):
    with Image.open(noted(tmp_path / "a.png", 6, photo().convert("RGBA"))) as opened:
        assert composite(opened, Image.new("RGB", (32, 48))).size == (32, 48)
        with pytest.raises(ValueError, match=r"size \(48, 32\), the image \(32, 48\)"):
            composite(opened, Image.new("RGB", (48, 32)))


BROKEN = {
    "no TIFF": {"exif": b"Exif\0\0this is none of the kind, at all"},
    "cut": {"exif": b"Exif\0\0II*\0\x08\0\0"},
}


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
@pytest.mark.parametrize("damage", BROKEN)
def test_a_damaged_note_costs_no_picture(tmp_path, clip, kind, damage):
    path = str(tmp_path / f"a.{kind}")
    photo().save(path, lossless=True, **BROKEN[damage])
    found = read_picture(path)
    assert found.size == (48, 32)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(photo())).mean() < 8
    notes = []
    features, rows, skipped = encode_files(clip, [path, path], note=notes.append)
    assert rows == [0, 1] and not skipped
    (note,) = notes
    assert note.startswith(f"{path}: its EXIF or XMP is damaged (")
    assert note.endswith("), so it is taken as its pixels lie; so with 1 more")
    with Image.open(path) as opened:  # again and again the same
        for _ in range(2):
            encoded = clip.encode_image([opened])
            torch.testing.assert_close(encoded, features[:1], atol=1e-5, rtol=0)


def test_damaged_xmp_costs_no_picture(tmp_path):
    image = photo()
    image.info["XML:com.adobe.xmp"] = b"\xff\xfe tiff:Orientation"  # bytes, where text belongs
    assert np.array_equal(composite(image), photo())
