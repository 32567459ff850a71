"""Lines: the numbers that were given, with names."""

import pytest
import torch

from clipnotes import plots

pytestmark = pytest.mark.usefixtures("nothing_shown")


def test_curves_are_named():
    ax = plots.curves([0, 1], {"a": [1, 2], "b": [3, 4]}, "step", "loss")
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    assert ax.lines[1].get_ydata().tolist() == [3, 4]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss")
    assert not ax.collections
    ax = plots.curves([0, 1], {"a": [1, 2], "b": [3, 4]}, "x", "y", spread={"b": [0.5, 0.25]})
    (band,) = ax.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    assert corners == {(0, 2.5), (0, 3.5), (1, 3.75), (1, 4.25)}


def test_what_was_measured_often_has_a_mean_and_a_band():
    many = torch.tensor([[1.0, 3.0], [5.0, 5.0], [0.0, 8.0]])
    ax = plots.by_depth({"class token": many, "once": torch.tensor([1.0, 2.0, 3.0])}, "length")
    assert [line.get_ydata().tolist() for line in ax.lines] == [[2, 5, 4], [1, 2, 3]]
    assert ax.get_xticks().tolist() == [0, 1, 2]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("layers passed", "length")
    (band,) = ax.collections  # of the first line only
    heights = band.get_paths()[0].vertices[:, 1]
    spread = 2**0.5 * 4  # the standard deviation of 0 and 8
    assert heights.min() == pytest.approx(4 - spread) and heights.max() == pytest.approx(4 + spread)
