"""What a language model gains from what it is shown: Emoji-LLaVA's variants under one budget.

    python training/llava_variants.py RUN_DIR --json clipnotes/measured/llava_variants.json

Each variant is trained three times, by three seeds, for the same number of steps on the same scenes
of the 62 things in CORE. Things that are not there are drawn from these 62, too. A seed makes its
own scenes, weights and questions. The budget is an eighth of that of the model that ships, so
places are asked about more often; this was chosen with "patches", on validation scenes. Afterwards
scenes of Twemoji and OpenMoji are asked about, by which nothing was chosen. A run that was finished
is not repeated, so a killed program goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import torch
from tqdm import tqdm

import clipnotes
from clipnotes.llava import CORE, make_scenes
from emoji import load_pictures
from llava import Recipe, Training
from llava_data import WEIGHTS, Seen, augmented, look, plain, see

STEPS, BATCH, SEEDS = 1200, 16, (0, 1, 2)
SCENES, ASKED, TEST_SEED = 20_000, 1_000, 20261203
OFTEN = {"anything at": 1.0, "what is at": 2.0, "describe": 2.0}
RARELY = {"kind": 1.0, "where": 0.5, "beside": 0.5, "how many": 0.3}
#: What each variant is shown, and for which share of the steps its projector learns alone.
VARIANTS = {
    "patches": ("patches", 0),
    "last layer": ("last", 0),
    "all tokens": ("all", 0),
    "shuffled": ("shuffled", 0),
    "two stages": ("patches", 0.25),
    "class token": ("class", 0),
    "projected": ("projected", 0),
    "no image": ("none", 0),
}


def run(
    clip: clipnotes.Clip, variant: str, seed: int, seen: Seen, tests: dict[str, Seen], steps: int
) -> dict[str, object]:
    """Train a variant by a seed, and ask it about each of the test sets."""
    shown, alone = VARIANTS[variant]
    weights = WEIGHTS | OFTEN | RARELY
    training = Training(clip, Recipe(steps, shown, BATCH, weights, CORE, int(alone * steps)), seed)
    began = time.time()
    for _ in tqdm(range(steps), desc=f"{variant}, seed {seed}", mininterval=30):
        last = training.step(seen)
    minutes = (time.time() - began) / 60
    scores = {name: training.validate(test) for name, test in tests.items()}
    rounded = {name: {k: round(v, 4) for k, v in row.items()} for name, row in scores.items()}
    return {
        "variant": variant,
        "seed": seed,
        "loss": round(last["loss"], 4),
        "minutes": round(minutes, 1),
        "right": rounded,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a folder for what is finished")
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=tuple(VARIANTS))
    parser.add_argument("--json", type=Path, help="write all that is finished there")
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    clip, pictures = clipnotes.load(), load_pictures()
    kept_aside = plain(pictures, pictures.validation)
    tests = {"validation": see(clip, kept_aside, ASKED, seed=1, core_share=1.0)}
    for style in ("twemoji", "openmoji"):
        tests[style] = look(clip, make_scenes(ASKED, style, TEST_SEED, CORE))
    for seed in SEEDS:
        seen = None
        for variant in args.variants:
            done = args.run / f"{variant.replace(' ', '-')}-{seed}.json"
            if done.exists():
                continue
            if seen is None:
                seen = see(clip, augmented(pictures, pictures.train, seed), SCENES, seed, 1.0)
            row = run(clip, variant, seed, seen, tests, args.steps)
            part = done.with_suffix(".part")
            part.write_text(json.dumps(row) + "\n", encoding="utf-8")
            os.replace(part, done)
    if args.json:
        rows = [json.loads(file.read_text("utf-8")) for file in sorted(args.run.glob("*.json"))]
        order = list(VARIANTS)
        rows.sort(key=lambda row: (order.index(row["variant"]), row["seed"]))
        about = {
            "model": "Emoji-LLaVA's variants",
            "steps": args.steps,
            "scenes in a step": BATCH,
            "asked": f"{ASKED} scenes of the 62 things in CORE",
            "torch": torch.__version__,
        }
        text = json.dumps({"about": about, "rows": rows}, indent=1)
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
