"""Tip-Adapter against its formula, a training written out, and the care about what is chosen on."""

import copy
import math

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from clipnotes.prompts import TipAdapter, ZeroShot, evaluate, fit, fit_tip, load_prompt
from clipnotes.prompts.methods import tip
from clipnotes.prompts.saved.storage import read_prompt, write_prompt
from clipnotes.prompts.training.resume import digest
from few_pictures import CLASSES, fruits, pictures
from reference import agree, assert_close

TEMPLATE = "an emoji of a {}."


def formula(clip, keys, labels, features, alpha, beta):
    """Equations 3 to 5 of the paper, with one-hot values and a loop over the cache."""
    texts = clip.encode_text([TEMPLATE.format(name) for name in CLASSES]).float()
    rows = []
    for feature in features:
        cache = torch.zeros(len(CLASSES))
        for key, label in zip(keys, labels, strict=True):
            one_hot = F.one_hot(torch.tensor(label), len(CLASSES)).float()
            cache = cache + torch.exp(-beta * (1 - feature @ key)) * one_hot
        rows.append(alpha * cache + clip.model.logit_scale.exp().detach() * texts @ feature)
    return torch.stack(rows)


def test_equals_the_formula(clip, monkeypatch):
    features, labels = pictures(clip, 8)
    queries, _ = pictures(clip, 6, seed=1)
    learner = TipAdapter(clip, CLASSES, features, labels, TEMPLATE, alpha=1.7, beta=3.1)
    assert torch.equal(learner.keys, features) and learner.keys.requires_grad
    keys = features.clone().requires_grad_(True)
    expected = formula(clip, keys, labels, queries, 1.7, 3.1)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    (wanted,) = torch.autograd.grad((expected * weights).sum(), keys)
    sizes, cached = [], learner.cached
    learner.cached = lambda part: sizes.append(len(part)) or cached(part)
    for memory in (tip.MEMORY, 4 * 8 * 3 * 2, 1):
        monkeypatch.setattr(tip, "MEMORY", memory)
        found = learner.logits(queries)
        (gradient,) = torch.autograd.grad((found * weights).sum(), learner.keys)
        assert_close("logits", found, expected, 1e-4)  # of about 30
        assert_close("gradient", gradient / wanted.abs().max(), wanted / wanted.abs().max(), 1e-5)
    assert sizes == [6, 2, 2, 2, 1, 1, 1, 1, 1, 1], "a few pictures at once, or one at least"


def test_training_is_adamw_along_a_cosine(clip):
    features, labels = pictures(clip, 10)
    learner = TipAdapter(clip, CLASSES, features, labels, TEMPLATE)
    epochs, lr = 4, 0.01
    for _ in tip._train(learner, epochs=epochs, lr=lr, batch_size=100, seed=0):
        pass
    keys, mean, square = features.clone(), 0.0, 0.0
    for step in range(epochs):  # one batch an epoch, so their order does not matter
        keys = keys.detach().requires_grad_(True)
        logits = formula(clip, keys, labels, features, 1.0, 5.5)
        (g,) = torch.autograd.grad(F.cross_entropy(logits, torch.tensor(labels)), keys)
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
        rate = lr * (1 + math.cos(math.pi * step / epochs)) / 2
        hat = mean / (1 - 0.9 ** (step + 1))
        root = (square / (1 - 0.999 ** (step + 1))).sqrt()
        keys = keys * (1 - rate * 0.01) - rate * hat / (root + 1e-4)
    assert (keys - features).abs().max() > 1e-3
    assert_close("keys", learner.keys, keys, 1e-5)


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


def test_it_learns_from_pictures_and_leaves_the_model_alone(clip):
    clip = copy.deepcopy(clip)
    clip.model.requires_grad_(True)
    before = digest(*clip.model.state_dict().values())
    images, names = fruits(["noto", "fxemoji", "emojione", "noto-v1"])
    learner, choice = fit_tip(clip, CLASSES, images, names, template=TEMPLATE)
    again, same = fit_tip(clip, CLASSES, images, names, template=TEMPLATE)
    assert same == choice and agree(again.keys, learner.keys)
    assert (learner.alpha, learner.beta) == (choice.alpha, choice.beta)
    zero_shot, truth = ZeroShot(clip, CLASSES, TEMPLATE), [CLASSES.index(name) for name in names]
    loss = [
        F.cross_entropy(one.logits(clip.encode_image(images)), torch.tensor(truth))
        for one in (learner, zero_shot)
    ]
    assert loss[0] < loss[1] / 2
    assert digest(*clip.model.state_dict().values()) == before
    assert all(p.grad is None and p.requires_grad for p in clip.model.parameters())


