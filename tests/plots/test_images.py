"""Images as figures: what is drawn is what was given."""

import numpy as np
import pytest
import torch
from PIL import Image

from clipnotes import plots
from drawing import drawn

pytestmark = pytest.mark.usefixtures("nothing_shown")


def test_to_picture_fills_zero_to_one_in_each_channel():
    pixels = torch.stack([torch.linspace(-2, 5, 12), torch.linspace(0, 1, 12), torch.zeros(12)])
    picture = plots.to_picture(pixels.view(3, 3, 4))
    assert picture.shape == (3, 4, 3)
    assert picture[..., :2].min() == 0 and picture[..., :2].max() == 1
    assert (picture[..., 2] == 1).all(), "a channel of one value is as bright as white paper"


def test_patches_are_the_picture_taken_apart():
    pixels = torch.rand(3, 16, 24)
    whole, apart = (drawn(ax) for ax in plots.patches(pixels, 8))
    assert whole.shape == (16, 24, 3)
    step = 8 + 1  # a gap of one pixel
    assert apart.shape == (2 * step - 1, 3 * step - 1, 3)
    for row in range(2):
        for column in range(3):
            piece = apart[row * step :, column * step :][:8, :8]
            np.testing.assert_array_equal(piece, whole[row * 8 :, column * 8 :][:8, :8])


def test_patch_numbers_start_after_the_class_token():
    axes = plots.patches(torch.rand(3, 16, 16), 8, numbers=True)
    assert [text.get_text() for text in axes[1].texts] == ["1", "2", "3", "4"]


def test_filters_come_strongest_first():
    weight = torch.zeros(3, 3, 2, 2)
    weight[0, 0], weight[1, 1], weight[2, 2] = 1.0, 3.0, 2.0
    axes = plots.filters(weight, count=2)
    assert len(axes) == 2
    assert [int(drawn(ax)[0, 0].argmax()) for ax in axes] == [1, 2]


def test_rows_of_pictures():
    red, blue = Image.new("RGB", (2, 2), "red"), Image.new("RGB", (2, 2), "blue")
    axes = plots.pictures([red, blue, red], ["x", "y", "z"], columns=2)
    assert [tuple(drawn(ax)[0, 0]) for ax in axes] == [(255, 0, 0), (0, 0, 255), (255, 0, 0)]
    table = plots.neighbours([red, blue], [[blue, red], [red, blue]])
    assert [[int(drawn(ax)[0, 0, 0]) for ax in row] for row in table] == [
        [255, 0, 255],
        [0, 255, 0],
    ]
    with pytest.raises(ValueError, match="zip"):
        plots.neighbours([red], [])
