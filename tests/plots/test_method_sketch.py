"""The sketch of a method colours what it learns, where it learns it, and nothing else."""

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from clipnotes import plots

pytestmark = pytest.mark.usefixtures("nothing_shown")
LAYERS = (6, 3)


def coloured(ax):
    """(x, y) of the boxes and circles that are filled as learned, from left to right."""
    solid = [p for p in ax.patches if not isinstance(p, FancyArrowPatch)]
    learned = [p for p in solid if p.get_facecolor() == to_rgba(plots.ACCENT)]
    whole = [p.get_path().get_extents(p.get_patch_transform()) for p in learned]
    return sorted(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) for box in whole)


def rows(ax):
    """How many are coloured in the image's row and in the text's."""
    heights = [y for _, y in coloured(ax)]
    return sum(y > 26 for y in heights), sum(y < 18 for y in heights)


@pytest.mark.parametrize(
    ("learned", "expected"),
    [
        ({}, (0, 0)),
        ({"text": 1}, (0, 2)),  # two tokens stand for all
        ({"image": 1}, (2, 0)),
        ({"image": 6}, (2 + 5, 0)),  # and fresh ones in each of the later layers
        ({"image": 3, "text": 3}, (2 + 2, 2 + 2)),
        ({"also": ["cache"]}, (1, 0)),
        ({"also": ["class features"]}, (0, 1)),
        ({"text": 1, "also": ["near the sentence"]}, (0, 2)),
    ],
)
def test_what_is_learned_is_coloured_in_its_row(learned, expected):
    ax = plots.method_sketch("name", LAYERS, **learned)
    assert rows(ax) == expected
    assert ax.get_title(loc="left") == "name"


def test_each_layer_is_a_box():
    def boxes(n_layers):
        return len(plots.method_sketch("", n_layers).patches)

    assert boxes((7, 3)) == boxes((6, 4)) == boxes(LAYERS) + 1


@pytest.mark.parametrize(
    ("learned", "labels"),
    [
        ({"text": 1, "also": ["image to text"]}, ["$h(u)$"]),
        ({"text": 1, "image": 1, "also": ["text to image"]}, ["$F_1$"]),
        ({"text": 3, "image": 3, "also": ["text to image"]}, ["$F_1$", r"$F_2 \dots F_{3}$"]),
        ({"also": ["cache"]}, ["cache"]),
    ],
)
def test_what_ties_the_towers_has_a_name_in_a_box(learned, labels):
    ax = plots.method_sketch("", LAYERS, **learned)
    named = [p for p in ax.patches if isinstance(p, FancyBboxPatch)]
    assert len(named) == len(labels)
    assert set(labels) <= {text.get_text() for text in ax.texts}


def test_words_stand_where_no_vectors_are():
    def words(**learned):
        return [t.get_text() for t in plots.method_sketch("", LAYERS, **learned).texts]

    assert {"a", "of"} <= set(words()) and "v" not in words()
    assert "a" not in words(text=1) and words(text=1).count("v") == 2
    assert "name" not in words(also=["class features"]), "the text tower is not asked"


def test_with_many_layers_the_fresh_tokens_stay_in_their_boxes():
    ax = plots.method_sketch("", (32, 32), image=32, text=32)
    small = [p for p in ax.patches if isinstance(p, Rectangle) and p.get_height() < 4]
    frames = [p for p in ax.patches if isinstance(p, Rectangle) and p.get_height() == 12]
    assert len(small) == 2 * 31
    for one in small:
        left, right = one.get_x(), one.get_x() + one.get_width()
        assert any(f.get_x() <= left and right <= f.get_x() + f.get_width() for f in frames)


def test_it_draws_where_it_is_told():
    _, ax = plt.subplots()
    assert plots.method_sketch("", LAYERS, ax=ax) is ax


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"image": 7}, "image is 7; give 0 to 6"),
        ({"text": -1}, "text is -1; give 0 to 3"),
        ({"also": ["a head"]}, r"also has \['a head'\]; known are image to text"),
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        plots.method_sketch("", LAYERS, **wrong)
