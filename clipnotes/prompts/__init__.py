"""Learnable prompts: context vectors in a text tower, and what grows from them."""

from clipnotes.prompts.embeddings import LearnableTextEmbeddings, inject
from clipnotes.prompts.learnable_table import LearnableTable
from clipnotes.prompts.methods import METHODS, load_prompt
from clipnotes.prompts.methods.cocoop import CoCoOp
from clipnotes.prompts.methods.coop import PromptLearner
from clipnotes.prompts.methods.kgcoop import KgCoOp
from clipnotes.prompts.methods.linear_probe import LinearProbe
from clipnotes.prompts.methods.lora import LoRA
from clipnotes.prompts.methods.lp_plus_plus import LPPlusPlus, fit_lp_plus_plus
from clipnotes.prompts.methods.maple import MaPLe
from clipnotes.prompts.methods.nearest_mean import NearestMean
from clipnotes.prompts.methods.prolip import ProLIP, fit_prolip
from clipnotes.prompts.methods.promptsrc import PromptSRC
from clipnotes.prompts.methods.tip import TipAdapter, TipChoice, fit_tip
from clipnotes.prompts.methods.vpt import VPT
from clipnotes.prompts.methods.zero_shot import ZeroShot
from clipnotes.prompts.saved.hub import push_prompt
from clipnotes.prompts.training.augmentation import random_crop_and_flip
from clipnotes.prompts.training.evaluation import Scores, evaluate
from clipnotes.prompts.training.fit import History, fit

__all__ = [
    "METHODS",
    "VPT",
    "CoCoOp",
    "History",
    "KgCoOp",
    "LPPlusPlus",
    "LearnableTable",
    "LearnableTextEmbeddings",
    "LinearProbe",
    "LoRA",
    "MaPLe",
    "NearestMean",
    "ProLIP",
    "PromptLearner",
    "PromptSRC",
    "Scores",
    "TipAdapter",
    "TipChoice",
    "ZeroShot",
    "evaluate",
    "fit",
    "fit_lp_plus_plus",
    "fit_prolip",
    "fit_tip",
    "inject",
    "load_prompt",
    "push_prompt",
    "random_crop_and_flip",
]
