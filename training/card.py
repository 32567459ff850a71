"""Write the measured part of each MODEL_CARD.md from its results and log, and the book's copy.

    python training/card.py        # after training/evaluate.py MODEL --json FOLDER/results.json

The folder is training/ for Emoji-CLIP, training/siglip/ for Emoji-SigLIP, and training/emoji_llava/
for Emoji-LLaVA, which training/llava_test.py measures.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from clipnotes.llava import SORTS

HERE = Path(__file__).parent
MEASURED = HERE.parent / "clipnotes" / "measured"
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


def answers(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Make a row for each sort of questions, and a column for each set of scenes."""
    lines = ["| question | " + " | ".join(results) + " |", "|---" * (len(results) + 1) + "|"]
    for sort, example in SORTS.items():
        cells = " | ".join(f"{scores[sort]['right']:.1%}" for scores in results.values())
        lines.append(f"| {sort} (*{example}*) | {cells} |")
    return "\n".join(lines)


def answers_and_variants(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Add what training/llava_variants.py measured: a row for each variant, over its seeds."""
    told = json.loads((MEASURED / "llava_variants.json").read_text(encoding="utf-8"))
    sorts = [sort for sort in SORTS if sort in told["rows"][0]["right"]["twemoji"]]
    lines = ["| variant | designer | " + " | ".join(sorts) + " |", "|---" * (len(sorts) + 2) + "|"]
    for variant in dict.fromkeys(row["variant"] for row in told["rows"]):
        for designer in ("twemoji", "openmoji"):
            rows = [r["right"][designer] for r in told["rows"] if r["variant"] == variant]
            shares = [[100 * row[sort] for row in rows] for sort in sorts]
            cells = " | ".join(f"{mean(each):.0f} ± {stdev(each):.0f}" for each in shares)
            lines.append(f"| {variant} | {designer} | {cells} |")
    about = ", ".join(f"{key} {value}" for key, value in told["about"].items() if key != "model")
    return f"{answers(results)}\n\nVariants, % right, three seeds ({about}):\n\n" + "\n".join(lines)


def curves(log: list[dict], path: Path, names: Sequence[str], score: str) -> None:
    import matplotlib.pyplot as plt

    from clipnotes import plots

    plots.style()
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
    steps = [row["step"] for row in log]
    plots.curves(
        steps, {"loss": [row["loss"] for row in log]}, "step", "training loss (one batch)", ax=left
    )
    scores = {name: [row[name] for row in log] for name in names}
    plots.curves(steps, scores, "step", score, ax=right)
    left.figure.savefig(path, metadata={"Date": None})


@dataclass(frozen=True)
class Model:
    """A model that ships, and where its log, results and card lie."""

    name: str
    folder: Path
    copy: str  # the chapters' name for it: they also run in Colab, where there is no training/
    table: Callable[[dict[str, Any]], str] = table
    scores: tuple[str, ...] = ("top1", "top5")  # what of the log is drawn
    score: str = "share of validation drawings named right"

    @property
    def copied(self) -> Path:
        return MEASURED / f"{self.copy}.json"

    def log(self) -> list[dict]:
        text = (self.folder / "log.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def results(self) -> dict[str, dict[str, float]]:
        return json.loads((self.folder / "results.json").read_text(encoding="utf-8"))

    def measured(self) -> str:
        """Return the text from the first to the second marker."""
        picture = "![Loss and validation accuracy by step](curves.svg)"
        return f"{BEGIN}\n\n{self.table(self.results())}\n\n{picture}\n\n{END}"

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
        curves(self.log(), self.folder / "curves.svg", self.scores, self.score)
        card = self.folder / "MODEL_CARD.md"
        before, rest = card.read_text(encoding="utf-8").split(BEGIN)
        after = rest.split(END)[1]
        card.write_text(before + self.measured() + after, encoding="utf-8")
        print(f"wrote {card.relative_to(HERE)}, curves.svg and {self.copied.name}")


MODELS = (
    Model("Emoji-CLIP", HERE, "emoji_clip"),
    Model("Emoji-SigLIP", HERE / "siglip", "emoji_siglip"),
    Model(
        "Emoji-LLaVA",
        HERE / "emoji_llava",
        "emoji_llava",
        table=answers_and_variants,
        scores=("anything at", "count", "what is at", "describe", "is there", "where"),
        score="share of validation questions answered right",
    ),
)


if __name__ == "__main__":
    for model in MODELS:
        model.write()
