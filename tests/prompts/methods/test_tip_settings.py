"""Tip-Adapter's settings: what stands for those not given, their ends, and how ties are settled."""

import math

import pytest
import torch
from safetensors.torch import load_file

from clipnotes.prompts import TipAdapter, ZeroShot, fit_tip, load_prompt
from clipnotes.prompts.methods import tip
from clipnotes.prompts.saved.storage import read_prompt, write_prompt
from few_pictures import CLASSES, pictures
from reference import agree, assert_close

TEMPLATE = "a photo of a {}."


def test_what_is_not_given_is_as_documented(clip):
    features, labels = pictures(clip, 5)
    adapter = TipAdapter(clip, CLASSES, features, labels)
    assert (adapter.template, adapter.alpha, adapter.beta) == (TEMPLATE, 1.0, 5.5)
    # With one picture in each class nothing is chosen, and all is as given.
    trained, choice = fit_tip(clip, CLASSES, features, labels)
    assert (trained.template, trained.alpha, trained.beta) == (TEMPLATE, 1.0, 5.5)
    assert choice.epoch == 20
    given = {"epochs": 20, "lr": 0.001, "batch_size": 256, "seed": 0}
    twin, _ = fit_tip(clip, CLASSES, features, labels, **given)
    assert agree(trained.keys, twin.keys)


def parts_of(learner):
    """The pictures of each call of ``logits``, as they come."""
    seen, logits = [], learner.logits
    learner.logits = lambda part: seen.append(part) or logits(part)
    return seen


def test_a_step_is_for_256_pictures(clip, monkeypatch):
    features, labels = pictures(clip, 257)
    monkeypatch.setattr(tip, "_hold_out", lambda *_: [])
    seen, train = [], tip._train

    def watched(learner, **recipe):
        seen.append(parts_of(learner))
        return train(learner, **recipe)

    monkeypatch.setattr(tip, "_train", watched)
    fit_tip(clip, CLASSES, features, labels, epochs=1)
    assert [len(part) for part in seen[0]] == [256, 1]


def test_each_epoch_and_each_seed_has_an_order_of_its_own(clip):
    features, labels = pictures(clip, 10)
    orders = []
    for seed in (0, 0, 1):
        learner = TipAdapter(clip, CLASSES, features, labels)
        seen = parts_of(learner)
        for _ in tip._train(learner, epochs=2, lr=0.001, batch_size=1, seed=seed):
            pass
        orders.append([next(i for i in range(10) if torch.equal(p[0], features[i])) for p in seen])
    first, second = orders[0][:10], orders[0][10:]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert orders[0] == orders[1] != orders[2]


# What is chosen


def test_it_is_trained_with_the_alpha_and_beta_that_are_given(clip, monkeypatch):
    features, labels = pictures(clip, 10)
    seen, choose = [], tip._choose

    def spy(learner, *rest):
        seen.append((learner.alpha, learner.beta))
        return choose(learner, *rest)

    monkeypatch.setattr(tip, "_choose", spy)
    fit_tip(clip, CLASSES, features, labels, alpha=2, beta=3, epochs=1)
    assert seen == [(2.0, 3.0)]


def test_training_that_improves_nothing_is_left_out(clip):
    features, labels = pictures(clip, 10)
    _, choice = fit_tip(clip, CLASSES, features, labels, lr=1e-30, epochs=3)  # too small to matter
    assert choice.epoch == 0


def test_no_epoch_at_all_may_be_the_best_number(clip, monkeypatch):
    features, labels = pictures(clip, 10)
    monkeypatch.setattr(tip, "_choose", lambda *_: tip.TipChoice(0, 0.3, 0.7, 1.0, 5))
    learner, _ = fit_tip(clip, CLASSES, features, labels, lr=0.1)
    assert torch.equal(learner.keys, features)


def test_every_alpha_is_tried_with_every_beta(clip):
    features, labels = pictures(clip, 25)
    truth = torch.tensor(labels)
    learner = TipAdapter(clip, CLASSES, features[:15], labels[:15])
    recipe = {"epochs": 0, "lr": 0.1, "batch_size": 4, "seed": 0}
    choice = tip._choose(learner, features[15:], truth[15:], recipe)
    best = (-1.0, -math.inf)
    for learner.beta in tip.BETAS:
        for learner.alpha in tip.ALPHAS:
            logits = learner.logits(features[15:])
            loss = torch.nn.functional.cross_entropy(logits, truth[15:]).item()
            right = (logits.argmax(-1) == truth[15:]).float().mean().item()
            best = max(best, (right, -loss))
    learner.alpha, learner.beta = choice.alpha, choice.beta
    logits = learner.logits(features[15:])
    loss = torch.nn.functional.cross_entropy(logits, truth[15:]).item()
    assert choice.accuracy == best[0]
    assert loss == pytest.approx(-best[1], rel=1e-4)
    assert choice.beta != tip.BETAS[-1], "the last is not the best here, so it shows"


def test_of_settings_that_do_equally_well_the_first_is_taken(clip):
    """The smallest beta, and with it the smallest alpha: no more than is needed."""
    features = torch.eye(128)[:5]  # each picture is like its own class and like no other
    learner = TipAdapter(clip, CLASSES, features, range(5))
    recipe = {"epochs": 0, "lr": 0.1, "batch_size": 4, "seed": 0}
    choice = tip._choose(learner, features, torch.arange(5), recipe)
    learner.alpha, learner.beta = choice.alpha, choice.beta
    assert torch.nn.functional.cross_entropy(learner.logits(features), torch.arange(5)) == 0
    assert choice.beta < tip.BETAS[-1], "the largest would do, too"


# What they may be


@pytest.mark.parametrize("beta", [0, 0.5])
def test_a_cache_that_does_not_count_leaves_clip_alone(clip, beta):
    features, labels = pictures(clip, 5)
    learner = TipAdapter(clip, CLASSES, features, labels, alpha=0, beta=beta)
    alone = ZeroShot(clip, CLASSES, TEMPLATE)
    assert_close("logits", learner.logits(features), alone.logits(features))


@pytest.mark.parametrize("lr", [math.inf, math.nan, "0.1"])
def test_a_rate_that_is_no_finite_number_is_refused(clip, lr):
    features, labels = pictures(clip, 5)
    with pytest.raises(ValueError, match="lr is"):
        fit_tip(clip, CLASSES, features, labels, lr=lr)


def test_features_in_half_precision_are_taken(clip):
    features, labels = pictures(clip, 5)
    learner = TipAdapter(clip, CLASSES, features, labels)
    rounded = features.bfloat16()
    assert agree(learner.logits(rounded), learner.logits(rounded.float()))


# On disk


def test_the_file_holds_the_cache_and_not_what_the_model_says_of_the_names(clip, tmp_path):
    TipAdapter(clip, CLASSES, *pictures(clip, 5)).save(tmp_path)
    assert set(load_file(tmp_path / "prompt.safetensors")) == {"keys", "labels"}


def test_a_file_without_labels_is_damaged(clip, tmp_path):
    TipAdapter(clip, CLASSES, *pictures(clip, 7)).save(tmp_path)
    tensors, card = read_prompt(tmp_path)
    write_prompt(tmp_path, {"keys": tensors["keys"]}, card, force=True)
    with pytest.raises(ValueError, match=r"is damaged: it holds \{'keys'.*must hold .*'labels'"):
        load_prompt(tmp_path, clip)
