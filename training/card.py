"""Write the measured part of MODEL_CARD.md from results.json and log.jsonl, and the chapters' copy.

python training/card.py            # after training/evaluate.py --json training/results.json
"""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).parent
# Chapters also run in Colab, where there is no training/.
COPY = HERE.parent / "clipnotes" / "measured" / "emoji_clip.json"
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


def measured() -> str:
    """Return the text from the first to the second marker."""
    results = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
    picture = "![Loss and validation accuracy by step](curves.svg)"
    return f"{BEGIN}\n\n{table(results)}\n\n{picture}\n\n{END}"


def for_chapters() -> str:
    """Return log and results together, for `clipnotes.measured.measured("emoji_clip")`."""
    log = [
        json.loads(line) for line in (HERE / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    results = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
    about = {"model": "Emoji-CLIP", "log": "training/log.jsonl", "results": "training/results.json"}
    return json.dumps({"about": about, "rows": log, "results": results}, indent=1) + "\n"


def main() -> None:
    text = measured()
    COPY.write_text(for_chapters(), encoding="utf-8")
    curves(json.loads(for_chapters())["rows"], HERE / "curves.svg")
    card = HERE / "MODEL_CARD.md"
    before, rest = card.read_text(encoding="utf-8").split(BEGIN)
    card.write_text(before + text + rest.split(END)[1], encoding="utf-8")
    print(f"wrote {card.name}, curves.svg and {COPY.name}")


if __name__ == "__main__":
    main()
