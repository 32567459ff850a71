"""A temperature for what was learned, found on images that were learned from, each left out once.

Guo et al. 2017, https://arxiv.org/abs/1706.04599, take validation images, of which there are none
here. What is sure of an image that it has learned from says nothing about new ones. So the method
is trained again without some of the images, and asked about those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import torch

from clipnotes.prompts.methods.published import Trained
from clipnotes.prompts.training.calibration import best_temperature
from clipnotes.teach.folder import Pictures
from clipnotes.teach.plan import Plan

FOLDS = 4  # trainings, at most; each leaves out a quarter of every class that has so many


def calibrate(trained: Trained, plan: Plan, train: Pictures, seed: int) -> None:
    """Give a learner its temperature, and say so in its recipe.

    Args:
        trained: Learned by the plan from these images. Its learner's ``temperature`` is set, and
            the recipe tells it, or why it stays 1.
        plan: How it was learned.
        train: The images that it was learned from.
        seed: Of its training; it also decides which images are left out together.

    Raises:
        FloatingPointError: A training diverged.
    """
    clip, names = trained.learner.clip, trained.learner.classnames
    how = plan.settings(clip, seed)
    if "epochs" in trained.recipe:  # with fewer images, a recipe might take fewer
        how = replace(how, recipe={**how.recipe, "epochs": trained.recipe["epochs"]})
    said, truth = [], []
    for held in folds(train.labels.tolist(), seed):
        kept = train.take(sorted(set(range(len(train))).difference(held)))
        some, learner = train.take(held), plan.make(clip, names, seed)
        without = plan.published.train(learner, kept.suited(learner), kept.labels, how).learner
        with torch.no_grad():
            said.append(without.logits_of(without.check(some.suited(without))).cpu())
        truth.append(some.labels)
    found = best_temperature(torch.cat(said), torch.cat(truth)) if said else None
    if found is not None:
        trained.learner.temperature = found
    why = "1, as the images that were left out say of no other one that it is better"
    why = why if said else "1, as no image could be left out"
    trained.recipe["temperature"] = why if found is None else float(f"{found:.4g}")


def folds(labels: Sequence[int], seed: int) -> list[list[int]]:
    """Deal the rows of each class into parts; of a class with one image, none is dealt."""
    parts: list[list[int]] = [[] for _ in range(FOLDS)]
    for label in sorted(set(labels)):
        rows = [row for row, other in enumerate(labels) if other == label]
        if len(rows) > 1:
            Random(f"{seed} left out {label}").shuffle(rows)
            for i, row in enumerate(rows):
                parts[i % FOLDS].append(row)
    return [sorted(part) for part in parts if part]