def test_one_shot_holds_nothing_out_and_takes_what_is_given(clip):
    features, labels = pictures(clip, 5)
    given = {"alpha": 2, "beta": 3, "epochs": 2}
    learner, choice = fit_tip(clip, CLASSES, features, labels, **given)
    assert (choice.epoch, choice.alpha, choice.beta, choice.n_held_out) == (2, 2.0, 3.0, 0)
    assert math.isnan(choice.accuracy) and not torch.equal(learner.keys, features)
    learner, _ = fit_tip(clip, CLASSES, features, labels, epochs=0)
    assert torch.equal(learner.keys, features)


def test_fit_trains_it_too(clip):
    features, labels = pictures(clip, 10)
    learner = TipAdapter(clip, CLASSES, features, labels)
    history = fit(learner, features, labels, epochs=5, lr=0.1, progress=False)
    assert history.loss[-1] < history.loss[0]


def test_there_and_back_for_its_own_classes(clip, tmp_path):
    images, names = fruits(["noto", "fxemoji"])
    learner, _ = fit_tip(clip, CLASSES, images, names, epochs=3)
    learner.save(tmp_path, shots=2)
    back = load_prompt(tmp_path, clip)
    features = clip.encode_image(images)
    assert type(back) is TipAdapter and torch.equal(back.labels, learner.labels)
    assert agree(back.logits(features), learner.logits(features))
    with pytest.raises(ValueError, match="nothing for others"):
        TipAdapter.load(tmp_path, clip, CLASSES[:2])
    changed = copy.deepcopy(clip)
    with torch.no_grad():
        changed.model.visual_projection.weight.mul_(2)
    with pytest.raises(ValueError, match="the vision tower"):
        TipAdapter.load(tmp_path, changed)


def test_a_half_precision_model(clip):
    half = copy.deepcopy(clip)
    half.model.bfloat16()
    features, labels = pictures(clip, 5)
    found, expected = (
        TipAdapter(one, CLASSES, features, labels).logits(features) for one in (half, clip)
    )
    assert found.dtype == torch.float32
    assert_close("logits", found, expected, 0.05 * expected.abs().max())


def test_what_cannot_be(clip):
    features, labels = pictures(clip, 5)
    for name in ("alpha", "beta"):
        for value, error in (("1", TypeError), (True, TypeError), (-1, ValueError)):
            with pytest.raises(error, match=f"{name} is"):
                TipAdapter(clip, CLASSES, features, labels, **{name: value})
    with pytest.raises(ValueError, match="the class 'tomato' has no picture"):
        TipAdapter(clip, CLASSES, features[:4], labels[:4])
    with pytest.raises(TypeError, match="template is a list"):
        TipAdapter(clip, CLASSES, features, labels, [TEMPLATE])
    for wrong in ({"epochs": -1}, {"epochs": True}, {"lr": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
            fit_tip(clip, CLASSES, features, labels, **wrong)
    with pytest.raises(FloatingPointError, match="try a smaller lr"):
        fit_tip(clip, CLASSES, features, labels, lr=1e30)


# Settings: what stands for those not given, their ends, and how ties are settled

PHOTO = "a photo of a {}."


def test_what_is_not_given_is_as_documented(clip):
    features, labels = pictures(clip, 5)
    adapter = TipAdapter(clip, CLASSES, features, labels)
    assert (adapter.template, adapter.alpha, adapter.beta) == (PHOTO, 1.0, 5.5)
    # With one picture in each class nothing is chosen, and all is as given.
    trained, choice = fit_tip(clip, CLASSES, features, labels)
    assert (trained.template, trained.alpha, trained.beta) == (PHOTO, 1.0, 5.5)
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
    alone = ZeroShot(clip, CLASSES, PHOTO)
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
