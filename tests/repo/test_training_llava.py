"""Training Emoji-LLaVA: packing, naming, what is shown, and going on after a stop."""

import json
import random
import sys

import pytest
import torch

import llava
import llava_data
import llava_model
import llava_variants
from clipnotes.llava import SORTS, make_scenes, questions
from clipnotes.llava.scenes import MIDDLE, PLACES, drawings_of
from clipnotes.model import splice
from emoji import load_pictures
from reference import assert_close

FEW = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


@pytest.fixture(scope="module")
def seen(clip):
    return llava_data.look(clip, make_scenes(24, seed=3), batch=8)


@pytest.fixture
def training(clip, monkeypatch):
    monkeypatch.setattr(llava, "SHAPE", FEW)

    def make(shown="patches", seed=0, **others):
        return llava.Training(clip, llava.Recipe(6, shown, batch=4, **others), seed)

    return make


def test_packed_questions_are_answered_as_if_each_were_alone(training, seen):
    made = training()
    asked = [questions(scene, 0)[:4] for scene in seen.scenes[:2]]
    packed = made.pack(asked)
    shown, _ = made.show(seen.states[:2].float(), torch.zeros(2, 65, dtype=torch.long))
    with torch.no_grad():
        logits, right, _ = llava_model.answers(made.model, shown, packed, made.begin)
        embed, language = made.model.get_input_embeddings(), made.model.model.language_model
        alone = []
        for scene, row in enumerate(asked):
            for question in row:
                said = made.words.encode(question.text, add_special_tokens=False).ids
                answer = made.words.encode(question.answer, add_special_tokens=False).ids
                ids = [*made.begin, *[4] * 64, *said, made.assistant, *answer]
                ids = torch.tensor([ids])
                image = made.model.model.multi_modal_projector(shown[scene : scene + 1])
                inputs = splice(embed(ids), image, ids == 4)
                hidden = language(inputs_embeds=inputs, use_cache=False).last_hidden_state
                alone.append(made.model.lm_head(hidden[0, -len(answer) - 1 :]))
        assert_close("packed", logits, torch.cat(alone))
    wanted = [
        token
        for row in asked
        for question in row
        for token in [
            *made.words.encode(question.answer, add_special_tokens=False).ids,
            made.eos,
        ]
    ]
    assert right.tolist() == wanted


def test_the_mask_lets_a_question_see_the_image_and_itself():
    packed = llava_data.Packed(
        torch.zeros(1, 4, dtype=torch.long),
        torch.tensor([[1, 1, 2, 2]]),
        *[torch.zeros(1, 4, dtype=torch.long)] * 2,
    )
    (allowed,) = llava_data.mask_of(packed, 2)[:, 0]
    assert allowed.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]


def test_each_patch_names_what_stands_in_its_quarter(seen):
    rng = random.Random(0)
    for scene in seen.scenes:
        named = llava_data.shows(scene, rng)
        assert len(named) == 65
        grid = [named[1 + 8 * row : 9 + 8 * row] for row in range(8)]
        assert named[0] in " ".join(scene.things.values()).split()
        for k, place in enumerate(PLACES):
            rows = range(4 * (k // 2), 4 * (k // 2) + 4)
            words = {grid[row][4 * (k % 2) + column] for row in rows for column in range(4)}
            if MIDDLE in scene.things:
                assert words <= set(scene.things[MIDDLE].split())
            elif place in scene.things:
                assert words <= set(scene.things[place].split())
            else:
                assert words == {scene.background}


@pytest.mark.parametrize("shown", list(llava_model.SHOWN))
def test_what_is_shown_is_what_it_says(shown, training, seen, clip):
    made, states = training(shown), seen.states[:3].float()
    names = torch.arange(65).expand(3, -1)
    torch.manual_seed(1)
    given, named = made.show(states, names)
    assert given.shape[:2] == named.shape
    if shown in ("class", "projected"):
        pixels = clip.preprocess([scene.image for scene in make_scenes(3, seed=3)])
        with torch.no_grad():
            pooled = clip.model.vision_model(pixel_values=pixels).pooler_output
            if shown == "projected":
                pooled = clip.model.visual_projection(pooled)
        assert_close("pooled", given[:, 0], pooled, 0.01)  # the cache is float16
        assert named.tolist() == [[0]] * 3
    elif shown == "none":
        assert given.shape[1] == 0
    elif shown == "all":
        assert torch.equal(given, states[:, 0]) and named[0].tolist() == list(range(65))
    else:
        layer = states[:, 1 if shown == "last" else 0]
        for row in range(3):
            assert torch.equal(given[row], layer[row, named[row]])
        assert sorted(named[0].tolist()) == list(range(1, 65))
        assert (named[0].tolist() != list(range(1, 65))) == (shown == "shuffled")


def test_a_run_learns_and_goes_on_after_a_stop(training, seen, tmp_path):
    made = training()
    before = {name: p.clone() for name, p in made.model.named_parameters()}
    rows = [made.step(seen) for _ in range(4)]
    assert all(row["loss"] > 0 and row["naming"] > 0 for row in rows)
    assert all((p - before[name]).abs().max() > 0 for name, p in made.model.named_parameters())
    made.save(tmp_path / "checkpoint.safetensors")
    other = training(seed=1)
    other.resume(tmp_path / "checkpoint.safetensors")
    assert other.done == 4
    for name, value in made.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name])
    for one, two in zip(made.optims, other.optims, strict=True):
        state = two.state_dict()["state"]
        assert state.keys() == one.state_dict()["state"].keys()
    scores = other.validate(seen)
    assert set(scores) == set(SORTS) and all(0 <= s <= 1 for s in scores.values())
    assert other.step(seen)["loss"] > 0 and other.done == 5


