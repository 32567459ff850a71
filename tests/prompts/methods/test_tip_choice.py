"""What Tip-Adapter-F chooses: the best on the images held out, then trained on all of them."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from clipnotes.prompts import TipAdapter, evaluate, fit_tip
from clipnotes.prompts.methods import tip
from few_pictures import CLASSES, TEMPLATE, pictures
from reference import agree


def test_the_pictures_held_out_are_a_quarter_of_each_class_and_never_cached(clip, monkeypatch):
    labels = [0] * 8 + [1] * 7 + [2] + [3] * 4 + [4] * 2
    held = tip._hold_out(labels, seed=0)
    assert sorted(labels[i] for i in held) == [0, 0, 1, 3, 4]
    assert tip._hold_out(labels, seed=0) == held != tip._hold_out(labels, seed=1)
    features, _ = pictures(clip, len(labels))
    seen, choose = [], tip._choose

    def spy(learner, others, *rest):
        seen.append((learner.keys.detach().clone(), others))
        return choose(learner, others, *rest)

    monkeypatch.setattr(tip, "_choose", spy)
    learner, choice = fit_tip(clip, CLASSES, features, labels, epochs=1)
    ((kept, others),) = seen
    assert torch.equal(others, features[held]) and choice.n_held_out == 5
    assert not (kept[:, None] == others[None]).all(-1).any()
    assert len(kept) + len(others) == len(features) == len(learner.keys)


def test_what_is_chosen_is_the_best_there_is(clip):
    features, labels = pictures(clip, 25)
    kept, held = list(range(15)), list(range(15, 25))
    truth = torch.tensor(labels)
    recipe = {"epochs": 6, "lr": 0.1, "batch_size": 4, "seed": 0}
    make = lambda: TipAdapter(  # noqa: E731
        clip, CLASSES, features[kept], truth[kept], TEMPLATE
    )
    choice = tip._choose(make(), features[held], truth[held], recipe)
    found = []
    learner = make()
    for epoch in tip._train(learner, **recipe):
        logits = learner.logits(features[held])
        right = (logits.argmax(-1) == truth[held]).float().mean()
        loss = F.cross_entropy(logits, truth[held])
        found.append(((right, -loss), epoch, copy.deepcopy(learner)))
    _, epoch, best = max(found, key=lambda one: one[0])
    assert choice.epoch == epoch != recipe["epochs"], "not simply the last"
    accuracies = []
    for best.alpha in tip.ALPHAS:
        for best.beta in tip.BETAS:
            accuracies.append(evaluate(best, features[held], truth[held]).accuracy)
    best.alpha, best.beta = choice.alpha, choice.beta
    accuracy = evaluate(best, features[held], truth[held]).accuracy
    assert accuracy == pytest.approx(max(accuracies)) == pytest.approx(choice.accuracy)
    assert max(accuracies) > min(accuracies)


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
    features = torch.eye(128)[:5]  # each image is like its own class and like no other
    learner = TipAdapter(clip, CLASSES, features, range(5))
    recipe = {"epochs": 0, "lr": 0.1, "batch_size": 4, "seed": 0}
    choice = tip._choose(learner, features, torch.arange(5), recipe)
    learner.alpha, learner.beta = choice.alpha, choice.beta
    assert torch.nn.functional.cross_entropy(learner.logits(features), torch.arange(5)) == 0
    assert choice.beta < tip.BETAS[-1], "the largest would do, too"


def test_training_that_improves_nothing_is_left_out(clip):
    features, labels = pictures(clip, 10)
    _, choice = fit_tip(clip, CLASSES, features, labels, lr=1e-30, epochs=3)  # too small to matter
    assert choice.epoch == 0


def test_it_is_trained_with_the_alpha_and_beta_that_are_given(clip, monkeypatch):
    features, labels = pictures(clip, 10)
    seen, choose = [], tip._choose

    def spy(learner, *rest):
        seen.append((learner.alpha, learner.beta))
        return choose(learner, *rest)

    monkeypatch.setattr(tip, "_choose", spy)
    fit_tip(clip, CLASSES, features, labels, alpha=2, beta=3, epochs=1)
    assert seen == [(2.0, 3.0)]


def test_what_is_chosen_is_trained_on_all_pictures(clip, monkeypatch):
    features, labels = pictures(clip, 10)
    monkeypatch.setattr(tip, "_choose", lambda *_: tip.TipChoice(2, 0.3, 0.7, 1.0, 5))
    learner, _ = fit_tip(clip, CLASSES, features, labels, epochs=4)
    twin = TipAdapter(clip, CLASSES, features, labels)
    stages = [
        twin.keys.detach().clone()
        for _ in tip._train(twin, epochs=4, lr=0.001, batch_size=256, seed=0)
    ]
    assert [agree(learner.keys, keys) for keys in stages] == [0, 0, 1, 0, 0]
    assert (learner.alpha, learner.beta) == (0.3, 0.7)


def test_no_epoch_at_all_may_be_the_best_number(clip, monkeypatch):
    features, labels = pictures(clip, 10)
    monkeypatch.setattr(tip, "_choose", lambda *_: tip.TipChoice(0, 0.3, 0.7, 1.0, 5))
    learner, _ = fit_tip(clip, CLASSES, features, labels, lr=0.1)
    assert torch.equal(learner.keys, features)


def test_one_shot_holds_nothing_out_and_takes_what_is_given(clip):
    features, labels = pictures(clip, 5)
    given = {"alpha": 2, "beta": 3, "epochs": 2}
    learner, choice = fit_tip(clip, CLASSES, features, labels, **given)
    assert (choice.epoch, choice.alpha, choice.beta, choice.n_held_out) == (2, 2.0, 3.0, 0)
    assert math.isnan(choice.accuracy) and not torch.equal(learner.keys, features)
    learner, _ = fit_tip(clip, CLASSES, features, labels, epochs=0)
    assert torch.equal(learner.keys, features)
