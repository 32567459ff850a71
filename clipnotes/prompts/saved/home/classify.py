"""Name images by their features, with the classifier in this folder.

To run it: python classify.py FEATURES.npy. It needs numpy and safetensors, and nothing else.
The features, (n, P), come from the model that ``classifier.json`` names, by whichever program. Each
line of the answer is a class and its probability, with a tab between them.
"""

import json
import sys
from pathlib import Path

import numpy as np


def logits_of(features: np.ndarray, tensors: dict[str, np.ndarray]) -> np.ndarray:
    """Compare features, (n, P), with every class: (n, n_classes)."""
    features = features / np.linalg.norm(features, axis=-1, keepdims=True)
    logits = tensors["scale"] * (features @ tensors["class_vectors"].T) + tensors["bias"]
    if "keys" in tensors:  # a cache: the nearer a cached image, the more it speaks for its class
        near = np.exp(-tensors["beta"] * (1 - features @ tensors["keys"].T))
        logits = logits + tensors["alpha"] * (near @ tensors["values"])
    return logits


def softmax(logits: np.ndarray) -> np.ndarray:
    """Make probabilities of logits, row by row."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def main(path: str) -> None:
    """Print the class of each row of features."""
    from safetensors.numpy import load_file

    folder = Path(__file__).parent
    card = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / card["file"])
    for row in softmax(logits_of(np.load(path), tensors)):
        print(f"{card['labels'][int(row.argmax())]}\t{row.max():.6f}")


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    main(sys.argv[1])
