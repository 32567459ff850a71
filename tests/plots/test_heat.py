"""Maps over patches: one scale, the right cells, the image below."""

import numpy as np
import pytest
import torch

from clipnotes import plots
from drawing import drawn

pytestmark = pytest.mark.usefixtures("nothing_shown")


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


def test_maps_may_differ_in_size():
    axes = plots.maps([torch.zeros(2, 2), torch.ones(3, 5)], columns=2)
    assert [drawn(ax).shape for ax in axes] == [(2, 2), (3, 5)]
    assert {ax.images[0].get_clim() for ax in axes} == {(0.0, 1.0)}


def test_maps_of_texts_lie_over_the_picture_in_grey():
    pixels, values = torch.rand(3, 8, 12), torch.tensor([[[0.5, -0.25, 0.0]], [[0.0, 1.0, 0.5]]])
    first, *others = plots.text_maps(pixels, values, ["a rose", "a bee"])
    np.testing.assert_allclose(drawn(first), plots.to_picture(pixels), atol=1e-6)
    assert [ax.get_title() for ax in others] == ["a rose", "a bee"]
    for ax, each in zip(others, values, strict=True):
        below, above = ax.images
        np.testing.assert_allclose(below.get_array(), plots.to_picture(pixels).mean(-1))
        np.testing.assert_array_equal(above.get_array(), each)
        assert above.get_clim() == (-0.25, 1.0), "one scale for all texts"
        assert above.get_extent() == below.get_extent(), "a patch lies over its own pixels"
    with pytest.raises(ValueError, match="2 maps and 1 texts"):
        plots.text_maps(pixels, values, ["a rose"])


def test_positions_are_compared_with_the_middle_one():
    table = torch.randn(4, 6, 5)
    one, other = plots.positions([table, table[:2, :2]], ["learned", "cut"])
    assert drawn(one).shape == (4, 6) and drawn(other).shape == (2, 2)
    assert drawn(one)[2, 3] == pytest.approx(1, abs=1e-6)
    a, b = table[0, 1], table[2, 3]
    assert drawn(one)[0, 1] == pytest.approx((a @ b / (a.norm() * b.norm())).item(), abs=1e-6)
    low, high = one.images[0].get_clim()
    assert low == -high == pytest.approx(-1, abs=1e-6)
    assert other.get_title() == "cut"
