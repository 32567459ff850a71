"""A saved prompt comes back as it was, with its card, and replaces another only when asked."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file

import clipnotes
from clipnotes.prompts import PromptLearner
from clipnotes.prompts.saved import storage
from clipnotes.prompts.saved.card import FIELDS, model_name
from few_pictures import CLASSES, small_learner
from reference import agree
from saved_prompts import changed


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_what_comes_back_is_what_was_saved(clip, tmp_path, per_class, position):
    arguments = {"position": position, "per_class": per_class, "template": "{} here.", "seed": 3}
    learner = small_learner(clip, **arguments)
    learner.save(tmp_path / "a" / "prompt", shots=16, seed=3, scores={"test": 0.75})
    back = PromptLearner.load(tmp_path / "a" / "prompt", clip)
    assert torch.equal(back.ctx, learner.ctx) and back.ctx.requires_grad
    assert agree(back(), learner())
    names = ("classnames", "n_ctx", "position", "per_class", "template")
    assert [getattr(back, name) for name in names] == [getattr(learner, name) for name in names]


def test_the_card_says_everything(clip, tmp_path):
    small_learner(clip).save(tmp_path, shots=2, seed=1, scores={"test": torch.tensor(0.5)})
    card = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))
    assert "copy" in card.pop("note")
    assert set(card) == set(FIELDS)
    assert card == storage.read_prompt(tmp_path)[1]
    options = {"n_ctx": 2, "position": "end", "per_class": False, "template": "{}."}
    assert (card["method"], card["options"], card["vision_tower"]) == ("coop", options, None)
    assert card["versions"].keys() == {"clipnotes", "python", "torch", "transformers"}
    assert card["versions"]["torch"] == torch.__version__
    assert len(card["text_tower"]) == 64
    facts = {"model": "Emoji-CLIP", "width": 128, "classnames": CLASSES, "shots": 2, "seed": 1}
    assert {name: card[name] for name in facts} == facts
    assert card["scores"] == {"test": 0.5}


def test_a_shared_context_takes_other_classes(clip, tmp_path):
    learner = small_learner(clip, seed=2)
    learner.save(tmp_path)
    others = ["beetle", "sports car", CLASSES[0]]
    back = PromptLearner.load(tmp_path, clip, others)
    twin = PromptLearner(clip, others, n_ctx=2)
    with torch.no_grad():
        twin.ctx.copy_(learner.ctx)
    assert agree(back(), twin())
    assert torch.allclose(back()[2], learner()[0], atol=1e-5)


def test_a_context_per_class_does_not(clip, tmp_path):
    learner = small_learner(clip, per_class=True)
    learner.save(tmp_path)
    for names in (CLASSES[::-1], CLASSES[:-1], ["a", "b", "c", "d", "e"]):
        with pytest.raises(ValueError, match=r"each of its 5 classes by itself \(grapes, "):
            PromptLearner.load(tmp_path, clip, names)
    assert agree(PromptLearner.load(tmp_path, clip, tuple(CLASSES))(), learner())


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (CLASSES, r"\(grapes, melon, banana, cherries, tomato\)"),
        ([*CLASSES, "kiwi"], r"\(grapes, melon, banana, cherries, tomato, \.\.\.\)"),
    ],
)
def test_the_classes_that_it_was_learned_for_are_said_up_to_five(clip, tmp_path, names, said):
    PromptLearner(clip, names, n_ctx=2, per_class=True).save(tmp_path)
    with pytest.raises(ValueError, match=f"its {len(names)} classes by itself {said}"):
        PromptLearner.load(tmp_path, clip, ["a", "b"])


def test_a_half_precision_model_saves_float32(clip, tmp_path):
    half = changed(clip, lambda model: model.bfloat16())
    learner = small_learner(half)
    learner.save(tmp_path)
    assert load_file(tmp_path / "prompt.safetensors")["ctx"].dtype == torch.float32
    assert torch.equal(PromptLearner.load(tmp_path, half).ctx, learner.ctx)
    with pytest.raises(ValueError, match="half precision counts as another"):
        PromptLearner.load(tmp_path, clip)


def test_the_name_opens_the_model_from_anywhere(clip, tmp_path, monkeypatch):
    named = clipnotes.Clip(copy.deepcopy(clip.model), clip.tokenizer, clip.image_processor)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name, expected in (
        ("mine", str(tmp_path / "mine")),
        ("openai/clip-vit-base-patch32", "openai/clip-vit-base-patch32"),
        ("", ""),
    ):
        named.model.config._name_or_path = name
        assert model_name(named) == expected
    assert model_name(clip) == "Emoji-CLIP"


def test_integers_stay_integers(clip, tmp_path):
    small_learner(clip).save(tmp_path)
    card = storage.read_prompt(tmp_path)[1]
    tensors = {"a": torch.tensor([2**40, 3]), "b": torch.ones(2).half()}
    storage.write_prompt(tmp_path, tensors, card, force=True)
    back = storage.read_prompt(tmp_path)[0]
    assert torch.equal(back["a"], tensors["a"]) and torch.equal(back["b"], torch.ones(2))


def test_the_copy_of_the_card_has_a_line_for_each_entry(clip, tmp_path):
    """It is there to be read."""
    small_learner(clip).save(tmp_path)
    text = (tmp_path / storage.COPY).read_text(encoding="utf-8")
    for name in json.loads(text):
        assert any(line.strip().startswith(f'"{name}": ') for line in text.splitlines()), name


def test_nothing_is_overwritten_unless_asked(clip, tmp_path):
    small_learner(clip, seed=1).save(tmp_path)
    before = (tmp_path / "prompt.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"already holds prompt\.safetensors"):
        small_learner(clip, seed=2).save(tmp_path)
    assert (tmp_path / "prompt.safetensors").read_bytes() == before
    small_learner(clip, seed=2).save(tmp_path, force=True)
    assert torch.equal(PromptLearner.load(tmp_path, clip).ctx, small_learner(clip, seed=2).ctx)
    with pytest.raises(ValueError, match="is a file"):
        small_learner(clip).save(tmp_path / "card.json", force=True)


def test_write_prompt_replaces_nothing_unless_asked(clip, tmp_path):
    small_learner(clip).save(tmp_path)
    tensors, card = storage.read_prompt(tmp_path)
    with pytest.raises(ValueError, match="already holds"):
        storage.write_prompt(tmp_path, {"ctx": tensors["ctx"] + 1}, card)
    assert torch.equal(storage.read_prompt(tmp_path)[0]["ctx"], tensors["ctx"])
