"""Learnable prompts: context vectors in CLIP's text tower, and what grows from them."""

from clipnotes.prompts.embeddings import LearnableTextEmbeddings, inject
from clipnotes.prompts.learner import PromptLearner

__all__ = ["LearnableTextEmbeddings", "PromptLearner", "inject"]