def test_a_projector_may_learn_alone_before_all_learn(training, seen):
    made = training(alone=2)
    before = {name: p.clone() for name, p in made.model.named_parameters()}

    def moved():
        pairs = made.model.named_parameters()
        return {name for name, p in pairs if not torch.equal(p, before[name])}

    made.step(seen), made.step(seen)
    assert moved() == {name for name in before if "multi_modal_projector" in name}
    made.step(seen)
    assert moved() == set(before)


def test_every_variant_is_trained_once_and_asked_about_each_set(seen, clip, monkeypatch, tmp_path):
    monkeypatch.setattr(llava, "SHAPE", FEW)
    monkeypatch.setattr(llava_variants, "BATCH", 4)
    monkeypatch.setattr(llava_variants, "SEEDS", (0,))
    monkeypatch.setattr(llava_variants, "SCENES", 24)
    monkeypatch.setattr(llava_variants, "ASKED", 16)
    monkeypatch.setattr(llava_variants, "plain", lambda *_: None)
    monkeypatch.setattr(llava_variants, "see", lambda *_, **__: seen)
    monkeypatch.setattr(llava_variants, "augmented", lambda *_: None)
    pictures = type("Pictures", (), {"train": [], "validation": []})
    monkeypatch.setattr(llava_variants, "load_pictures", pictures)
    out = tmp_path / "variants.json"
    words = ["llava_variants.py", str(tmp_path / "run"), "--steps", "4", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    llava_variants.main()
    rows = json.loads(out.read_text("utf-8"))["rows"]
    assert [row["variant"] for row in rows] == list(llava_variants.VARIANTS)
    for row in rows:
        assert set(row["right"]) == {"validation", "twemoji", "openmoji"}
        assert set(row["right"]["twemoji"]) == set(SORTS)
    monkeypatch.setattr(llava_variants, "run", lambda *_: pytest.fail("trained once more"))
    llava_variants.main()
    assert json.loads(out.read_text("utf-8"))["rows"] == rows


def test_the_drawings_that_train_are_not_those_that_test():
    pictures = load_pictures()
    assert not set(pictures.train) & set(pictures.validation)
    styles = {pictures.rows[i]["style"] for i in (*pictures.train, *pictures.validation)}
    assert not styles & {"twemoji", "openmoji"} and len(styles) == 10
    few = [i for i in pictures.train if pictures.rows[i]["name"] in ("dog", "tulip")][:6]
    drawn = llava_data.augmented(pictures, few, seed=0)
    assert sum(map(len, drawn.values())) == len(few) * llava_data.VARIANTS
    assert {image.size for images in drawn.values() for image in images} == {(64, 64)}
    assert set(llava_data.plain(pictures, few)) == set(drawn) <= set(drawings_of("noto"))
