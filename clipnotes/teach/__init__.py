"""From a folder of images to a saved prompt, and to a table of several methods side by side."""

from clipnotes.teach.loop import PICTURE, compare, learn
from clipnotes.teach.plan import Plan, describe
from clipnotes.teach.reports import Comparison, Report, Row

__all__ = [
    "PICTURE",
    "Comparison",
    "Plan",
    "Report",
    "Row",
    "compare",
    "describe",
    "learn",
]
