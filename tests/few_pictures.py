"""What the tests of training, evaluation and baselines share: a few fruits, few classes."""

from clipnotes.data import load_emoji
from clipnotes.prompts import PromptLearner

CLASSES = ["grapes", "melon", "banana", "cherries", "tomato"]
STYLES = ["noto", "fxemoji", "emojione"]


def fruits(styles=STYLES):
    """Pictures and names: each class once in each style."""
    rows = load_emoji(style=styles, category="food-fruit")
    chosen = [i for i, name in enumerate(rows["name"]) if name in CLASSES]
    rows = rows.select(chosen)
    assert len(rows) == len(CLASSES) * len(styles)
    return list(rows["image"]), list(rows["name"])


def small_learner(clip, **arguments):
    return PromptLearner(clip, CLASSES, n_ctx=2, **arguments)
