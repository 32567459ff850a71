"""What the installed version of transformers does, asked of small models with random weights.

A module for each part of the book; `facts` puts their answers together.
"""

from __future__ import annotations

import transformers

from _tools.versions.facts import clip, layout, needs, pictures, text, vision

__all__ = ["facts"]


def facts() -> dict[str, object]:
    """Everything that the book says about this version."""
    return {
        "transformers": transformers.__version__,
        **vision.facts(),
        **clip.facts(),
        **text.facts(),
        **pictures.facts(),
        **layout.facts(),
        **needs.facts(),
    }
