"""Scenes and questions: made by a seed, true of what is drawn, and within the vocabulary."""

import random
import re

import numpy as np
import pytest

from clipnotes.data import load_emoji
from clipnotes.llava import (
    COLOURS,
    CORE,
    KINDS,
    NAMES,
    PLACES,
    SORTS,
    make_scenes,
    questions,
    words,
)
from clipnotes.llava.scenes import JITTER, MIDDLE, drawings_of
from clipnotes.llava.things import CALLED, KIND_OF, plural, with_article


@pytest.fixture(scope="module")
def scenes():
    return make_scenes(400, seed=5)


def test_every_thing_was_trained_on_and_is_drawn_by_both_test_designers():
    rows = load_emoji()
    known = {
        CALLED.get(name, name)
        for name, new in zip(rows["name"], rows["held_out"], strict=True)
        if not new
    }
    assert set(NAMES) <= known and len(NAMES) == len(set(NAMES)) > 200
    assert set(drawings_of("twemoji")) == set(drawings_of("openmoji")) == set(NAMES)
    assert set(CORE) <= set(NAMES) and len(set(CORE)) == len(CORE) == 62
    assert sum(map(len, KINDS.values())) == len(NAMES)


def test_a_seed_makes_the_same_scenes_again(scenes):
    again = make_scenes(20, seed=5)
    for one, other in zip(scenes, again, strict=False):
        assert (one.background, one.things) == (other.background, other.things)
        assert one.image.tobytes() == other.image.tobytes()
    assert [s.things for s in make_scenes(20, seed=6)] != [s.things for s in again]


def test_a_scene_shows_what_it_says(scenes):
    for scene in scenes:
        pixels = np.asarray(scene.image).astype(int)
        assert pixels.shape == (64, 64, 3)
        if MIDDLE in scene.things:
            assert len(scene.things) == 1
            continue
        quarters = {
            place: pixels[row : row + 32, column : column + 32]
            for place, (row, column) in zip(
                PLACES, [(0, 0), (0, 32), (32, 0), (32, 32)], strict=True
            )
        }
        for place, quarter in quarters.items():
            plain = (quarter == quarter[0, 0]).all()
            assert plain == (place not in scene.things), place
            if plain:
                away = np.abs(quarter[0, 0] - np.array(COLOURS[scene.background]))
                assert away.max() <= JITTER


def test_all_that_may_be_there_is_there_sometimes(scenes):
    assert {s.background for s in scenes} == set(COLOURS)
    assert {len(s.things) for s in scenes} == {1, 2, 3, 4}
    large = sum(MIDDLE in s.things for s in scenes) / len(scenes)
    assert 0.08 < large < 0.22
    assert any(len(set(s.things.values())) < len(s.things) for s in scenes)


def test_the_colours_cannot_be_taken_for_one_another():
    values = np.array(list(COLOURS.values()))
    apart = np.abs(values[:, None] - values[None]).max(-1) + 999 * np.eye(len(values), dtype=int)
    assert apart.min() > 2 * JITTER


def count_by_hand(scene, name):
    return sum(thing == name for thing in scene.things.values())


