"""The questions that one can ask about a scene, with their right answers."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from clipnotes.llava.scenes import COLOURS, MIDDLE, PLACES, Scene
from clipnotes.llava.things import KIND_OF, KINDS, NAMES, plural, with_article

NUMBERS = ("zero", "one", "two", "three", "four")
#: The sorts of questions, with an example of each.
SORTS: dict[str, str] = {
    "name": "what is this?",
    "kind": "what kind of thing is this?",
    "what is at": "what is at the top left?",
    "anything at": "is anything at the top left?",
    "count": "how many things are there?",
    "colour": "what colour is the background?",
    "describe": "describe the image.",
    "is there": "is there a tulip?",
    "how many": "how many tulips are there?",
    "where": "where is the tulip?",
    "beside": "what is beside the tulip?",
}


@dataclass(frozen=True)
class Question:
    """A question with its sort, one of ``SORTS``, and its right answer."""

    sort: str
    text: str
    answer: str


def describe(scene: Scene) -> str:
    """Say what is in a scene in reading order: "a red apple and two dogs on green"."""
    there = [scene.things[place] for place in (MIDDLE, *PLACES) if place in scene.things]
    said = []
    for name in dict.fromkeys(there):
        n = there.count(name)
        said.append(with_article(name) if n == 1 else f"{NUMBERS[n]} {plural(name)}")
    return f"{' and '.join(said)} on {scene.background}"


@functools.cache
def _kin(among: tuple[str, ...]) -> dict[str, list[str]]:
    return {kind: [name for name in names if name in among] for kind, names in KINDS.items()}


def _absent(scene: Scene, rng: random.Random, n: int, among: tuple[str, ...]) -> list[str]:
    """Draw things that are not in the scene, every other one of a kind that is there."""
    there = set(scene.things.values())
    drawn: list[str] = []
    while len(drawn) < n:
        kin = _kin(among)[KIND_OF[rng.choice(sorted(there))]]
        name = rng.choice(kin if len(drawn) % 2 == 0 and len(kin) > 4 else among)
        if name not in there and name not in drawn:
            drawn.append(name)
    return drawn


def questions(
    scene: Scene, seed: int | random.Random = 0, among: Sequence[str] = NAMES
) -> list[Question]:
    """List all questions that a scene can answer; of absent things, as many as of present ones.

    Args:
        scene: From :func:`make_scenes`.
        seed: Draws the absent things that are asked about.
        among: The names that they are drawn from. Where a scene's things come from a shorter list,
            give that list, or a rare name gives away that the thing is not there.

    Returns:
        The questions with their answers, sort by sort.

    Raises:
        ValueError: `among` has fewer than eight names, so a scene might have all of them.

    Example:
        >>> from clipnotes.llava import make_scenes
        >>> questions(make_scenes(1)[0])[0].sort in SORTS
        True
    """
    if len(among) < 8:
        raise ValueError(
            f"among has {len(among)} names; give at least eight, or leave it out for all"
        )
    rng = seed if isinstance(seed, random.Random) else random.Random(seed)
    things = scene.things
    there = list(dict.fromkeys(things.values()))
    alone = {name: place for place, name in things.items() if [*things.values()].count(name) == 1}
    asked: list[tuple[str, str, str]] = []
    if MIDDLE in things:
        name = things[MIDDLE]
        asked += [
            ("name", "what is this?", with_article(name)),
            ("kind", "what kind of thing is this?", with_article(KIND_OF[name])),
        ]
    else:
        for place in PLACES:
            here = with_article(things[place]) if place in things else "nothing"
            asked += [
                ("what is at", f"what is at the {place}?", here),
                ("anything at", f"is anything at the {place}?", _yes(place in things)),
            ]
    asked += [
        ("count", "how many things are there?", NUMBERS[len(things)]),
        ("colour", "what colour is the background?", scene.background),
        ("describe", "describe the image.", describe(scene)),
    ]
    for name in (*there, *_absent(scene, rng, len(there), tuple(among))):
        n = [*things.values()].count(name)
        asked += [
            ("is there", f"is there {with_article(name)}?", _yes(n > 0)),
            ("how many", f"how many {plural(name)} are there?", NUMBERS[n]),
        ]
    for name, place in alone.items():
        where = MIDDLE if place == MIDDLE else f"at the {place}"
        asked.append(("where", f"where is the {name}?", where))
        if place != MIDDLE:
            row, column = place.split()
            beside = things.get(f"{row} {'right' if column == 'left' else 'left'}")
            answer = with_article(beside) if beside else "nothing"
            asked.append(("beside", f"what is beside the {name}?", answer))
    return [Question(*each) for each in asked]


def _yes(true: bool) -> str:
    return "yes" if true else "no"


def words() -> list[str]:
    """List every word of every question and answer, each once."""
    texts = [*SORTS.values(), "yes no nothing on and a an", *NUMBERS, *COLOURS, *PLACES, MIDDLE]
    texts += [form for name in NAMES for form in (name, plural(name))] + list(KINDS)
    spaced = " ".join(texts).replace("?", " ?").replace(".", " .")
    return list(dict.fromkeys(spaced.split()))
