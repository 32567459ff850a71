"""The captions that Emoji-CLIP learns from: a name, its keywords or its category, in a template."""

from __future__ import annotations

import random

TEMPLATES = (
    "{}",
    "{}.",
    "a {}",
    "a {}.",
    "an emoji of a {}",
    "an emoji of a {}.",
    "an emoji of the {}",
    "a picture of a {}",
    "a picture of a {}.",
    "a photo of a {}.",
    "a drawing of a {}",
    "an icon of a {}",
    "a {} emoji",
    "the {} symbol",
)

NAME, KEYWORDS, CATEGORY = 0, 1, 2


def category_words(category: str) -> str:
    """Write a category for a caption: 'animal-mammal' becomes 'animal mammal'."""
    return category.replace("-", " ")


def caption(row: dict, hardness: float, rng: random.Random) -> tuple[str, int]:
    """Draw a caption for a row of the data set, and return it with its kind.

    The kind is NAME, KEYWORDS or CATEGORY; a category caption fits every picture of the category.
    With a `hardness` of 0 there are only names. With 1, a fifth of the captions has keywords, and
    another fifth the category.
    """
    template = rng.choice(TEMPLATES) if rng.random() < hardness else TEMPLATES[4]
    draw = rng.random()
    if draw < 0.2 * hardness:
        return template.format(category_words(row["category"])), CATEGORY
    if draw < 0.4 * hardness and row["keywords"]:
        words = rng.sample(row["keywords"], k=min(len(row["keywords"]), rng.randint(1, 3)))
        if len(words) < 3 or rng.random() < 0.5:  # one keyword alone rarely names one thing
            words.insert(rng.randint(0, len(words)), row["name"])
        return template.format(" ".join(words)), KEYWORDS
    return template.format(row["name"]), NAME
