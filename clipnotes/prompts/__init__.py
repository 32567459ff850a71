"""Learnable prompts: context vectors in CLIP's text tower, and what grows from them."""

from clipnotes.prompts.augmentation import random_crop_and_flip
from clipnotes.prompts.baselines import LinearProbe, NearestMean, ZeroShot
from clipnotes.prompts.cocoop import CoCoOp
from clipnotes.prompts.embeddings import LearnableTextEmbeddings, inject
from clipnotes.prompts.evaluation import Scores, evaluate
from clipnotes.prompts.kgcoop import KgCoOp
from clipnotes.prompts.learner import PromptLearner
from clipnotes.prompts.maple import MaPLe
from clipnotes.prompts.methods import METHODS, load_prompt
from clipnotes.prompts.tip import TipAdapter, TipChoice, fit_tip
from clipnotes.prompts.training import History, fit
from clipnotes.prompts.visual import VPT

__all__ = [
    "METHODS",
    "VPT",
    "CoCoOp",
    "History",
    "KgCoOp",
    "LearnableTextEmbeddings",
    "LinearProbe",
    "MaPLe",
    "NearestMean",
    "PromptLearner",
    "Scores",
    "TipAdapter",
    "TipChoice",
    "ZeroShot",
    "evaluate",
    "fit",
    "fit_tip",
    "inject",
    "load_prompt",
    "random_crop_and_flip",
]
