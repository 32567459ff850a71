"""Learnable prompts for a frozen CLIP."""

from clipnotes.prompts.augmentation import random_crop_and_flip
from clipnotes.prompts.baselines import LinearProbe, NearestMean, ZeroShot
from clipnotes.prompts.evaluation import Scores, evaluate
from clipnotes.prompts.training import History, fit

__all__ = [
    "History",
    "LinearProbe",
    "NearestMean",
    "Scores",
    "ZeroShot",
    "evaluate",
    "fit",
    "random_crop_and_flip",
]
