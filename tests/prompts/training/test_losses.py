"""The losses that `fit` knows: the softmax that is as before, and SigLIP's sigmoid."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from clipnotes import compat
from clipnotes.prompts import PromptLearner, fit
from clipnotes.prompts.training.losses import sigmoid, softmax
from families import LENGTH, tiny_clip
from reference import assert_close

CLASSES = ["rose", "tulip", "beetle"]
QUICK = {"epochs": 6, "lr": 0.05, "schedule": "constant", "progress": False}


def features(clip):
    pixels = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return normalize(compat.image_features(clip.model, pixels), dim=-1)


def test_the_sigmoid_loss_is_the_one_that_siglip_itself_has():
    clip = tiny_clip("Siglip")
    texts = clip.tokenizer(CLASSES, padding="max_length", max_length=LENGTH, return_tensors="pt")
    pixels = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    theirs = clip.model(**texts, pixel_values=pixels, return_loss=True)
    ours = sigmoid(theirs.logits_per_image, torch.arange(3)) / 3
    assert_close("loss", ours, theirs.loss)
    (gradient,) = torch.autograd.grad(ours, clip.model.logit_bias, retain_graph=True)
    (wanted,) = torch.autograd.grad(theirs.loss, clip.model.logit_bias)
    assert_close("gradient", gradient, wanted)


def test_losses_by_hand():
    logits, labels = torch.tensor([[2.0, -1.0], [0.5, 3.0], [1.0, 0.0]]), torch.tensor([0, 1, 1])
    wanted = 0.0
    for row, own in zip(logits.tolist(), labels.tolist(), strict=True):
        for k, logit in enumerate(row):
            sure = 1 / (1 + math.exp(-logit))
            wanted -= math.log(sure if k == own else 1 - sure)
    assert abs(sigmoid(logits, labels).item() - wanted) < 1e-5
    expected = cross_entropy(logits, labels) * 3
    assert_close("softmax", softmax(logits, labels), expected)


def test_fit_takes_the_loss_that_it_is_told():
    clip = tiny_clip("Siglip", "larger")
    images, labels = features(clip), [0, 1, 2, 0, 1, 2]
    first = {}
    for loss, function in (("softmax", softmax), ("sigmoid", sigmoid)):
        learner = PromptLearner(clip, CLASSES, 2)
        start = function(learner.logits(images).detach(), torch.tensor(labels)) / 6
        history = fit(learner, images, labels, loss=loss, **QUICK)
        assert abs(history.loss[0] - start.item()) < 1e-4
        assert history.loss[-1] < history.loss[0]
        first[loss] = history.loss[0]
    assert abs(first["softmax"] - first["sigmoid"]) > 0.1


def test_a_loss_that_there_is_not_or_that_makes_no_sense_is_refused():
    siglip, clip = tiny_clip("Siglip"), tiny_clip("CLIP")
    for model, loss, said in (
        (siglip, "hinge", "loss is 'hinge'; choose 'softmax' or 'sigmoid'"),
        (clip, "sigmoid", "logits of this CLIPModel have no bias, so every pair.*loss='softmax'"),
    ):
        learner = PromptLearner(model, CLASSES, 2)
        before = learner.ctx.detach().clone()
        with pytest.raises(ValueError, match=said):
            fit(learner, features(model), [0, 1, 2, 0, 1, 2], loss=loss, **QUICK)
        assert torch.equal(learner.ctx, before)


def test_a_checkpoint_of_the_other_loss_is_another_run(tmp_path):
    clip = tiny_clip("Siglip")
    images, labels, path = features(clip), [0, 1, 2, 0, 1, 2], tmp_path / "run.safetensors"
    fit(PromptLearner(clip, CLASSES, 2), images, labels, loss="sigmoid", checkpoint=path, **QUICK)
    with pytest.raises(ValueError, match=r"What differs: loss \(sigmoid there, None here\)"):
        fit(PromptLearner(clip, CLASSES, 2), images, labels, checkpoint=path, **QUICK)
    again = PromptLearner(clip, CLASSES, 2)
    done = fit(again, images, labels, loss="sigmoid", checkpoint=path, **QUICK)
    assert len(done.loss) == 6
