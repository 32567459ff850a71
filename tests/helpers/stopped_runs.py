"""Trainings that stop where a test wants it."""

import functools

import torch

from clipnotes.prompts import PromptLearner

RECIPE = {"epochs": 6, "batch_size": 8, "seed": 1, "progress": False}
ADAM = functools.partial(torch.optim.AdamW, amsgrad=True)


class Stops(PromptLearner):
    """Stops at the seventh step, which is in the middle of an epoch of two steps."""

    calls = 0

    def logits(self, image_features):
        self.calls += len(image_features) > 1  # not the look at the first image
        if self.calls == 7:
            self.stop()
        return super().logits(image_features)

    def stop(self):
        raise KeyboardInterrupt


class Counts(PromptLearner):
    steps = 0

    def logits(self, image_features):
        self.steps += len(image_features) > 1
        return super().logits(image_features)
