"""Lines: the numbers that were given, with names."""

import pytest

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
