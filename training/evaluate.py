"""Measure a model on the emoji data set and write the numbers of the model card.

    python training/evaluate.py                            # the embedded Emoji-CLIP, prints a table
    python training/evaluate.py MODEL --json results.json

This program chooses nothing: the recipe and the number of steps were chosen before, on the
validation split of training/emoji.py.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import clipnotes
from clipnotes.data import load_emoji
from emoji import NEVER_TRAINED, kept_aside

TEMPLATE = "an emoji of a {}"  # fixed before the first measurement


class Measured:
    """The features of all drawings and names, computed once, and the measures taken of them."""

    def __init__(self, clip: clipnotes.Clip) -> None:
        self.clip = clip
        self.data = load_emoji()
        self.features = clip.encode_image(list(self.data["image"]))
        self.names = list(dict.fromkeys(self.data["name"]))
        number = {name: i for i, name in enumerate(self.names)}
        self.label = torch.tensor([number[name] for name in self.data["name"]])
        self.category = torch.tensor(self.data["category"])
        self.held_out = torch.tensor(self.data["held_out"])
        labels = self.data.features["style"]
        styles = [labels.int2str(s) for s in self.data["style"]]
        self.style = {s: torch.tensor([t == s for t in styles]) for s in labels.names}
        trained = ~self.held_out & ~(self.style["openmoji"] | self.style["twemoji"])
        facts = zip(styles, self.data["codepoint"], strict=True)
        aside = torch.tensor([kept_aside({"style": s, "codepoint": c}) for s, c in facts])
        self.validation, self.training = trained & aside, trained & ~aside

    def naming(self, pictures: Tensor, among: Tensor | None = None) -> dict[str, float]:
        """Measure how often the right name is the first, or in the first five, of these names."""
        texts = self.clip.encode_text([TEMPLATE.format(name) for name in self.names])
        logits = self.features[pictures] @ texts.T
        if among is not None:
            allowed = torch.zeros(len(self.names), dtype=torch.bool)
            allowed[self.label[among]] = True
            logits[:, ~allowed] = -torch.inf
        right = logits.topk(5, dim=1).indices == self.label[pictures, None]
        return {
            "pictures": int(pictures.sum()),
            "names": len(self.names) if among is None else int(allowed.sum()),
            "top1": right[:, 0].float().mean().item(),
            "top5": right.any(1).float().mean().item(),
        }

    def categories(self, style: str, count: int = 20) -> dict[str, float]:
        """Sort drawings into the `count` largest categories, zero-shot and with a linear probe."""
        sizes = self.category[self.style[style]].bincount()
        chosen = sorted(sizes.topk(count).indices.tolist())
        labels = self.data.features["category"]
        words = [labels.int2str(c).replace("-", " ") for c in chosen]
        inside = torch.isin(self.category, torch.tensor(chosen))
        test, fit = self.style[style] & inside, self.training & inside
        texts = self.clip.encode_text([TEMPLATE.format(w) for w in words])
        guess = torch.tensor(chosen)[(self.features[test] @ texts.T).argmax(1)]
        probe = LogisticRegression(C=10.0, max_iter=2000)
        probe.fit(self.features[fit].numpy(), self.category[fit].numpy())
        return {
            "pictures": int(test.sum()),
            "zero_shot": (guess == self.category[test]).float().mean().item(),
            "linear_probe": float(
                probe.score(self.features[test].numpy(), self.category[test].numpy())
            ),
        }

    def results(self) -> dict[str, dict[str, float]]:
        table = {"validation: trained designers, known things": self.naming(self.validation)}
        for style in reversed(NEVER_TRAINED):
            mine = self.style[style]
            table[f"{style}: known things"] = self.naming(mine & ~self.held_out)
            table[f"{style}: all things"] = self.naming(mine)
            table[f"{style}: held-out things among themselves"] = self.naming(
                mine & self.held_out, self.held_out
            )
        trained = self.held_out & ~(self.style["openmoji"] | self.style["twemoji"])
        table["trained designers: held-out things among themselves"] = self.naming(
            trained, self.held_out
        )
        for style in reversed(NEVER_TRAINED):
            table[f"{style}: 20 categories"] = self.categories(style)
        return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "model", nargs="?", help="a directory or hub id; default: the embedded Emoji-CLIP"
    )
    parser.add_argument("--json", type=Path, help="also write the numbers there")
    args = parser.parse_args()
    results = Measured(clipnotes.load(args.model)).results()
    for name, row in results.items():
        cells = (f"{k} {v:.1%}" if isinstance(v, float) else f"{v} {k}" for k, v in row.items())
        print(f"{name:54s} {', '.join(cells)}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
