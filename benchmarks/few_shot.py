"""Learned prompts against hand templates, class means and a linear probe, on the emoji data set.

    python benchmarks/few_shot.py            # goes on where it stopped; writes
    clipnotes/measured/few_shot.json

Two questions, each with several seeds (of the drawings drawn, the start and the order):

- "new things": the concepts that Emoji-CLIP never saw, drawn by designers that it knows. Tested on
  the drawings of the two designers that it does not know.
- "a new designer": half of 300 known concepts, one drawing each by a designer that it does not
  know. Tested on these drawings, on the same concepts by the other unknown designer, and on the
  other half by the same designer. The draws and the halves depend on the seed.

Nothing was chosen on the images of a test: the recipe is CoOp's (2022), with four context tokens.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import time
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import torch
import transformers
from tqdm import tqdm

import clipnotes
from clipnotes.data import few_shot, load_emoji
from clipnotes.files import write_atomically
from clipnotes.prompts import LinearProbe, NearestMean, PromptLearner, ZeroShot, evaluate, fit
from clipnotes.prompts.recipe import epochs_for
from report import dumps

OUT = Path(__file__).parent.parent / "clipnotes" / "measured" / "few_shot.json"
UNKNOWN = ("twemoji", "openmoji")  # designers that Emoji-CLIP was not trained on
TEMPLATE = "an emoji of a {}"
TEMPLATES = (TEMPLATE, "a drawing of a {}", "a small picture of a {}", "{}", "an icon of a {}")
N_CTX = 4
HALF = 150  # concepts
# The scores of "a new designer".
LEARNED = "learned pictures"
BASE = "same concepts, other designer"
NEW = "other concepts, same designer"


class Run(NamedTuple):
    """One learner or baseline, trained once."""

    question: str
    method: str
    shots: int
    seed: int
    designer: str = ""
    position: str = "end"
    init: str | None = None


def plan(seeds: int) -> Iterator[Run]:
    """Yield every run, seed by seed, so that the results are fair wherever one stops."""
    for seed in range(seeds):
        for shots in (1, 2, 4, 8):
            for method in ("nearest mean", "linear probe", "one context per class", "one context"):
                yield Run("new things", method, shots, seed)
        for designer in UNKNOWN:
            for method in ("hand template", "averaged templates", "nearest mean", "linear probe"):
                yield Run("a new designer", method, 1, seed, designer)
            for method in ("one context", "one context per class"):
                yield Run("a new designer", method, 1, seed, designer)
        for position in ("middle", "front"):
            yield Run("new things", "one context per class", 4, seed, position=position)
        yield Run("new things", "one context per class", 4, seed, init="an emoji of a")
    for method in ("hand template", "averaged templates"):
        yield Run("new things", method, 0, 0)


class Bench:
    """The model and the features of all drawings, or of new things' drawings alone."""

    def __init__(self, held_out: bool | None = None) -> None:
        self.clip = clipnotes.load()
        self.clip.model.requires_grad_(False)
        data = load_emoji(held_out=held_out)
        label = data.features["style"]
        styles = [label.int2str(number) for number in data["style"]]
        rows = zip(data["name"], styles, data["held_out"], strict=True)
        # Neither question needs known concepts by known designers.
        used = [(i, *row) for i, row in enumerate(rows) if row[2] or row[1] in UNKNOWN]
        self.data = data.select([i for i, *_ in used])
        self.rows = [(i, *row) for i, (_, *row) in enumerate(used)]
        self.new = sorted({name for _, name, _, held_out in self.rows if held_out})
        self.known = {style for *_, style, _ in self.rows} - set(UNKNOWN)

    @cached_property
    def features(self) -> torch.Tensor:
        """The features of every drawing: (n, P)."""
        return self.clip.encode_image(list(self.data["image"]))

    def inputs(self, run: Any, rows: list[int]) -> torch.Tensor:
        """Return what the method of a run takes for these drawings."""
        return self.features[rows]

    def find(self, names: list[str], styles: set[str]) -> tuple[list[int], list[str]]:
        """Find the rows and names of these designers' drawings of these concepts."""
        wanted = set(names)
        drawn = [(i, name) for i, name, style, _ in self.rows if name in wanted and style in styles]
        return [i for i, _ in drawn], [name for _, name in drawn]

    def draw(
        self, names: list[str], styles: set[str], shots: int, seed: int
    ) -> tuple[list[int], list[str]]:
        """Draw `shots` drawings of each concept, or all if there are fewer."""
        numbers, labels = self.find(names, styles)
        counts = Counter(labels)
        table = datasets.Dataset.from_dict({"row": range(len(labels)), "name": labels})
        rows: list[int] = []
        for count in sorted(set(counts.values())):
            some = [i for i, name in enumerate(labels) if counts[name] == count]
            rows += few_shot(table.select(some), min(shots, count), seed)["row"]
        return [numbers[i] for i in sorted(rows)], [labels[i] for i in sorted(rows)]

    def score(self, run: Any, classifier: Any, names: list[str], style: str) -> float:
        """Return the accuracy on this designer's drawings of these concepts."""
        rows, labels = self.find(names, {style})
        return evaluate(classifier, self.inputs(run, rows), labels).accuracy

    def classifier(self, run: Any, names: list[str], images: Any, labels: Any) -> Any:
        """Train the classifier of a run."""
        if run.method == "hand template":
            return ZeroShot(self.clip, names, TEMPLATE)
        if run.method == "averaged templates":
            return ZeroShot(self.clip, names, TEMPLATES)
        if run.method == "nearest mean":
            return NearestMean(self.clip, names, images, labels)
        if run.method == "linear probe":
            return LinearProbe(self.clip, names, images, labels)
        learner = PromptLearner(
            self.clip,
            names,
            n_ctx=None if run.init else N_CTX,
            init=run.init,
            position=run.position,  # type: ignore[arg-type]
            per_class=run.method == "one context per class",
            seed=run.seed,
        )
        epochs = epochs_for(run.shots)
        fit(learner, images, labels, epochs=epochs, seed=run.seed, progress=False)
        return learner

    def new_things(self, run: Any) -> dict[str, float]:
        """Learn the held-out concepts from known designers, and test on unknown ones."""
        rows, labels = self.draw(self.new, self.known, max(run.shots, 1), run.seed)
        classifier = self.classifier(run, self.new, self.inputs(run, rows), labels)
        return {style: self.score(run, classifier, self.new, style) for style in UNKNOWN}

    def new_designer(self, run: Any) -> dict[str, float]:
        """Learn half of some known concepts from one designer, and test on both halves."""
        (other_designer,) = set(UNKNOWN) - {run.designer}
        both = Counter(
            name for _, name, style, held_out in self.rows if style in UNKNOWN and not held_out
        )
        everything = sorted(name for name, count in both.items() if count == len(UNKNOWN))
        chosen = random.Random(f"concepts {run.seed}").sample(everything, 2 * HALF)
        base, new = chosen[:HALF], chosen[HALF:]
        rows, labels = self.find(base, {run.designer})
        classifier = self.classifier(run, base, self.inputs(run, rows), labels)
        scores = {
            LEARNED: self.score(run, classifier, base, run.designer),
            BASE: self.score(run, classifier, base, other_designer),
        }
        moved = self.moved(run, classifier, new)
        if moved is not None:
            scores[NEW] = self.score(run, moved, new, run.designer)
        return scores

    def moved(self, run: Any, classifier: Any, names: list[str]) -> Any:
        """Move a classifier to new names; ``None`` if it cannot be moved."""
        if run.method in ("hand template", "averaged templates"):
            return self.classifier(run, names, None, None)
        if run.method != "one context":
            return None
        learner = PromptLearner(self.clip, names, n_ctx=N_CTX, position=classifier.position)
        learner.load_state_dict(classifier.state_dict())
        return learner

    def measure(self, run: Any) -> dict[str, Any]:
        """Measure one row of the results."""
        start = time.perf_counter()
        answer = self.new_things if run.question == "new things" else self.new_designer
        accuracy = answer(run)
        return {**run._asdict(), "accuracy": accuracy, "seconds": time.perf_counter() - start}


def write(rows: list[dict[str, Any]], bench: Bench) -> None:
    """Write all rows to the file, in one step."""
    about = {
        "model": "Emoji-CLIP",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "n_ctx": N_CTX,
        "templates": TEMPLATES,
        "classes": {"new things": len(bench.new), "a new designer": HALF},
    }
    OUT.parent.mkdir(exist_ok=True)
    write_atomically(OUT, dumps({"about": about, "rows": rows}).encode())


def main() -> None:
    """Run what has not run yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    rows = json.loads(OUT.read_text())["rows"] if OUT.exists() else []
    done = {Run(**{name: row[name] for name in Run._fields}) for row in rows}
    left = [run for run in plan(args.seeds) if run not in done]
    bench = Bench()
    for run in tqdm(left):
        rows.append(bench.measure(run))
        write(rows, bench)


if __name__ == "__main__":
    main()
