"""PromptSRC while it learns: the mean over epochs, runs that stop, and what stays as it was."""

import copy
import math

import pytest
import torch

from clipnotes.prompts import PromptSRC, evaluate, load_prompt, random_crop_and_flip
from clipnotes.prompts.training import fit as training
from few_pictures import CLASSES, fruits, quiet
from reference import agree
from reference_promptsrc import NAMES, PARAMETERS, SENTENCES, by_hand, left, own, pictures
from reference_visual import deep_clip


def test_a_training_equals_one_written_by_hand(clip):
    """Both at once: the loss of each step, in batches that are not full, and the mean of epochs."""
    tiny = deep_clip(clip, 2)
    images, labels = pictures(tiny, 5), torch.tensor([0, 1, 2, 0, 1])
    learner = left(tiny)
    recipe = {"epochs": 6, "lr": 0.02, "batch_size": 2, "seed": 3}
    expected, after = by_hand(tiny, learner, images, labels, **recipe)
    quiet(learner, images, labels.tolist(), **recipe)
    for name, found, want, last in zip(PARAMETERS, own(learner), expected, after[-1], strict=True):
        assert agree(found.detach(), want, 1e-4), name
        assert not agree(found.detach(), last, 1e-3), "which is not the last epoch"


def test_the_weights_of_the_epochs_are_the_authors(clip):
    """Of 20 epochs with mean 15 and deviation 1, and of 50 with 30 and 30 or with 45 and 5."""
    tiny = deep_clip(clip, 0)
    for epochs, mean, std, parts in (
        (20, 15, 1, {}),
        (50, 30, 30, {"gpa_mean": 0.6, "gpa_std": 0.6}),
        (50, 45, 5, {"gpa_mean": 0.9, "gpa_std": 0.1}),
    ):
        gauss = [
            math.exp(-0.5 * ((e - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))
            for e in range(1, epochs + 1)
        ]
        expected = [one / sum(gauss) for one in gauss]
        found = PromptSRC(tiny, NAMES, templates=SENTENCES, **parts).epoch_weights(epochs)
        assert found == pytest.approx(expected, abs=1e-9)
    # As many epochs as somebody likes, and a Gaussian that is far from all of them.
    learner = PromptSRC(tiny, NAMES, templates=SENTENCES, gpa_mean=50.0, gpa_std=0.01)
    for epochs in (1, 2, 7):
        assert learner.epoch_weights(epochs) == pytest.approx([0.0] * (epochs - 1) + [1.0])


class Stops(PromptSRC):
    steps, stops_at = 0, None

    def in_training(self, pixel_values, chance):
        self.steps += 1
        if self.steps == self.stops_at:
            raise KeyboardInterrupt
        return super().in_training(pixel_values, chance)


@pytest.mark.parametrize("step", [2, 5, 6, 8])
@pytest.mark.parametrize("augment", [None, random_crop_and_flip])
def test_a_stopped_run_ends_as_one_that_was_not(clip, tmp_path, monkeypatch, step, augment):
    """With what the epochs before the stop have given to the mean."""
    monkeypatch.setattr(training, "SECONDS_BETWEEN", 0)
    images, names = fruits()
    if augment is None:
        images = clip.preprocess(images)
    # A wide Gaussian, so that every epoch counts.
    kind = {"init": "an emoji of a", "gpa_std": 0.6, "gpa_mean": 0.6}
    recipe = {"epochs": 4, "batch_size": 8, "lr": 0.05, "augment": augment}  # two steps an epoch
    whole, stopped, resumed = (Stops(clip, CLASSES, **kind) for _ in range(3))
    expected = quiet(whole, images, names, **recipe)
    stopped.stops_at = step
    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        quiet(stopped, images, names, checkpoint=path, **recipe)
    history = quiet(resumed, images, names, checkpoint=path, **recipe)
    assert resumed.steps == 8 - 2 * ((step - 1) // 2), "only what was missing"
    assert history.loss == pytest.approx(expected.loss, rel=1e-4)
    for name, found, want in zip(PARAMETERS, own(resumed), own(whole), strict=True):
        assert agree(found, want, 1e-4), name
    again = Stops(clip, CLASSES, **kind)  # what has ended is only read
    assert quiet(again, images, names, checkpoint=path, **recipe) == history and again.steps == 0
    for found, want in zip(own(again), own(resumed), strict=True):
        assert torch.equal(found, want)


def test_a_checkpoint_of_another_loss_is_refused(clip, tmp_path):
    images, names = fruits()
    pixel_values, path = clip.preprocess(images), tmp_path / "run"
    recipe = {"epochs": 1, "batch_size": 8, "checkpoint": path}
    quiet(PromptSRC(clip, CLASSES), pixel_values, names, **recipe)
    for other in (
        {"text_weight": 24.0},
        {"image_weight": 9.0},
        {"gpa_mean": 0.7},
        {"gpa_std": 0.1},
        {"templates": "a {}."},
    ):
        (name,) = other
        with pytest.raises(ValueError, match=rf"What differs: the learner's {name} \("):
            quiet(PromptSRC(clip, CLASSES, **other), pixel_values, names, **recipe)


def test_training_moves_all_it_owns_and_no_bit_of_the_model(clip):
    images, names = fruits()
    before = {name: tensor.clone() for name, tensor in clip.model.state_dict().items()}
    learner = PromptSRC(clip, CLASSES, init="an emoji of a")
    assert [name for name, _ in learner.named_parameters()] == PARAMETERS
    start = copy.deepcopy(learner)
    recipe = {**PromptSRC.recipe, "epochs": 4, "lr": 0.05}
    history = quiet(learner, images, names, **recipe)
    assert history.loss[-1] < history.loss[0]
    for name in PARAMETERS:
        change = (getattr(learner, name) - getattr(start, name)).flatten(1).abs().amax(dim=1)
        assert (change > 1e-6).all(), name
    assert evaluate(learner, images, names).accuracy >= evaluate(start, images, names).accuracy
    learner.in_training(learner.inputs(images[:2]), None)[1].backward()
    assert all(weight.grad is None for weight in clip.model.parameters())
    assert all(weight.requires_grad for weight in clip.model.parameters())
    assert all(torch.equal(t, before[name]) for name, t in clip.model.state_dict().items())


def test_it_stays_nearer_than_without_the_terms(clip):
    images, names = fruits()
    pixel_values, features = clip.preprocess(images), clip.encode_image(images)
    recipe = {"epochs": 6, "batch_size": 8, "lr": 0.1}
    cosines = {}
    for weight in (0.0, 100.0):
        learner = PromptSRC(
            clip, CLASSES, init="an emoji of a", image_weight=weight, text_weight=weight
        )
        quiet(learner, pixel_values, names, **recipe)
        with torch.no_grad():
            kept = learner.image_features(pixel_values) * features
            cosines[weight] = kept.sum(dim=1).mean().item()
    assert cosines[100.0] > cosines[0.0] + 1e-3


def test_names_may_be_longer_than_its_own_sentences_leave_room_for(clip, tmp_path):
    names = [" ".join(["rose"] * 14), "tulip"]
    with pytest.raises(ValueError, match="tokens"):
        PromptSRC(clip, names, n_ctx=1, init=None)
    learner = PromptSRC(clip, names, n_ctx=1, init=None, templates="{}")
    learner.save(tmp_path / "prompt")
    again = load_prompt(tmp_path / "prompt", clip)
    assert torch.equal(again.ctx, learner.ctx) and len(again.templates) > 1
