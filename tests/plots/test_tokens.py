"""Figures of texts: rows, columns and cells where they belong."""

import pytest
import torch

from clipnotes import plots
from drawing import drawn

pytestmark = pytest.mark.usefixtures("nothing_shown")


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
