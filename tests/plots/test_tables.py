"""Tables of numbers: each number in its cell, under its name."""

import numpy as np
import pytest
import torch
from PIL import Image

from clipnotes import plots
from drawing import drawn

pytestmark = pytest.mark.usefixtures("nothing_shown")


def test_a_table_of_pictures_and_texts():
    red, blue = Image.new("RGB", (2, 2), "red"), Image.new("RGB", (2, 2), "blue")
    values = torch.tensor([[0.5, -0.25, -0.001], [0.126, 0.9, 0.3]])
    ax = plots.similarity(values, [red, blue], ["x", "y", "z"])
    np.testing.assert_array_equal(drawn(ax), values)
    written = {text.get_position(): text.get_text() for text in ax.texts}
    assert [written[x, 0] for x in range(3)] == ["0.50", "-0.25", "0.00"]
    assert [written[x, 1] for x in range(3)] == ["0.13", "0.90", "0.30"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["x", "y", "z"]
    rows = [tuple(drawn(place)[0, 0]) for place in ax.child_axes]
    assert rows == [(255, 0, 0), (0, 0, 255)]
    ax.figure.canvas.draw()  # an inset finds its place when it is drawn
    heights = [place.get_window_extent().y0 for place in ax.child_axes]
    assert heights[0] > heights[1], "the first image stands above"
    with pytest.raises(ValueError, match="zip"):
        plots.similarity(values, [red], ["x", "y", "z"])


def test_a_confusion_matrix_is_shaded_by_rows_and_counts():
    matrix = torch.tensor([[3, 1, 0], [0, 0, 0], [0, 2, 2]])
    ax = plots.confusion(matrix, ["a", "b", "c"])
    expected = [[0.75, 0.25, 0], [0, 0, 0], [0, 0.5, 0.5]]
    np.testing.assert_allclose(drawn(ax), expected)
    assert ax.images[0].get_clim() == (0, 1)
    written = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in ax.texts}
    assert written == {(0, 0): "3", (0, 1): "1", (2, 1): "2", (2, 2): "2"}
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b", "c"]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("true class", "class said")
    assert not plots.confusion(torch.eye(31), [str(i) for i in range(31)]).texts, "too small"
    with pytest.raises(ValueError, match="2 names"):
        plots.confusion(matrix, ["a", "b"])
