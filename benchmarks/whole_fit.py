"""Measure how long learning a prompt takes, and how long the naive loop, on held-out emoji.

    python benchmarks/whole_fit.py

``fit`` runs for all epochs of CoOp's recipe, and its time includes encoding the images. The naive
loop works like CoOp's program: each step encodes its images, and all prompts padded to the
tower's limit. It runs for a few epochs, some before and some after ``fit``, from which the time of
a whole run is estimated. Its losses must be those of ``fit``. One line of JSON is printed.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch
from torch.nn import functional as F

import clipnotes
from clipnotes.checkpoints import EMOJI_CLIP
from clipnotes.data import few_shot, load_emoji
from clipnotes.prompts import PromptLearner, fit
from clipnotes.prompts.inputs import encode_pictures
from clipnotes.prompts.recipe import batches, epochs_for, learning_rates, sgd
from setting import THREADS, pad

BATCH = 32


class Naive:
    """The loop that a beginner writes."""

    def __init__(self, learner: PromptLearner, images: list[Any], labels: list[int], epochs: int):
        limit = learner.clip.model.config.text_config.max_position_embeddings
        learner.layout, learner.fast = pad(learner.layout, limit), False
        self.learner, self.images, self.labels = learner, images, torch.tensor(labels)
        self.rates = learning_rates("cosine", 0.002, epochs)
        self.optimizer = sgd([learner.ctx])
        self.losses: list[float] = []

    def epoch(self) -> float:
        """Train one epoch, and return its seconds."""
        start, number, total = time.perf_counter(), len(self.losses), 0.0
        self.optimizer.param_groups[0]["lr"] = self.rates[number]
        for rows in batches(len(self.images), BATCH, 0, number):
            features = encode_pictures(self.learner.clip, [self.images[i] for i in rows])
            loss = F.cross_entropy(self.learner.logits(features), self.labels[rows])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(rows)
        self.losses.append(total / len(self.images))
        return time.perf_counter() - start


def measure(n_classes: int, shots: int, epochs: int | None, naive_epochs: int) -> dict[str, Any]:
    """Time ``fit`` and the naive loop."""
    clip = clipnotes.load(EMOJI_CLIP)
    clip.model.requires_grad_(False)
    data = load_emoji(held_out=True)
    counts: dict[str, int] = {}
    for name in data["name"]:
        counts[name] = counts.get(name, 0) + 1
    names = [name for name, count in counts.items() if count >= shots][:n_classes]
    rows = [i for i, name in enumerate(data["name"]) if name in set(names)]
    drawn = few_shot(data.select(rows), shots, seed=0)
    images, labels = list(drawn["image"]), [names.index(name) for name in drawn["name"]]
    epochs = epochs_for(shots) if epochs is None else epochs

    naive = Naive(PromptLearner(clip, names), images, labels, epochs)
    fit(PromptLearner(clip, names), images, labels, epochs=1, progress=False)  # warm
    half = naive_epochs // 2
    seconds = [naive.epoch() for _ in range(half)]
    learner, start = PromptLearner(clip, names), time.perf_counter()
    history = fit(learner, images, labels, epochs=epochs, progress=False)
    fast = time.perf_counter() - start
    seconds += [naive.epoch() for _ in range(naive_epochs - half)]

    pairs = zip(naive.losses, history.loss, strict=False)
    difference = max(abs(a - b) / b for a, b in pairs)
    if difference > 1e-3:
        raise RuntimeError(f"the losses of the two loops differ by {difference:.1e} of the loss")
    whole = sum(seconds) / naive_epochs * epochs
    return {
        "classes": n_classes,
        "shots": shots,
        "epochs": epochs,
        "n_ctx": learner.n_ctx,
        "pictures": len(images),
        "naive_epochs": naive_epochs,
        "seconds": {"fit": fast, "naive": whole},
        "times_faster": whole / fast,
        "difference": difference,
    }


def main() -> None:
    """Print the row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--epochs", type=int, help="of fit; unless given, what CoOp's recipe says")
    parser.add_argument("--naive-epochs", type=int, default=6, help="that really run")
    args = parser.parse_args()
    torch.set_num_threads(THREADS)
    print(json.dumps(measure(args.classes, args.shots, args.epochs, args.naive_epochs)))


if __name__ == "__main__":
    main()
