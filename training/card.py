"""Write the measured part of each MODEL_CARD.md from its results and log, and the book's copy.

    python training/card.py        # after training/evaluate.py MODEL --json FOLDER/results.json

The folder is training/ for Emoji-CLIP and training/siglip/ for Emoji-SigLIP.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def table(results: dict[str, dict[str, float]]) -> str:
    naming = [
        "| naming a drawing | drawings | among names | top-1 | top-5 |",
        "|---|---|---|---|---|",
    ]
    sorting = [
        "| sorting into 20 categories | drawings | zero-shot | linear probe |",
        "|---|---|---|---|",
    ]
    for title, row in results.items():
        if "top1" in row:
            naming.append(
                f"| {title} | {row['pictures']} | {row['names']} "
                f"| {row['top1']:.1%} | {row['top5']:.1%} |"
            )
        else:
            style = title.split(":")[0]
            sorting.append(
                f"| {style} | {row['pictures']} "
                f"| {row['zero_shot']:.1%} | {row['linear_probe']:.1%} |"
            )
    return "\n".join([*naming, "", *sorting])


def curves(log: list[dict], path: Path) -> None:
    import matplotlib.pyplot as plt

    from clipnotes import plots

    plots.style()
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
    steps = [row["step"] for row in log]
    plots.curves(
        steps, {"loss": [row["loss"] for row in log]}, "step", "training loss (one batch)", ax=left
    )
    scores = {name: [row[name] for row in log] for name in ("top1", "top5")}
    plots.curves(steps, scores, "step", "share of validation drawings named right", ax=right)
    left.figure.savefig(path, metadata={"Date": None})


@dataclass(frozen=True)
class Model:
    """A model that ships, and where its log, results and card lie."""

    name: str
    folder: Path
    copy: str  # the chapters' name for it: they also run in Colab, where there is no training/

    @property
    def copied(self) -> Path:
        return HERE.parent / "clipnotes" / "measured" / f"{self.copy}.json"

    def log(self) -> list[dict]:
        text = (self.folder / "log.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def results(self) -> dict[str, dict[str, float]]:
        return json.loads((self.folder / "results.json").read_text(encoding="utf-8"))

    def measured(self) -> str:
        """Return the text from the first to the second marker."""
        picture = "![Loss and validation accuracy by step](curves.svg)"
        return f"{BEGIN}\n\n{table(self.results())}\n\n{picture}\n\n{END}"

    def for_chapters(self) -> str:
        """Return log and results together, for `clipnotes.measured.measured`."""
        where = self.folder.relative_to(HERE.parent).as_posix()
        files = {"log": f"{where}/log.jsonl", "results": f"{where}/results.json"}
        said = {
            "about": {"model": self.name} | files,
            "rows": self.log(),
            "results": self.results(),
        }
        return json.dumps(said, indent=1) + "\n"

    def write(self) -> None:
        self.copied.write_text(self.for_chapters(), encoding="utf-8")
        curves(self.log(), self.folder / "curves.svg")
        card = self.folder / "MODEL_CARD.md"
        before, rest = card.read_text(encoding="utf-8").split(BEGIN)
        after = rest.split(END)[1]
        card.write_text(before + self.measured() + after, encoding="utf-8")
        print(f"wrote {card.relative_to(HERE)}, curves.svg and {self.copied.name}")


MODELS = (
    Model("Emoji-CLIP", HERE, "emoji_clip"),
    Model("Emoji-SigLIP", HERE / "siglip", "emoji_siglip"),
)


if __name__ == "__main__":
    for model in MODELS:
        model.write()
