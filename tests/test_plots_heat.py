"""Maps over patches: one scale, the right cells, the picture below."""

import numpy as np
import pytest
import torch
from drawing import drawn

from clipnotes import plots

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
