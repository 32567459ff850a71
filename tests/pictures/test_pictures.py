"""Images in files: the right pixels, and what cannot be read."""

import contextlib
import sys
import threading
import types

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from clipnotes.data import composite
from clipnotes.pictures.folders import list_files
from clipnotes.pictures.reading import A_PIXEL, Files, each, encode_files, read_picture
from clipnotes.prompts.methods import PUBLISHED
from clipnotes.teach import compare
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
    reasons = {"nothing.png": "not an image in a format", "text.png": "not an image in a format"}
    reasons |= {"cut.png": "truncated|broken", "nowhere.png": "No such file"}
    reasons |= {"float.tif": "fractions", "deep.tif": "32 bits, and nothing"}
    reasons |= {"thin.png": "too narrow", "a folder": "Is a directory"}
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


def test_a_broken_picture_never_takes_others_along(clip, tmp_path, monkeypatch):
    """Also one that breaks after it was decoded, or that is too large for the memory."""
    files = [str(path) for path in list_files(make_folders(tmp_path, n=2))]
    real, calls = clip.image_processor, iter(range(len(files)))

    def fails(images, **arguments):
        if next(calls) in (1, 3):
            raise MemoryError
        return real(images, **arguments)

    monkeypatch.setattr("clipnotes.pictures.reading.THREADS", 1)
    monkeypatch.setattr(clip, "image_processor", fails)
    features, rows, skipped = encode_files(clip, files)
    assert rows == [0, 2, 4, 5] and len(features) == 4
    said = [(one.path, one.reason) for one in skipped]
    assert said == [(files[i], "MemoryError") for i in (1, 3)]


# Memory and threads

BLOCK = 2**16


@pytest.fixture
def open_bytes(clip, monkeypatch):
    """What Pillow holds, looked at whenever an image goes into the image processor."""
    before = Image.core.get_block_size()
    Image.core.set_block_size(BLOCK)
    seen, real = [], clip.image_processor

    def blocks():
        stats = Image.core.get_stats()
        return stats["allocated_blocks"] - stats["freed_blocks"]

    others = blocks()  # what other tests keep open

    def look(images, **arguments):
        seen.append((blocks() - others) * BLOCK)
        return real(images, **arguments)

    monkeypatch.setattr(clip, "image_processor", look)
    yield seen
    Image.core.set_block_size(before)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Forty in two classes, each of a megabyte when it is open."""
    top = tmp_path_factory.mktemp("photos")
    image = Image.radial_gradient("L").convert("RGB").resize((512, 512))
    for name in ("one", "two"):
        (top / name).mkdir()
        for i in range(20):
            image.rotate(i).save(top / name / f"{i:02}.jpg")
    return top


MEGABYTE = 2**20


@pytest.mark.parametrize(("limit", "bound"), [(0, 2), (4, 8)])
def test_bytes_bound_how_many_pictures_are_open(
    clip, photos, monkeypatch, open_bytes, limit, bound
):
    """With 0, one is open alone, however large. The bound counts an image and a copy of it."""
    monkeypatch.setattr("clipnotes.pictures.reading.READING", limit * MEGABYTE // 4 * A_PIXEL)
    monkeypatch.setattr("clipnotes.pictures.reading.THREADS", 8)
    _, rows, _ = encode_files(clip, [str(path) for path in list_files(photos)])
    assert len(rows) == len(open_bytes) == 40
    assert max(open_bytes) <= bound * MEGABYTE + BLOCK * 8


@pytest.mark.parametrize("method", PUBLISHED)
def test_no_method_holds_pictures(clip, photos, monkeypatch, open_bytes, method):
    monkeypatch.setattr("clipnotes.pictures.reading.READING", 0)
    found = compare(clip, photos, [method], shots=8, seeds=[0], epochs=1)
    assert found.rows[method].accuracies
    twice = ("vpt", "maple", "promptsrc", "lora", "prolip")
    assert len(open_bytes) == 40 * (2 if method in twice else 1)
    assert max(open_bytes) <= 2 * MEGABYTE + BLOCK * 8


# What needs another package


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
AVIF = b"\0\0\0\x20ftypmif1\0\0\0\0mif1avifmiafMA1B"


def test_heic_is_named_and_what_opens_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # not installed
    for kind in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        path = tmp_path / "a.jpg"  # phones and people rename
        path.write_bytes(HEIC.replace(b"ftypheic", b"ftyp" + kind))
        with pytest.raises(ValueError, match=r"a HEIC image, .*: pip install pillow-heif"):
            read_picture(path)


def test_heic_is_read_where_the_package_is(tmp_path, monkeypatch):
    """With a package of that name that knows one image."""
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(HEIC)

    class Opened(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self):
            self._size, self._mode, self.tile = (4, 2), "RGB", []

        def load(self):
            if self.tile == []:
                self.tile = None
                self.im = Image.new("RGB", (4, 2), "red").im
            return super().load() if self.tile else None

    def register_heif_opener():
        Image.register_open("HEIF", Opened, lambda head: head[4:12] == b"ftypheic")

    fake = types.SimpleNamespace(register_heif_opener=register_heif_opener)
    monkeypatch.setitem(sys.modules, "pillow_heif", fake)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    assert read_picture(path).getpixel((3, 1)) == (255, 0, 0)


def test_avif_says_so_where_pillow_is_too_old(tmp_path, monkeypatch):
    path = tmp_path / "a.avif"
    path.write_bytes(AVIF)
    Image.init()
    monkeypatch.delitem(Image.OPEN, "AVIF", raising=False)
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "AVIF"])
    with pytest.raises(ValueError, match=r"an AVIF image, .*: pip install -U pillow"):
        read_picture(path)
    path.write_bytes(AVIF.replace(b"mif1", b"isom").replace(b"avif", b"isom"))
    with pytest.raises(ValueError, match="not an image in a format that Pillow reads"):
        read_picture(path)


def test_reading_uses_several_threads_and_keeps_the_order(photos):
    paths = [str(path) for path in list_files(photos)]
    seen, both = set(), threading.Barrier(2)

    def make(image):
        if len(seen) < 2:
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(timeout=60)  # nobody comes by alone
        seen.add(threading.get_ident())
        return image.getpixel((256, 300))

    found = [read.made for read in each(paths, make)]
    assert len(seen) > 1 and threading.get_ident() not in seen
    assert found == [read_picture(path).getpixel((256, 300)) for path in paths]


def test_files_that_are_gone_are_named(clip, photos):
    files = Files([str(list_files(photos)[0]), "nowhere.png"])
    for read in (lambda: files[1], lambda: list(files.pixels(clip))):
        with pytest.raises(ValueError, match=r"nowhere\.png: No such file"):
            read()
