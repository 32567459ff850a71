"""Images of more than 8 bits: the right brightness, or no image and the reason."""

import io

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from clipnotes.pictures.depth import to_8_bits
from clipnotes.pictures.reading import each, read_picture

LADDER = np.arange(16, dtype=np.uint64).reshape(4, 4)  # 0 to 15; times 17, 0 to 255


def grey(values, name="TIFF", **tags):
    """Save and open an image of these values, with tags of TIFF by their numbers."""
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    arguments = {}
    if tags:
        arguments["tiffinfo"] = TiffImagePlugin.ImageFileDirectory_v2()
        for number, value in tags.items():
            arguments["tiffinfo"][int(number[1:])] = value
    file = io.BytesIO()
    image.save(file, name, **arguments)
    opened = Image.open(io.BytesIO(file.getvalue()))
    opened.load()
    return opened


def packed_12_bits(values):
    """A TIFF of 12 bits a pixel, two in three bytes, as a camera writes it; Pillow writes none."""
    pairs = values.reshape(-1, 2).astype(int)
    rows = [[a >> 4, (a & 15) << 4 | b >> 8, b & 255] for a, b in pairs]
    data = np.array(rows, np.uint8).tobytes()
    height, width = values.shape
    tags = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: height}
    tags[279] = len(data)
    directory = len(tags).to_bytes(2, "little")
    for number, value in sorted(tags.items()):
        directory += number.to_bytes(2, "little") + (4).to_bytes(2, "little")
        directory += (1).to_bytes(4, "little") + value.to_bytes(4, "little")
    start = 8 + len(data) + len(data) % 2
    head = b"II*\0" + start.to_bytes(4, "little") + data + b"\0" * (len(data) % 2)
    return Image.open(io.BytesIO(head + directory + b"\0" * 4))


def values_of(made):
    assert made.mode == "L"
    return np.asarray(made).astype(int)


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_16_bits_keep_the_upper_8(name):
    made, said = to_8_bits(grey((LADDER * 4369).astype(np.uint16), name))
    assert said is None
    assert (values_of(made) == LADDER * 17).all()


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_12_bits_in_16_are_taken_for_12_and_it_is_said(name):
    made, said = to_8_bits(grey((LADDER * 273).astype(np.uint16), name))  # to 4095
    assert (values_of(made) == LADDER * 17).all()
    assert said == "its 16 bits use the lowest 12 alone, so 4095 is taken for white"


def test_one_value_above_12_bits_is_enough_for_16():
    values = (LADDER * 273).astype(np.uint16)
    values[3, 3] = 4096
    made, said = to_8_bits(grey(values))
    assert said is None and values_of(made).max() == 16


def test_12_bits_that_the_file_declares():
    made, said = to_8_bits(packed_12_bits(LADDER * 273))
    assert said is None
    assert (values_of(made) == LADDER * 17).all()


def test_a_dark_picture_that_says_how_bright_it_could_be_stays_dark():
    dark = (LADDER * 273).astype(np.uint16)
    made, said = to_8_bits(grey(dark, _281=65535))
    assert said is None and values_of(made).max() == 15
    made, said = to_8_bits(grey(dark, _281=4095))  # that says 12 bits, but not in so many words
    assert values_of(made).max() == 255 and "4095" in said
    pgm = Image.open(io.BytesIO(b"P5 2 1 4095\n" + bytes([0, 200, 0, 100])))
    made, said = to_8_bits(pgm)
    assert said is None and values_of(made).max() == 200 * 256 // 4096


def test_black_is_black_however_many_bits():
    made, said = to_8_bits(grey(np.zeros((4, 4), np.uint16)))
    assert said is None and values_of(made).max() == 0


@pytest.mark.parametrize("white", [255, 4095, 65535])
def test_32_bits_go_by_what_the_file_says(white):
    values = (LADDER * white // 15).astype(np.int32)
    made, said = to_8_bits(grey(values, _281=white))
    assert said is None
    assert np.abs(values_of(made) - LADDER.astype(int) * 17).max() <= 1
    with pytest.raises(ValueError, match="whole numbers of 32 bits, and nothing says which is whi"):
        to_8_bits(grey(values))


def test_32_bits_without_a_sign():
    """Pillow writes none, and reads them with a sign."""
    white = 2**32 - 1
    opened = grey((LADDER * white // 15).astype(np.uint32).view(np.int32))
    opened.tag_v2[339] = 1
    opened.tag_v2.tagtype[341] = 4
    opened.tag_v2[341] = white
    made, _ = to_8_bits(opened)
    assert np.abs(values_of(made) - LADDER.astype(int) * 17).max() <= 1


def test_0_can_be_white():
    made, _ = to_8_bits(grey((65535 - LADDER * 4369).astype(np.uint16), _262=0))
    assert (values_of(made) == LADDER * 17).all()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (lambda: grey(np.full((2, 2), -1, np.int32), _281=255), "values below 0"),
        (lambda: grey(np.full((2, 2), 300, np.int32), _281=255), "brightest .* 255, and has 300"),
        (lambda: grey(np.full((2, 2), 300, np.int32), _281=0), "nothing says which is white"),
        (lambda: grey(np.full((2, 2), 9, np.uint16)), "its 16 bits go to 9 only"),
        (lambda: grey(np.full((2, 2), 0.5, np.float32)), "fractions"),
    ],
)
def test_where_nothing_tells_there_is_no_picture(image, words):
    with pytest.raises(ValueError, match=words + ".*; save it in 8 bits, or in all of 16"):
        to_8_bits(image())


def colours(tmp_path, brightest):
    """A PNG with 16 bits a colour, which Pillow reads and does not write."""
    import zlib

    row = b"\0" + b"".join(int(v).to_bytes(2, "big") for v in (brightest, 0, brightest // 2) * 2)
    parts = {b"IHDR": (2).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])}
    parts |= {b"IDAT": zlib.compress(row * 2), b"IEND": b""}
    file = b"\x89PNG\r\n\x1a\n"
    for kind, data in parts.items():
        file += len(data).to_bytes(4, "big") + kind + data
        file += zlib.crc32(kind + data).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(file)
    return tmp_path / "a.png"


def test_colours_of_12_bits_in_16_are_lost_and_refused(tmp_path):
    assert read_picture(colours(tmp_path, 65535)).getpixel((0, 0)) == (255, 0, 127)
    assert read_picture(colours(tmp_path, 4096)).getpixel((0, 0)) == (16, 0, 8)
    with pytest.raises(ValueError, match="colours of 16 bits use the lowest 12"):
        read_picture(colours(tmp_path, 4095))
    assert read_picture(colours(tmp_path, 0)).getpixel((0, 0)) == (0, 0, 0)
    # Dark, but of 8 bits: nothing was lost.
    Image.new("RGB", (4, 4), (15, 0, 7)).save(tmp_path / "dark.png")
    assert read_picture(tmp_path / "dark.png").getpixel((0, 0)) == (15, 0, 7)


def test_what_was_assumed_of_a_file_is_said(tmp_path):
    Image.fromarray((LADDER * 273).astype(np.uint16)).save(tmp_path / "a.tif")
    (read,) = each([str(tmp_path / "a.tif")], lambda image: image.getpixel((3, 3)))
    assert read.made == (255, 255, 255)
    assert read.remark.startswith("its 16 bits use the lowest 12 alone")
