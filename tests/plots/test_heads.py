"""Maps by layer and head: each in its own place, and no place for anything else."""

import numpy as np
import pytest
import torch

from clipnotes import plots
from drawing import drawn

pytestmark = pytest.mark.usefixtures("nothing_shown")


def labels(ax):
    return [
        [label.get_text() for label in get()] for get in (ax.get_yticklabels, ax.get_xticklabels)
    ]


def test_values_stand_in_the_row_of_their_layer_and_the_column_of_their_head():
    values = torch.arange(2 * 3 * 8 * 4.0).view(2, 3, 8, 4) - 50
    ax = plots.by_head(values)
    whole, tall, wide = drawn(ax), 8 + 1, 4 + 1  # a gap of one
    assert whole.shape == (2 * tall - 1, 3 * wide - 1)
    for layer in range(2):
        for head in range(3):
            tile = whole[layer * tall :, head * wide :][:8, :4]
            np.testing.assert_array_equal(tile, values[layer, head])
    assert np.ma.getmaskarray(ax.images[0].get_array())[8].all(), "nothing in the gaps"
    assert labels(ax) == [["layer 0", "layer 1"], ["head 0", "head 1", "head 2"]]
    assert ax.get_xticks().tolist() == [1.5, 6.5, 11.5]
    assert ax.get_yticks().tolist() == [3.5, 12.5]
    assert ax.images[0].get_clim() == (-50.0, 141.0)
    ax = plots.by_head(values, two_sided=True, label="amount")
    assert ax.images[0].get_clim() == (-141.0, 141.0)
    assert ax.images[0].colorbar.ax.get_ylabel() == "amount"


def test_over_a_picture_each_map_is_scaled_by_itself():
    pixels = torch.rand(3, 16, 16)
    values = torch.rand(2, 2, 4, 4) * torch.tensor([1.0, 100.0]).view(1, 2, 1, 1)
    ax = plots.by_head(values, pixels)
    step = 16 + 2
    for layer in range(2):
        for head in range(2):
            tile = drawn(ax)[layer * step :, head * step :][:16, :16]
            alone = drawn(plots.attention_over(pixels, values[layer, head][None])[0])
            np.testing.assert_array_equal(tile, alone)
    assert (drawn(ax)[16:18] == 1).all(), "white between them"
