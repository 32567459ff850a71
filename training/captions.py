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


def caption(row: dict, hardness: float, rng: random.Random) -> tuple[str, int]:
    """Draw a caption for a row, and its kind; `hardness` 0 gives names only, 1 all kinds."""
    template = rng.choice(TEMPLATES) if rng.random() < hardness else TEMPLATES[4]
    draw = rng.random()  # at full hardness a fifth has keywords, and another fifth the category
    if draw < 0.2 * hardness:
        return template.format(row["category"].replace("-", " ")), CATEGORY
    if draw < 0.4 * hardness and row["keywords"]:
        words = rng.sample(row["keywords"], k=min(len(row["keywords"]), rng.randint(1, 3)))
        if len(words) < 3 or rng.random() < 0.5:  # one keyword alone rarely names one thing
            words.insert(rng.randint(0, len(words)), row["name"])
        return template.format(" ".join(words)), KEYWORDS
    return template.format(row["name"]), NAME
