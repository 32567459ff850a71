"""One run of the comparison: a method is trained once by the protocol of few_shot, and tested."""

from __future__ import annotations

from functools import cache, cached_property
from typing import Any, NamedTuple

import torch

import few_shot
from clipnotes.prompts import evaluate
from clipnotes.prompts.inputs import pixels_of
from few_shot import BASE, NEW
from method_tables import HARMONIC, harmonic_mean
from teach import Taught, moved, takes_pixels, teach

Row = dict[str, Any]


class MethodRun(NamedTuple):
    """One method that is trained once."""

    question: str
    method: str
    recipe: str
    lr: float | None
    shots: int
    seed: int
    designer: str = ""


def with_harmonic_mean(accuracy: dict[str, float]) -> dict[str, float]:
    """Add the harmonic mean, if there are base classes and new ones."""
    if NEW not in accuracy:
        return accuracy
    return {**accuracy, HARMONIC: harmonic_mean(accuracy[BASE], accuracy[NEW])}


class Bench(few_shot.Bench):
    """The protocol of few_shot, for these methods."""

    taught: Taught  # the last one that was trained

    @cached_property
    def pixels(self) -> torch.Tensor:
        """Every image, for methods that encode it themselves: (n, 3, height, width)."""
        return pixels_of(self.clip, list(self.data["image"]))

    def inputs(self, run: MethodRun, rows: list[int]) -> torch.Tensor:
        """Return what the method of a run takes for these images."""
        if takes_pixels(run.method):
            return self.pixels[rows]
        return self.features[rows]

    def classifier(self, run: MethodRun, names: list[str], images: Any, labels: Any) -> Any:
        """Train the classifier of a run."""
        how = {"shots": run.shots, "seed": run.seed, "lr": run.lr}
        self.taught = teach(run.method, self.clip, names, images, labels, **how)
        return self.taught.classifier

    def moved(self, run: MethodRun, classifier: Any, names: list[str]) -> Any:
        """Move a classifier to new names, if nothing in it belongs to the old ones."""
        return moved(classifier, names)

    def validation(self, run: MethodRun) -> dict[str, float]:
        """Learn new things from known designers, and test on their other drawings."""
        rows, labels = self.draw(self.new, self.known, run.shots, run.seed)
        everything, names = self.find(self.new, self.known)
        drawn = set(rows)
        rest = [(i, name) for i, name in zip(everything, names, strict=True) if i not in drawn]
        try:
            classifier = self.classifier(run, self.new, self.inputs(run, rows), labels)
        except FloatingPointError:  # the training diverged, so this rate is not to be chosen
            return {"validation": 0.0}
        images = self.inputs(run, [i for i, _ in rest])
        return {"validation": evaluate(classifier, images, [name for _, name in rest]).accuracy}

    def measure(self, run: MethodRun) -> Row:
        """Measure one row of the results."""
        answer = {
            "validation": self.validation,
            "new things": self.new_things,
            "a new designer": self.new_designer,
        }[run.question]
        accuracy = with_harmonic_mean(answer(run))
        return {**run._asdict(), "accuracy": accuracy, **self.taught.cost()}


@cache
def bench() -> Bench:
    """Return the bench of this process, which is made on first use."""
    torch.set_num_threads(1)
    return Bench()


def work(run: MethodRun) -> Row:
    """Measure a run in a worker."""
    return bench().measure(run)
