"""The card of a prompt: what it says of the model, of the versions, and unless it is told."""

import copy
from importlib.metadata import PackageNotFoundError, version

import pytest
import torch

import clipnotes
from clipnotes.prompts.saved import card
from clipnotes.prompts.saved.card import make_card
from clipnotes.prompts.saved.fits import check_fits

ROSE = {"method": "coop", "options": {}, "classnames": ["rose"]}


def test_the_digests_are_those_on_cards_that_were_written_before(clip):
    """Another digest of the same weights would refuse every prompt that somebody has saved."""
    made = make_card(clip, **ROSE, vision=True)
    assert made["text_tower"][:16] == "e1cc1e9fa2d94c28"
    assert made["vision_tower"][:16] == "eb46cb2358d63cb7"


def test_what_is_not_told_is_not_on_the_card(clip):
    made = make_card(clip, **ROSE)
    assert [made[name] for name in ("vision_tower", "shots", "seed")] == [None] * 3
    assert made["scores"] == made["recipe"] == {}


def test_the_versions_are_those_that_are_installed(clip, monkeypatch):
    found = make_card(clip, **ROSE)["versions"]
    names = {"clipnotes": "clipnotes-book", "torch": "torch", "transformers": "transformers"}
    assert {name: found[name] for name in names} == {
        name: version(installed) for name, installed in names.items()
    }

    def missing(distribution):
        raise PackageNotFoundError(distribution)

    monkeypatch.setattr(card, "version", missing)
    assert make_card(clip, **ROSE)["versions"]["clipnotes"] == "not installed"


def test_models_without_a_name_are_called_so(clip):
    nameless = copy.deepcopy(clip.model)
    nameless.config._name_or_path = ""
    mine = clipnotes.Clip(nameless, clip.tokenizer, clip.image_processor)
    made = make_card(mine, **ROSE)
    assert made["model"] == ""
    with torch.no_grad():
        nameless.text_projection.weight.neg_()
    words = "of a model without a name; that of a model without a name is"
    with pytest.raises(ValueError, match=words):
        check_fits(mine, made)
