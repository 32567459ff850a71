"""What the tests of exports share: pictures, classifiers, and a Python that has little."""

import json
import os
import subprocess
import sys

import numpy as np
import torch

from clipnotes.data import load_emoji
from clipnotes.prompts import (
    VPT,
    CoCoOp,
    LinearProbe,
    LoRA,
    MaPLe,
    NearestMean,
    ProLIP,
    PromptLearner,
    TipAdapter,
    ZeroShot,
)

N = 200  # pictures
SAME = 1e-4
SENTENCE = "an emoji of a {}"
#: Makes imports fail as if nobody had installed these, and runs a program.
BARE = """
import runpy, sys
for name in ("clipnotes", "torch", "transformers"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def emoji():
    """So many pictures of things, most of them transparent, and what they are called."""
    rows = load_emoji()
    some = rows.select(range(0, len(rows), len(rows) // N)).select(range(N))
    return list(some["image"]), list(some["name"])


def classifiers(clip, features, names):
    """One of each kind, by the name that a card has for it; those of pixels and CoCoOp too."""
    classes = sorted(set(names))
    lora, prolip = LoRA(clip, classes, template=SENTENCE), ProLIP(clip, classes, SENTENCE)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():  # untrained, they would see what the model sees
        lora.vision_b.copy_(0.3 * torch.randn(lora.vision_b.shape, generator=draw))
        lora.text_b.copy_(0.3 * torch.randn(lora.text_b.shape, generator=draw))
        prolip.weight.add_(0.1 * torch.randn(prolip.weight.shape, generator=draw))
    prolip.temperature = 1.7
    return {
        "coop": PromptLearner(clip, classes, n_ctx=3, seed=1),
        "csc": PromptLearner(clip, classes, n_ctx=2, per_class=True, seed=1),
        "zero_shot": ZeroShot(clip, classes, [SENTENCE, "a drawing of a {}"]),
        "nearest_mean": NearestMean(clip, classes, features, names),
        "linear_probe": LinearProbe(clip, classes, features, names, C=100),
        "tip": TipAdapter(clip, classes, features, names, SENTENCE, alpha=3.0, beta=4.0),
        "vpt": VPT(clip, classes, n_ctx=3, templates=SENTENCE, seed=1),
        "maple": MaPLe(clip, classes, seed=1),
        "lora": lora,
        "prolip": prolip,
        "cocoop": CoCoOp(clip, classes, init=SENTENCE.removesuffix(" {}"), seed=1),
    }


@torch.no_grad()
def probabilities(classifier, images):
    """What the classifier itself says of images: (n, n_classes)."""
    logits = classifier.logits_of(images) / classifier.temperature
    return logits.softmax(dim=-1).cpu().numpy()


def read(folder):
    return json.loads((folder / "classifier.json").read_text(encoding="utf-8"))


def bare(program, *arguments, python=None):
    """Run a program of an export, by another Python or by ours with less in it: its lines."""
    words = [python] if python else [sys.executable, "-c", BARE]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if python is None:  # where onnxruntime may lie
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    words = [*words, str(program), *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", env=environment)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def assert_same(lines, wanted, classes):
    """The same class for each image, with the same probability; (label, probability) in a line."""
    assert len(lines) == len(wanted)
    for (label, probability), row in zip(lines, wanted, strict=True):
        assert abs(float(probability) - row.max()) <= SAME
        # Two classes that are equally probable to all digits may change places.
        assert row[classes.index(label)] >= row.max() - SAME
    same = [label == classes[row.argmax()] for (label, _), row in zip(lines, wanted, strict=True)]
    assert np.mean(same) > 0.99
