"""The figures of the book: functions that take tensors or images and return matplotlib Axes.

They never call ``show`` and never run a model: they draw only what they are given.
"""

from clipnotes.plots.heads import by_head
from clipnotes.plots.heat import attention_over, maps, positions, text_maps
from clipnotes.plots.images import filters, neighbours, patches, pictures, to_picture
from clipnotes.plots.lines import by_depth, curves
from clipnotes.plots.methods import method_sketch
from clipnotes.plots.shapes import shapes
from clipnotes.plots.tables import confusion, similarity
from clipnotes.plots.theme import ACCENT, HEAT, INK, QUIET, TWO_SIDED, style
from clipnotes.plots.tokens import prompt_layout, token_map

__all__ = [
    "ACCENT",
    "HEAT",
    "INK",
    "QUIET",
    "TWO_SIDED",
    "attention_over",
    "by_depth",
    "by_head",
    "confusion",
    "curves",
    "filters",
    "maps",
    "method_sketch",
    "neighbours",
    "patches",
    "pictures",
    "positions",
    "prompt_layout",
    "shapes",
    "similarity",
    "style",
    "text_maps",
    "to_picture",
    "token_map",
]
