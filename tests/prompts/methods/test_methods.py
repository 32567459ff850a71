"""Which class a saved prompt belongs to, and which towers it is for."""

import inspect

import pytest
import torch

from clipnotes import prompts
from clipnotes.compat import vision_tower
from clipnotes.prompts import METHODS, PromptLearner, load_prompt
from clipnotes.prompts.saved.identity import vision_tower_digest
from clipnotes.prompts.saved.storage import read_prompt, write_prompt
from few_pictures import small_learner
from reference import agree
from saved_prompts import changed


def test_load_prompt_finds_the_class(clip, tmp_path):
    learner = small_learner(clip, position="front")
    learner.save(tmp_path)
    back = load_prompt(tmp_path, clip, ["beetle", "bear"])
    assert type(back) is PromptLearner and back.position == "front"
    assert torch.equal(back.ctx, learner.ctx) and back.classnames == ["beetle", "bear"]
    tensors, card = read_prompt(tmp_path)
    write_prompt(tmp_path, tensors, {**card, "method": "other"}, force=True)
    with pytest.raises(ValueError, match=r"of the method 'other', and there are .*coop"):
        load_prompt(tmp_path, clip)


def test_each_method_goes_by_its_name_and_takes_its_options():
    for name, kind in METHODS.items():
        assert kind.method == name
        assert set(kind.OPTIONS) <= set(inspect.signature(kind).parameters)
        assert kind.__name__ in prompts.__all__ and getattr(prompts, kind.__name__) is kind


def test_what_depends_on_the_vision_tower_says_so(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(PromptLearner, "uses_vision", True)
    learner = small_learner(clip)
    learner.save(tmp_path)
    assert agree(PromptLearner.load(tmp_path, clip)(), learner())
    other = changed(clip, lambda model: vision_tower(model).post_layernorm.weight.mul_(2))
    mine, theirs = vision_tower_digest(clip.model)[:12], vision_tower_digest(other.model)[:12]
    with pytest.raises(ValueError, match=f"vision tower {mine} of Emoji-CLIP; .* is {theirs}"):
        PromptLearner.load(tmp_path, other)
    projected = changed(clip, lambda model: model.visual_projection.weight.mul_(2))
    with pytest.raises(ValueError, match="the vision tower"):
        PromptLearner.load(tmp_path, projected)


def test_the_recipe_is_on_the_card(clip, tmp_path):
    recipe = {"method": "kgcoop", "epochs": 100, "lr": 0.002}
    small_learner(clip).save(tmp_path, recipe=recipe)
    tensors, card = read_prompt(tmp_path)
    assert card["recipe"] == recipe
    with pytest.raises(TypeError, match=r"'epochs' in the recipe is \[1\]"):
        small_learner(clip).save(tmp_path, recipe={"epochs": [1]}, force=True)
    assert read_prompt(tmp_path)[1] == card
    del card["recipe"]  # written before cards had one
    write_prompt(tmp_path, tensors, card, force=True)
    assert read_prompt(tmp_path)[1]["recipe"] == {}
    small_learner(clip).save(tmp_path, force=True)
    assert read_prompt(tmp_path)[1]["recipe"] == {}
