"""What learners are given: read right, or refused with a reason."""

import numpy as np
import pytest
import torch
from PIL import Image

from clipnotes.prompts import inputs as samples
from few_pictures import CLASSES, fruits

NAMES = ["tulip", "beetle", "bear", "x", "rose"]
GREY = Image.new("RGB", (8, 8))


# Labels


@pytest.mark.parametrize(
    "labels",
    [
        ["beetle", "tulip", "rose"],
        ("beetle", "tulip", "rose"),
        [1, 0, 4],
        ["beetle", 0, 4],
        np.array([1, 0, 4]),
        torch.tensor([1, 0, 4]),
        torch.tensor([1, 0, 4], dtype=torch.int32),
    ],
)
def test_labels_are_names_or_numbers(labels):
    found = samples.check_labels(labels, NAMES, 3)
    assert found.dtype == torch.int64 and found.tolist() == [1, 0, 4]


@pytest.mark.parametrize(
    ("labels", "names", "error", "words"),
    [
        ("beetle", NAMES, TypeError, "labels is a str; give a list"),
        (3, NAMES, TypeError, "labels is a int; give a list"),
        (torch.zeros(2, 1).long(), NAMES, ValueError, r"labels has shape \(2, 1\); give \(2,\)"),
        (torch.tensor(1), NAMES, ValueError, r"labels has shape \(\); give \(2,\)"),
        ([0], NAMES, ValueError, "2 images and 1 labels were given"),
        ([0, 1, 2], NAMES, ValueError, "2 images and 3 labels were given"),
        ([0, 5], NAMES, ValueError, "label 1 is 5; 5 classes have the numbers 0 to 4$"),
        ([-1, 0], NAMES, ValueError, "label 0 is -1; 5 classes"),
        ([0, True], NAMES, TypeError, "label 1 is True; give the number or the name"),
        ([0, 1.0], NAMES, TypeError, "label 1 is 1.0"),
        ([0, None], NAMES, TypeError, "label 1 is None"),
        (["x", "y"], NAMES, ValueError, "label 1 is 'y', .* tulip, beetle, bear, x, rose$"),
        (["y", "x"], [*NAMES, "fox"], ValueError, "label 0 .*: tulip, beetle, bear, x, rose, ...$"),
    ],
)
def test_labels_that_do_not_fit(labels, names, error, words):
    with pytest.raises(error, match=words):
        samples.check_labels(labels, names, 2)


def test_shots_are_those_of_the_rarest_class():
    assert samples.count_shots(torch.tensor([2, 0, 1, 0, 1, 0, 2, 2]), NAMES[:3]) == 2
    with pytest.raises(ValueError, match="the class 'beetle' has no image"):
        samples.count_shots(torch.tensor([0, 2, 2]), NAMES[:3])
    with pytest.raises(ValueError, match="the class 'x' has no image"):
        samples.count_shots(torch.tensor([0, 1, 2]), NAMES[:4])


# Images


def test_a_picture_is_read_by_its_number():
    red, blue = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
    assert samples.picture([red, blue], 1).getpixel((0, 0)) == (0, 0, 255)


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        ("a.png", TypeError, "image 1: a str"),
        (Image.new("CMYK", (4, 4)), ValueError, "image 1: "),
        (Image.new("RGB", (0, 4)), ValueError, "image 1 is 0 x 4 pixels"),
        (Image.new("RGB", (4, 0)), ValueError, "image 1 is 4 x 0 pixels"),
    ],
)
def test_a_picture_that_cannot_be_read_is_named_by_its_number(image, error, words):
    with pytest.raises(error, match=words):
        samples.picture([GREY, image], 1)


def test_pictures_are_encoded_in_parts_and_stay_in_order(clip, monkeypatch):
    images, _ = fruits()
    whole = clip.encode_image(images[:5])
    monkeypatch.setattr("clipnotes.pictures.batches.BATCH", 2)
    found = samples.encode_pictures(clip, images[:5])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=0)
    assert samples.encode_pictures(clip, []).shape == (0, 128)


WANTED = r"give PIL images, or the \(n, 128\) tensor that clip.encode_image\(images\) returns"


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (GREY, TypeError, f"images is a Image; {WANTED}"),
        ("a.png", TypeError, "images is a str"),
        (b"a", TypeError, "images is a bytes"),
        (iter([GREY]), TypeError, "images is a list_iterator"),
        ([], ValueError, f"images is empty; {WANTED}"),
        (torch.zeros(0, 128), ValueError, "images is empty"),
        (torch.tensor(1.0), ValueError, rf"images is a tensor of shape \(\); {WANTED}"),
        (torch.eye(128)[0], ValueError, rf"of shape \(128,\) and torch.float32; {WANTED}"),
        (torch.eye(127), ValueError, r"of shape \(127, 127\)"),
        (torch.eye(128)[None], ValueError, r"of shape \(1, 128, 128\)"),
        (torch.eye(128).long(), ValueError, "and torch.int64"),
        (torch.eye(128) * torch.tensor([1, 1.02]).repeat(64)[:, None], ValueError, "feature 1 has"),
        (torch.eye(128) * 0.98, ValueError, "feature 0 has length 0.98;"),
        (torch.eye(128) * torch.nan, ValueError, "feature 0 has length nan"),
    ],
)
def test_features_that_do_not_fit(clip, images, error, words):
    with pytest.raises(error, match=words):
        samples.check_images(clip, images)


def test_features_rounded_by_half_precision_are_taken(clip):
    features = torch.nn.functional.normalize(torch.ones(2, 128), dim=-1)
    found = samples.check_images(clip, (features * 1.004).bfloat16().requires_grad_())
    assert found.dtype == torch.float32 and not found.requires_grad


def test_pixels_become_float32_without_a_gradient(clip):
    pixels = torch.zeros(2, 3, 64, 64, dtype=torch.float64, requires_grad=True)
    found = samples.check_pixels(clip, pixels)
    assert found.dtype == torch.float32 and not found.requires_grad


def test_pictures_are_left_as_they_are_until_they_are_read(clip):
    """A lazy sequence may be larger than the memory."""

    class Lazy(list):
        def __getitem__(self, i):
            raise AssertionError("read")

    lazy = Lazy([GREY] * len(CLASSES))
    assert samples.check_images(clip, lazy) is lazy
    assert samples.check_pixels(clip, lazy) is lazy
