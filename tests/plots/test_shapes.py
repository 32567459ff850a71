"""The drawing of shapes says what the tensors are, and refuses letters that do not fit."""

import matplotlib.pyplot as plt
import pytest
import torch

from clipnotes import plots

pytestmark = pytest.mark.usefixtures("nothing_shown")
X = torch.zeros(2, 3, 8, 8)


def test_each_tensor_is_named_with_letters_and_numbers_and_what_led_to_it():
    steps = [("", "pixel_values", "B, 3, S, S", X), ("flatten", "flat", "B, 3S²", X.flatten(1))]
    texts = [text.get_text() for text in plots.shapes(steps).texts]
    assert "(B, 3, S, S)" in texts
    assert "2 \N{MULTIPLICATION SIGN} 192" in texts
    assert "flatten" in texts


def test_it_draws_where_it_is_told():
    _, ax = plt.subplots()
    assert plots.shapes([("", "x", "B, 3, S, S", X)], ax=ax) is ax


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([], "no step was given"),
        ([("", "x", "B, D", X)], r"x has the letters 'B, D' and the shape \(2, 3, 8, 8\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(steps, said):
    with pytest.raises(ValueError, match=said):
        plots.shapes(steps)