def test_answers_are_true_of_the_scene(scenes):
    numbers = ["zero", "one", "two", "three", "four"]
    seen = set()
    for scene in scenes:
        for question in questions(scene, seed=1):
            sort, text, answer = question.sort, question.text, question.answer
            seen.add(sort)
            if sort == "count":
                assert answer == numbers[len(scene.things)]
            elif sort == "colour":
                assert answer == scene.background
            elif sort in ("what is at", "anything at"):
                there = scene.things.get(re.search(r"at the (.*)\?", text)[1])
                expected = with_article(there) if there else "nothing"
                assert answer == (expected if sort == "what is at" else "yes" if there else "no")
            elif sort == "is there":
                name = re.fullmatch(r"is there an? (.*)\?", text)[1]
                assert (answer == "yes") == (count_by_hand(scene, name) > 0)
            elif sort == "how many":
                many = {plural(name): name for name in NAMES}
                name = many[re.fullmatch(r"how many (.*) are there\?", text)[1]]
                assert answer == numbers[count_by_hand(scene, name)]
            elif sort == "where":
                name = re.fullmatch(r"where is the (.*)\?", text)[1]
                assert scene.things[answer.removeprefix("at the ")] == name
                assert count_by_hand(scene, name) == 1
            elif sort == "beside":
                name = re.fullmatch(r"what is beside the (.*)\?", text)[1]
                (place,) = [p for p, thing in scene.things.items() if thing == name]
                other = PLACES[PLACES.index(place) ^ 1]
                there = scene.things.get(other)
                assert answer == (with_article(there) if there else "nothing")
            elif sort == "kind":
                assert answer == with_article(KIND_OF[scene.things[MIDDLE]])
            elif sort == "name":
                assert answer == with_article(scene.things[MIDDLE])
            else:
                assert sort == "describe" and answer.endswith(f" on {scene.background}")
                for name in scene.things.values():
                    n = count_by_hand(scene, name)
                    said = with_article(name) if n == 1 else f"{numbers[n]} {plural(name)}"
                    assert f" {said} " in f" {answer}"
    assert seen == set(SORTS)


def test_yes_and_no_are_equally_often_right(scenes):
    asked = [q for scene in scenes for q in questions(scene) if q.sort == "is there"]
    share = sum(q.answer == "yes" for q in asked) / len(asked)
    assert share == pytest.approx(0.5, abs=0.01)


def test_absent_things_are_drawn_from_the_list_that_is_given():
    scenes = make_scenes(200, seed=5, things=CORE)
    said = {f"is there {with_article(name)}?" for name in CORE}
    for scene in scenes:
        assert {q.text for q in questions(scene, 0, CORE) if q.sort == "is there"} <= said
    asked = [q for scene in scenes for q in questions(scene, 0, CORE) if q.sort == "is there"]
    assert sum(q.answer == "yes" for q in asked) / len(asked) == pytest.approx(0.5, abs=0.01)
    with pytest.raises(ValueError, match="among has 3 names; give at least eight"):
        questions(scenes[0], 0, CORE[:3])


def test_every_word_is_in_the_vocabulary(scenes):
    known = set(words())
    assert len(known) == len(words())
    for scene in scenes:
        for question in questions(scene, random.Random(2)):
            text = f"{question.text} {question.answer}".replace("?", " ?").replace(".", " .")
            assert set(text.split()) <= known


@pytest.mark.parametrize(
    ("name", "many", "one"),
    [
        ("wolf", "wolves", "a wolf"),
        ("unicorn", "unicorns", "a unicorn"),
        ("owl", "owls", "an owl"),
        ("tropical fish", "tropical fish", "a tropical fish"),
        ("game die", "game dice", "a game die"),
        ("candy", "candies", "a candy"),
        ("monkey", "monkeys", "a monkey"),
        ("wine glass", "wine glasses", "a wine glass"),
        ("mouse", "mice", "a mouse"),
    ],
)
def test_english(name, many, one):
    assert plural(name) == many and with_article(name) == one


def test_what_cannot_be_made_is_refused():
    with pytest.raises(ValueError, match="n is -1"):
        make_scenes(-1)
    with pytest.raises(ValueError, match="no style 'x' in the emoji data set"):
        make_scenes(1, style="x")
    with pytest.raises(ValueError, match=r"no thing 'zebra' among the drawings of 'twemoji'"):
        make_scenes(1, things=["tulip", "zebra"])
    with pytest.raises(ValueError, match="things is empty"):
        make_scenes(1, things=[])
    assert make_scenes(0) == []
    few = make_scenes(30, things=["tulip", "dog"], seed=1)
    assert {name for scene in few for name in scene.things.values()} == {"tulip", "dog"}
