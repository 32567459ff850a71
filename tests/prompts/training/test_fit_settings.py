"""fit(): what stands for an argument that is not given, and what it can be given."""

import functools
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from clipnotes.prompts import PromptLearner, fit
from clipnotes.prompts.recipe import sgd
from clipnotes.prompts.training import fit as training
from clipnotes.prompts.training.resume import digest
from few_pictures import CLASSES, fruits, pictures, small_learner
from reference import agree
from stopped_runs import Counts

quiet = functools.partial(fit, progress=False)


def test_what_is_not_given_is_coop_s(clip):
    given = pictures(clip, 33)  # one more than fits into a batch
    learner, twin = Counts(clip, CLASSES, n_ctx=2), small_learner(clip)
    history = quiet(learner, *given, epochs=2)
    recipe = {"lr": 0.002, "batch_size": 32, "schedule": "cosine", "seed": 0}
    assert quiet(twin, *given, epochs=2, **recipe).lr == history.lr
    assert agree(learner.ctx, twin.ctx, 1e-4)


def test_the_gradient_is_of_the_mean_of_the_batch(clip):
    """Twice the same pictures in one batch: the same step."""
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


@pytest.mark.parametrize(
    ("recipe", "error", "words"),
    [
        ({"epochs": True}, ValueError, "epochs is True; give a whole number"),
        ({"epochs": -1}, ValueError, "epochs is -1"),
        ({"batch_size": True}, TypeError, "batch_size is True"),
        ({"seed": True}, TypeError, "seed is True"),
        ({"seed": 1.0}, TypeError, "seed is 1.0"),
        ({"batch_size": -1}, ValueError, "batch_size is -1; it must be at least 1"),
        ({"lr": float("inf")}, ValueError, "lr is inf"),
        ({"lr": -0.1}, ValueError, "lr is -0.1"),
        ({"schedule": "COSINE"}, ValueError, "no schedule 'COSINE'; choose 'cosine' or 'constant'"),
        ({"schedule": None}, TypeError, "schedule is a NoneType; choose 'cosine' or 'constant', "),
        (
            {"schedule": lambda epoch: 1 - epoch},
            ValueError,
            "factor of epoch 2 is -1.0; it must be finite and not negative",
        ),
    ],
)
def test_recipes_that_make_no_sense(clip, recipe, error, words):
    with pytest.raises(error, match=words):
        quiet(small_learner(clip), *pictures(clip, 5), **{"epochs": 3, **recipe})


def test_the_seconds_are_those_since_it_began(clip, monkeypatch):
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: 5.0))  # a clock at rest
    assert quiet(small_learner(clip), *pictures(clip, 5), epochs=2).seconds == 0


# Pictures and checkpoints


class Lazy:
    """Pictures that are there one at a time; no slices, as in many data sets."""

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


def test_the_same_bytes_in_another_shape_are_another_picture(clip, tmp_path):
    wide, tall = (Image.new("RGB", size, "red") for size in ((16, 4), (4, 16)))
    images, names = fruits()
    recipe = {"epochs": 1, "checkpoint": tmp_path / "run"}
    quiet(small_learner(clip), [*images[:-1], wide], names, **recipe)
    with pytest.raises(ValueError, match="What differs: images "):
        quiet(small_learner(clip), [*images[:-1], tall], names, **recipe)


# The parts


def test_the_optimizer_is_coop_s():
    made = sgd([torch.nn.Parameter(torch.zeros(2))])
    assert isinstance(made, torch.optim.SGD)
    wanted = {"lr": 0.002, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": False}
    assert {name: made.defaults[name] for name in wanted} == wanted


def test_what_is_digested_apart_is_not_taken_for_what_is_together():
    parts = [(b"ab", b"c"), (b"a", b"bc"), (b"abc",), (b"abc", b""), ("abc",), ("a", "bc"), ()]
    parts += [(torch.zeros(2),), (torch.zeros(2, 1),), (torch.zeros(2).long(),), (torch.ones(2),)]
    assert len({digest(*some) for some in parts}) == len(parts)
    assert digest(torch.arange(6).view(2, 3).T) == digest(torch.arange(6).view(2, 3).T.contiguous())
    assert digest(b"abc", 1) == digest(b"abc", 1)
