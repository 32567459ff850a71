"""Ask Emoji-LLaVA about scenes that it never saw, and write the numbers of its card.

    python training/llava_test.py                                          # prints a table
    python training/llava_test.py --json training/emoji_llava/results.json

Every answer is generated from the pixels of an image, and is right only if it is right to the last
word. The recipe was fixed before this program ran for the first time; what was chosen was chosen on
validation scenes, whose drawings are of the designers that train, but were kept aside.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from tqdm import tqdm

from clipnotes.llava import CORE, SORTS, EmojiLlava, Question, Scene, load_llava, make_scenes
from clipnotes.llava.scenes import make_scene
from emoji import load_pictures
from llava_data import one_of_each, plain

SCENES, SEED, BATCH = 500, 20261202, 64


def test_sets(n: int) -> dict[str, list[Scene]]:
    """Make n scenes of each kind: of all things, or of the 62 in CORE."""
    pictures = load_pictures()
    kept_aside, rng = plain(pictures, pictures.validation), random.Random(SEED)
    sets = {"validation": [make_scene(kept_aside, rng) for _ in range(n)]}
    for style in ("twemoji", "openmoji"):
        sets[style] = make_scenes(n, style, SEED)
        sets[f"{style}, 62 things"] = make_scenes(n, style, SEED + 1, CORE)
    return sets


def ask_all(llava: EmojiLlava, scenes: list[Scene], title: str = "") -> dict[str, dict[str, float]]:
    """Ask one question of each sort about each scene: how many, and the share of right answers."""
    rng = random.Random(SEED)
    asked: list[tuple[Scene, Question]] = []
    for scene in scenes:
        asked += [(scene, question) for question in one_of_each(scene, rng)]
    right: dict[str, list[bool]] = {sort: [] for sort in SORTS}
    for start in tqdm(range(0, len(asked), BATCH), desc=title):
        part = asked[start : start + BATCH]
        said = llava.ask([scene.image for scene, _ in part], [q.text for _, q in part])
        for (_, question), answer in zip(part, said, strict=True):
            right[question.sort].append(answer == question.answer)
    return {
        sort: {"questions": len(hits), "right": sum(hits) / max(1, len(hits))}
        for sort, hits in right.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=SCENES, help="of each kind")
    parser.add_argument("--json", type=Path, help="also write the numbers there")
    args = parser.parse_args()
    llava = load_llava()
    results = {
        title: ask_all(llava, scenes, title) for title, scenes in test_sets(args.scenes).items()
    }
    print(f"{'':14}" + "".join(f"{title:>24}" for title in results))
    for sort in SORTS:
        print(f"{sort:14}" + "".join(f"{row[sort]['right']:24.1%}" for row in results.values()))
    if args.json:
        args.json.parent.mkdir(exist_ok=True)
        args.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
