"""Tip-Adapter against its formula, and a training of its cache written out."""

import copy
import math

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from clipnotes.prompts import TipAdapter, ZeroShot, fit, fit_tip, load_prompt
from clipnotes.prompts.methods import tip
from clipnotes.prompts.saved.storage import read_prompt, write_prompt
from clipnotes.prompts.training.resume import digest
from few_pictures import CLASSES, TEMPLATE, fruits, pictures
from reference import agree, assert_close


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
    assert sizes == [6, 2, 2, 2, 1, 1, 1, 1, 1, 1], "a few images at once, or one at least"


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
    with pytest.raises(ValueError, match="the class 'tomato' has no image"):
        TipAdapter(clip, CLASSES, features[:4], labels[:4])
    with pytest.raises(TypeError, match="template is a list"):
        TipAdapter(clip, CLASSES, features, labels, [TEMPLATE])
    for wrong in ({"epochs": -1}, {"epochs": True}, {"lr": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
            fit_tip(clip, CLASSES, features, labels, **wrong)
    with pytest.raises(FloatingPointError, match="try a smaller lr"):
        fit_tip(clip, CLASSES, features, labels, lr=1e30)


# Settings

PHOTO = "a photo of a {}."


def test_what_is_not_given_is_as_documented(clip):
    features, labels = pictures(clip, 5)
    adapter = TipAdapter(clip, CLASSES, features, labels)
    assert (adapter.template, adapter.alpha, adapter.beta) == (PHOTO, 1.0, 5.5)
    # With one image in each class nothing is chosen, and all is as given.
    trained, choice = fit_tip(clip, CLASSES, features, labels)
    assert (trained.template, trained.alpha, trained.beta) == (PHOTO, 1.0, 5.5)
    assert choice.epoch == 20
    given = {"epochs": 20, "lr": 0.001, "batch_size": 256, "seed": 0}
    twin, _ = fit_tip(clip, CLASSES, features, labels, **given)
    assert agree(trained.keys, twin.keys)


def parts_of(learner):
    """The images of each call of ``logits``, as they come."""
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
