"""fit(): CoOp's recipe against a plain loop, to the bit again, and nothing else is touched."""

import copy
import functools
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from clipnotes.prompts import PromptLearner, evaluate, fit
from clipnotes.prompts.recipe import batches, epochs_for
from clipnotes.prompts.training import fit as training
from few_pictures import CLASSES, count_encoded, fruits, pictures, quiet, small_learner
from reference import agree
from stopped_runs import Counts

# The recipe


def test_epochs_go_by_the_class_with_the_fewest_pictures(clip, shots):
    assert [epochs_for(s) for s in (1, 2, 4, 7, 8, 16)] == [50, 100, 100, 100, 200, 200]
    features, names = shots
    names = [*names[:-1], "grapes"]  # one class loses an image, another has four
    learner = PromptLearner(clip, CLASSES, n_ctx=1)
    history = quiet(learner, features, names, batch_size=99)
    assert (history.shots, history.epochs, len(history.loss)) == (2, 100, 100)


@pytest.mark.parametrize("per_class", [False, True])
def test_the_default_is_coop_s_plain_loop(clip, shots, per_class):
    features, names = shots
    learner = small_learner(clip, per_class=per_class)
    plain = copy.deepcopy(learner)
    history = quiet(learner, features, names, epochs=3, batch_size=4, seed=5)

    labels = torch.tensor([CLASSES.index(name) for name in names])
    optimizer = torch.optim.SGD(plain.parameters(), lr=0, momentum=0.9, weight_decay=5e-4)
    for epoch, lr in enumerate([1e-5, 0.002, 0.0015]):
        optimizer.param_groups[0]["lr"] = lr
        losses, right = [], 0
        for batch in batches(15, 4, seed=5, epoch=epoch):
            logits = plain.logits(features[batch])
            loss = cross_entropy(logits, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += [loss.item()] * len(batch)
            right += (logits.argmax(-1) == labels[batch]).sum().item()
        assert history.loss[epoch] == pytest.approx(np.mean(losses), abs=1e-5)
        assert history.accuracy[epoch] == right / 15
    torch.testing.assert_close(learner.ctx, plain.ctx, atol=1e-6, rtol=0)
    assert history.lr == pytest.approx([1e-5, 0.002, 0.0015])
    assert (learner.ctx - small_learner(clip, per_class=per_class).ctx).abs().max() > 1e-3


def test_another_optimizer_and_schedule(clip, shots):
    features, names = shots
    learner = small_learner(clip)
    plain = copy.deepcopy(learner)
    adam = functools.partial(torch.optim.AdamW, weight_decay=0.1)
    recipe = {"optimizer": adam, "lr": 0.01, "schedule": lambda epoch: 1 / (epoch + 1)}
    quiet(learner, features, names, epochs=2, **recipe)
    labels = torch.tensor([CLASSES.index(name) for name in names])
    optimizer = adam(plain.parameters())
    for lr in (0.01, 0.005):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        cross_entropy(plain.logits(features), labels).backward()
        optimizer.step()
    torch.testing.assert_close(learner.ctx, plain.ctx, atol=1e-5, rtol=0)


def test_it_learns(clip, shots):
    """Even to call every fruit by the next one's name."""
    features, names = shots
    names = [CLASSES[CLASSES.index(name) - 1] for name in names]
    learner = small_learner(clip, per_class=True)
    before = evaluate(learner, features, names)
    with torch.no_grad():  # also where somebody has turned gradients off
        history = quiet(learner, features, names, epochs=20, lr=0.05, schedule="constant")
    after = evaluate(learner, features, names)
    assert before.accuracy == history.accuracy[0] < 0.2
    assert after.accuracy > 0.8
    assert history.loss[-1] < history.loss[0] / 2
    assert 0 < history.seconds < 60


# The same again


def test_same_seed_same_prompt_and_no_global_chance(clip, shots):
    features, names = shots
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    recipe = {"epochs": 2, "batch_size": 4, "schedule": "constant"}
    learners = []
    for seed in (3, 3, 4):
        torch.manual_seed(len(learners))
        changed = torch.get_rng_state()
        learners.append(small_learner(clip))
        quiet(learners[-1], features, names, seed=seed, **recipe)
        assert torch.equal(changed, torch.get_rng_state())
    after = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert after == before
    assert agree(learners[0].ctx, learners[1].ctx, 1e-4)
    assert not agree(learners[0].ctx, learners[2].ctx, 1e-4)


def test_pictures_are_encoded_once_and_give_what_features_give(clip, monkeypatch):
    images, names = fruits()
    numbers = [CLASSES.index(name) for name in names]
    learner, other = small_learner(clip), small_learner(clip)
    encoded = count_encoded(monkeypatch)
    quiet(learner, images, names, epochs=3)
    assert encoded == [15]
    quiet(other, clip.encode_image(images), torch.tensor(numbers), epochs=3)
    assert agree(learner.ctx, other.ctx, 1e-4)


class Open(PromptLearner):
    """Its logits have a gradient in the model too, as a learner may well have."""

    def logits(self, image_features):
        scale = self.clip.model.logit_scale
        return super().logits(image_features) * (scale / scale.detach())


def test_nothing_but_the_context_changes(clip, shots):
    features, names = shots
    free = copy.deepcopy(clip)
    free.model.requires_grad_(True)
    before = {name: value.clone() for name, value in free.model.state_dict().items()}
    learner = Open(free, CLASSES, n_ctx=2)
    features = features.clone().requires_grad_()
    start = learner.ctx.detach().clone()
    quiet(learner, features, names, epochs=2, schedule="constant")
    assert not torch.equal(learner.ctx, start)
    assert features.grad is None
    assert learner.ctx.grad is None
    for name, parameter in free.model.named_parameters():
        assert parameter.grad is None and parameter.requires_grad, name
        assert torch.equal(parameter, before[name]), name


def test_a_model_in_half_precision(clip, shots):
    _, names = shots
    half = copy.deepcopy(clip)
    half.model.to(torch.bfloat16)
    learner, full = small_learner(half), small_learner(clip)
    for each in (learner, full):
        history = quiet(each, fruits()[0], names, epochs=5, schedule="constant")
    assert learner.ctx.dtype == torch.float32
    assert history.loss[-1] < history.loss[0]
    torch.testing.assert_close(learner.ctx, full.ctx, atol=0.05, rtol=0)


def test_the_bar_says_loss_and_accuracy_on_stderr(clip, shots, capsys):
    fit(small_learner(clip), *shots, epochs=2)
    out, err = capsys.readouterr()
    assert out == ""
    last = err.split("\r")[-1]
    assert "2/2" in last and "loss " in last and "accuracy " in last
    fit(small_learner(clip), *shots, epochs=2, progress=False)
    assert capsys.readouterr() == ("", "")


# What stands for an argument that is not given, and what it can be given


def test_what_is_not_given_is_coop_s(clip):
    given = pictures(clip, 33)  # one more than fits into a batch
    learner, twin = Counts(clip, CLASSES, n_ctx=2), small_learner(clip)
    history = quiet(learner, *given, epochs=2)
    recipe = {"lr": 0.002, "batch_size": 32, "schedule": "cosine", "seed": 0}
    assert quiet(twin, *given, epochs=2, **recipe).lr == history.lr
    assert agree(learner.ctx, twin.ctx, 1e-4)


def test_the_gradient_is_of_the_mean_of_the_batch(clip):
    """Twice the same images in one batch: the same step."""
    features, labels = pictures(clip, 5)
    one, two = small_learner(clip), small_learner(clip)
    for learner, times in ((one, 1), (two, 2)):
        recipe = {"epochs": 1, "schedule": "constant"}
        quiet(learner, features.repeat(times, 1), labels * times, **recipe)
    torch.testing.assert_close(one.ctx, two.ctx, atol=1e-6, rtol=0)


def test_no_gradient_is_left_where_one_was(clip):
    learner = small_learner(clip)
    start = learner.ctx.detach().clone()
    learner.ctx.grad = torch.full_like(start, 1e6)
    twin = small_learner(clip)
    for each in (learner, twin):
        quiet(each, *pictures(clip, 5), epochs=2)
    assert agree(learner.ctx, twin.ctx, 1e-4) and learner.ctx.grad is None


def test_a_parameter_that_wants_no_gradient_stays(clip):
    class Two(PromptLearner):
        def __init__(self, *arguments, **more):
            super().__init__(*arguments, **more)
            self.fixed = torch.nn.Parameter(torch.ones(2), requires_grad=False)

    learner = Two(clip, CLASSES, n_ctx=2)
    quiet(learner, *pictures(clip, 5), epochs=2, optimizer=torch.optim.SGD)
    assert torch.equal(learner.fixed, torch.ones(2))


def test_every_group_of_an_optimizer_gets_the_rate(clip):
    class Two(PromptLearner):
        def __init__(self, *arguments, **more):
            super().__init__(*arguments, **more)
            self.shift = torch.nn.Parameter(torch.zeros(5))

        def logits(self, image_features):
            return super().logits(image_features) + self.shift

    rates = []

    def in_groups(parameters):
        made = torch.optim.SGD([{"params": p, "lr": 9.0} for p in parameters], lr=9.0)
        made.register_step_pre_hook(
            lambda made, *_: rates.append([group["lr"] for group in made.param_groups])
        )
        return made

    recipe = {"optimizer": in_groups, "lr": 0.5, "schedule": lambda epoch: 1 / (1 + epoch)}
    quiet(Two(clip, CLASSES, n_ctx=2), *pictures(clip, 5), epochs=2, **recipe)
    assert rates == [[0.5, 0.5], [0.25, 0.25]]


def test_the_seconds_are_those_since_it_began(clip, monkeypatch):
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: 5.0))  # a clock at rest
    assert quiet(small_learner(clip), *pictures(clip, 5), epochs=2).seconds == 0


# Images and checkpoints


class Lazy:
    """Images that are there one at a time; no slices, as in many data sets."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        assert isinstance(i, int)
        return self.images[i]


def test_a_lazy_sequence_of_pictures_will_do(clip, tmp_path):
    images, names = fruits()
    learner, twin = small_learner(clip), small_learner(clip)
    quiet(learner, Lazy(images), names, epochs=2, checkpoint=tmp_path / "run")
    quiet(twin, images, names, epochs=2)
    assert agree(learner.ctx, twin.ctx, 1e-4)


def test_one_picture_is_enough(clip, tmp_path):
    learner = PromptLearner(clip, ["grapes"], n_ctx=2)
    images, _ = fruits()
    history = quiet(learner, images[:1], [0], epochs=1, checkpoint=tmp_path / "run")
    assert (history.shots, history.accuracy) == (1, [1.0])
