"""KgCoOp against its formula, written out: the loss, its gradient, and whole trainings."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from clipnotes.compat import text_features
from clipnotes.prompts import KgCoOp, PromptLearner, fit, recipe
from clipnotes.prompts.training import fit as training
from clipnotes.prompts.training.average import EpochMean
from clipnotes.prompts.training.losses import softmax
from clipnotes.prompts.training.penalties import made_with
from clipnotes.prompts.training.resume import digest
from few_pictures import CLASSES, pictures, small_learner
from reference import agree, assert_close
from reference_prompts import class_features, class_logits, prompt_clip

TEMPLATE = "an emoji of a {}."


def objective(clip, ctx, features, labels, weight):
    """Cross-entropy plus the weight times one minus the mean cosine, from the paper."""
    classes = class_features(clip, CLASSES, ctx, "end", "{}.")
    texts = [TEMPLATE.format(name) for name in CLASSES]
    hand = torch.cat(  # one at a time, so that nothing is filled up
        [text_features(clip.model, torch.tensor([clip.tokenizer(text)["input_ids"]]))
         for text in texts]
    )  # fmt: skip
    hand = (hand / hand.norm(dim=-1, keepdim=True)).detach()
    distance = 1 - sum(torch.dot(a, b) for a, b in zip(classes, hand, strict=True)) / len(CLASSES)
    logits = class_logits(clip, classes, features)
    wrong = sum(-row.log_softmax(-1)[k] for row, k in zip(logits, labels, strict=True))
    return wrong / len(labels) + weight * distance


@pytest.mark.parametrize("seed", range(4))
def test_one_step_is_that_of_the_formula(clip, seed):
    tiny = prompt_clip(clip, seed)
    learner = small_learner(tiny, seed=seed)
    with torch.no_grad():
        learner.ctx.mul_(20)
    features, labels = pictures(tiny, 7, seed)
    ctx = learner.ctx.detach().clone().requires_grad_(True)
    loss = objective(tiny, ctx, features, labels, 3.0)
    (gradient,) = torch.autograd.grad(loss, ctx)
    penalty = KgCoOp(learner, weight=3.0, template=TEMPLATE)
    before = learner.ctx.detach().clone()
    plain = lambda parameters: torch.optim.SGD(parameters, lr=1.0)  # noqa: E731
    history = fit(
        learner, features, labels, epochs=1, lr=1.0, schedule="constant", optimizer=plain,
        penalty=penalty, progress=False,
    )  # fmt: skip
    assert abs(history.loss[0] - loss.item()) < 1e-5
    scale = gradient.abs().max()
    assert_close("gradient", (before - learner.ctx.detach()) / scale, gradient / scale, 1e-5)
    without = F.cross_entropy(class_logits(tiny, class_features(
        tiny, CLASSES, ctx, "end", "{}."), features), torch.tensor(labels))  # fmt: skip
    assert loss - without > 0.01, "the penalty counts"


def test_training_stays_nearer_to_the_template(clip):
    features, labels = pictures(clip, 10)
    far = {}
    for weight in (0.0, 8.0):
        learner = PromptLearner(clip, CLASSES, init="an emoji of a")
        penalty = KgCoOp(learner, weight, TEMPLATE)
        assert penalty(learner()).abs() < 1e-5, "it starts there"
        fit(learner, features, labels, epochs=20, lr=10.0, penalty=penalty, progress=False)
        far[weight] = (1 - (learner() * penalty.anchors).sum(-1)).mean().item()
    # With the usual learning rate both stay where they were, up to the last bit.
    assert far[0.0] > 0.1
    assert far[8.0] < far[0.0] / 3


def test_the_default_is_the_paper_s(clip):
    learner = small_learner(clip)
    penalty, paper = KgCoOp(learner), KgCoOp(learner, 8.0, "a photo of a {}.")
    assert penalty.weight == 8.0
    assert agree(penalty.anchors, paper.anchors)


def test_the_class_features_are_computed_once_a_step(clip, monkeypatch):
    features, labels = pictures(clip, 10)
    learner, calls = small_learner(clip), []
    penalty = KgCoOp(learner)
    forward = PromptLearner.forward
    monkeypatch.setattr(PromptLearner, "forward", lambda self: calls.append(1) or forward(self))
    fit(learner, features, labels, epochs=3, batch_size=5, penalty=penalty, progress=False)
    assert len(calls) == 1 + 6  # once to check, then once a step


def test_the_model_gets_no_gradient_and_no_change(clip):
    clip = copy.deepcopy(clip)
    clip.model.requires_grad_(True)
    before = digest(*clip.model.state_dict().values())
    features, labels = pictures(clip, 10)
    learner = small_learner(clip)
    fit(learner, features, labels, epochs=2, penalty=KgCoOp(learner), progress=False)
    assert digest(*clip.model.state_dict().values()) == before
    assert all(p.grad is None and p.requires_grad for p in clip.model.parameters())


def test_a_half_precision_model(clip):
    half = copy.deepcopy(clip)
    half.model.bfloat16()
    features, labels = pictures(clip, 10)
    found = []
    for one in (clip, half):
        learner = small_learner(one)
        history = fit(learner, features, labels, epochs=2, penalty=KgCoOp(learner), progress=False)
        found.append(history.loss[-1])
    assert found[1] == pytest.approx(found[0], rel=0.03)


def test_a_stopped_run_knows_its_penalty(clip, tmp_path):
    features, labels = pictures(clip, 5)
    learner = small_learner(clip)
    run = {"epochs": 2, "checkpoint": tmp_path / "run", "progress": False}
    fit(learner, features, labels, penalty=KgCoOp(learner, 2.0), **run)
    again = small_learner(clip)
    fit(again, features, labels, penalty=KgCoOp(again, 2.0), **run)
    assert torch.equal(again.ctx, learner.ctx)
    for other in (KgCoOp(again, 3.0), KgCoOp(again, 2.0, "{}"), None, torch.mean):
        with pytest.raises(ValueError, match=r"belongs to another run.*penalty"):
            fit(small_learner(clip), features, labels, penalty=other, **run)


def test_the_penalty_is_paid_once_by_all_processes_together(clip):
    class Two:
        count = 2

        def total(self, tensors):
            self.seen = list(tensors)
            return self.seen

    features, labels = pictures(clip, 4)
    parts = []
    for rows in ([0, 2], [1, 3]):
        learner = small_learner(clip)
        made, penalty = recipe.sgd([learner.ctx]), KgCoOp(learner)
        own = {"ctx": learner.ctx}
        how = (softmax, penalty, None, None, [0.1], 4, 0)
        run = training._Training(learner, own, EpochMean(own, None), made, Two(), *how)
        part, _ = run.step(features[rows], torch.tensor(labels)[rows], 4, "")
        parts.append(part)
    learner = small_learner(clip)
    whole = F.cross_entropy(learner.logits(features), torch.tensor(labels))
    whole = whole + KgCoOp(learner)(learner())
    assert sum(parts) == pytest.approx(whole.item(), rel=1e-5)


def test_what_cannot_be_a_penalty(clip):
    learner = small_learner(clip)
    features, labels = pictures(clip, 5)
    before = learner.ctx.detach().clone()
    for penalty, words in (
        (3, "penalty is a int"),
        (lambda classes: classes, "must return one number"),
    ):
        with pytest.raises(TypeError, match=words):
            fit(learner, features, labels, epochs=1, penalty=penalty, progress=False)
    other = PromptLearner(clip, CLASSES[:3], n_ctx=2)
    with pytest.raises(ValueError, match=r"shape \(5, 128\) and those of the template \(3, 128\)"):
        fit(learner, features, labels, epochs=1, penalty=KgCoOp(other), progress=False)
    assert torch.equal(learner.ctx, before)


def test_what_cannot_be_given(clip):
    learner = small_learner(clip)
    for weight, error in ((True, TypeError), ("8", TypeError), (-1, ValueError)):
        with pytest.raises(error, match="weight is"):
            KgCoOp(learner, weight)
    with pytest.raises(ValueError, match="weight is inf"):
        KgCoOp(learner, math.inf)
    with pytest.raises(ValueError, match="2 places"):
        KgCoOp(learner, template="{} {}")
    with pytest.raises(TypeError, match="learner is a Clip: give a PromptLearner"):
        KgCoOp(clip)
    assert made_with(KgCoOp(learner, 2)) == {"weight": 2.0, "template": "a photo of a {}."}
