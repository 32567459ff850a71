"""The figures: what is drawn is what was given, and nothing is shown."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from clipnotes import plots


@pytest.fixture(autouse=True)
def _no_show(monkeypatch):
    mpl.use("Agg")
    monkeypatch.setattr(plt, "show", lambda *_: pytest.fail("a figure function called show"))
    yield
    plt.close("all")


def drawn(ax):
    return np.asarray(ax.images[0].get_array())


def test_to_picture_fills_zero_to_one_in_each_channel():
    pixels = torch.stack([torch.linspace(-2, 5, 12), torch.linspace(0, 1, 12), torch.zeros(12)])
    picture = plots.to_picture(pixels.view(3, 3, 4))
    assert picture.shape == (3, 4, 3)
    assert picture[..., :2].min() == 0 and picture[..., :2].max() == 1
    assert np.isfinite(picture).all(), "a flat channel divides by nothing"


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


@pytest.mark.parametrize("two_sided", [False, True])
def test_maps_share_one_scale(two_sided):
    values = torch.tensor([[[0.0, 1.0]], [[-3.0, 2.0]]])
    axes = plots.maps(values, ["a", "b"], two_sided=two_sided, mark=[(0, 1), (0, 0)])
    limits = {ax.images[0].get_clim() for ax in axes}
    assert limits == {(-3.0, 3.0) if two_sided else (-3.0, 2.0)}
    np.testing.assert_array_equal(drawn(axes[1]), values[1])
    assert [ax.get_title() for ax in axes] == ["a", "b"]
    assert [patch.get_xy() for ax in axes for patch in ax.patches] == [(0.5, -0.5), (-0.5, -0.5)]


def test_attention_is_bright_where_it_looks():
    pixels = torch.rand(3, 4, 4)
    look = torch.tensor([[[1.0, 0.0], [0.0, 0.5]]])
    shown = drawn(plots.attention_over(pixels, look)[0])
    picture = plots.to_picture(pixels)
    np.testing.assert_allclose(shown[:2, :2], picture[:2, :2], atol=1e-6)
    np.testing.assert_allclose(shown[:2, 2:], 0.15 * picture[:2, 2:], atol=1e-6)
    np.testing.assert_allclose(shown[2:, 2:], 0.575 * picture[2:, 2:], atol=1e-6)


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


def test_a_token_map_names_its_rows_and_frames_one():
    ax = plots.token_map(torch.tensor([[1.0, 0.0], [0.5, 0.5]]), ["start", "end"], mark=1)
    assert drawn(ax).tolist() == [[1, 0], [0.5, 0.5]]
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["start", "end"]
    (frame,) = ax.patches
    assert (frame.get_xy(), frame.get_width()) == ((-0.5, 0.5), 2)
    assert not plots.token_map(torch.eye(2), ["a", "b"]).patches
    with pytest.raises(ValueError, match=r"values is \(2, 3\); 2 tokens need \(2, 2\)"):
        plots.token_map(torch.zeros(2, 3), ["a", "b"])


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
    assert heights[0] > heights[1], "the first picture stands above"
    with pytest.raises(ValueError, match="zip"):
        plots.similarity(values, [red], ["x", "y", "z"])


def test_a_prompt_s_layout_shows_what_stands_where():
    tokens = [["<s>", "x</w>", "rose</w>", "x</w>", "</s>"], ["<s>", "x", "x", "</s>", "</s>"]]
    places, ends = torch.tensor([[3, 1], [1, 2]]), torch.tensor([4, 3])
    ax = plots.prompt_layout(tokens, places, ends)
    written = [(text.get_text(), int(text.get_position()[1])) for text in ax.texts]
    assert [text for text, row in written if row == 0] == ["start", "v2", "rose", "v1", "end"]
    assert [text for text, row in written if row == 1] == ["start", "v1", "v2", "end"]
    colours = [patch.get_facecolor() for patch in ax.patches]
    assert colours[0] == colours[4] and colours[1] == colours[3]  # start and end, context
    assert len({colours[0], colours[1], colours[2]}) == 3
    assert [patch.get_xy()[0] for patch in ax.patches[:2]] == [0.03, 1.03]
    assert ax.yaxis_inverted(), "the first prompt stands above"
    with pytest.raises(ValueError, match="zip"):
        plots.prompt_layout(tokens, places, ends[:1])


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
