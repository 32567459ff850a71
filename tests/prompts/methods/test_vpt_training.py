"""VPT trains on images, their pixels or their files alike, with few of them in memory."""

import weakref
from collections.abc import Sequence

import pytest
import torch

from clipnotes.pictures.reading import Files
from clipnotes.prompts import VPT, PromptLearner, evaluate, random_crop_and_flip
from few_pictures import CLASSES, fruits, quiet
from reference import agree


def test_fit_and_evaluate_take_pictures_or_their_pixels(clip, monkeypatch):
    images, names = fruits()
    recipe = {"epochs": 2, "batch_size": 8, "schedule": "constant", "lr": 0.05}
    learners = [VPT(clip, CLASSES, 2, 2, "an emoji of a {}") for _ in range(3)]
    start = learners[0].ctx.detach().clone()
    pixel_values = clip.preprocess(images)
    history = quiet(learners[0], images, names, **recipe)
    by_pixels = quiet(learners[1], pixel_values, names, **recipe)
    assert by_pixels.loss == pytest.approx(history.loss, rel=1e-4)
    assert agree(learners[0].ctx, learners[1].ctx, 1e-4)
    assert not torch.equal(learners[0].ctx, start)
    # An augmentation that changes nothing, kept or made anew.
    quiet(learners[2], images, names, **recipe, augment=lambda image, rng: image, views=2)
    assert agree(learners[0].ctx, learners[2].ctx, 1e-4)
    whole = evaluate(learners[0], images, names)
    assert whole.accuracy > 0.5
    monkeypatch.setattr("clipnotes.prompts.classifier.BLOCK", 4 * 4 * pixel_values[0].numel())
    for given in (images, pixel_values):
        assert torch.equal(evaluate(learners[0], given, names).confusion, whole.confusion)
    with pytest.raises(TypeError, match="image 14: a str"):
        evaluate(learners[0], [*images[:14], "a.png"], names)


class Lazy(Sequence):
    """Images that are made when they are asked for, and how many are there at once."""

    def __init__(self, images):
        self.images, self.alive, self.most = images, 0, 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image = self.images[i].copy()
        weakref.finalize(image, self.gone)
        self.alive += 1
        self.most = max(self.most, self.alive)
        return image

    def gone(self):
        self.alive -= 1


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(
    "augmentation",
    [{}, {"augment": random_crop_and_flip}, {"augment": random_crop_and_flip, "views": 2}],
)
def test_no_more_pixels_are_kept_than_may_be(clip, monkeypatch, kept, augmentation):
    """Read again or kept, the numbers are the same, and no two images are there at once."""
    images, names = fruits()
    recipe = {"epochs": 2, "batch_size": 8, "lr": 0.05, "schedule": "constant", **augmentation}
    all_kept, learner = (VPT(clip, CLASSES, 2, 1) for _ in range(2))
    history = quiet(all_kept, images, names, **recipe)
    pixels, read = 4 * 3 * 64 * 64, learner.clip.image_processor
    limit = len(images) * augmentation.get("views", 1) - (not kept)
    monkeypatch.setattr("clipnotes.prompts.classifier.KEPT", pixels * limit)
    calls = []
    monkeypatch.setattr(clip, "image_processor", lambda *a, **k: calls.append(1) or read(*a, **k))
    lazy = Lazy(images)
    assert quiet(learner, lazy, names, **recipe).loss == history.loss
    assert torch.equal(learner.ctx, all_kept.ctx)
    assert lazy.most <= 2  # the one that is read, while the last one's name is still bound
    once = len(images) * augmentation.get("views", 1)
    anew = 2 * len(images)
    assert len(calls) == (once if kept and augmentation.keys() != {"augment"} else anew)
    before = lazy.most = 0
    monkeypatch.setattr("clipnotes.prompts.classifier.BLOCK", 4 * pixels)
    evaluate(learner, lazy, names)
    assert before < lazy.most <= 2


@pytest.mark.parametrize(
    "make",
    [lambda clip: VPT(clip, CLASSES, 2, 1), lambda clip: PromptLearner(clip, CLASSES, n_ctx=2)],
)
def test_files_are_read_as_pictures_are(clip, tmp_path, make):
    images, names = fruits()
    for i, image in enumerate(images):
        image.save(tmp_path / f"{i:02}.png")
    files = Files([str(path) for path in sorted(tmp_path.iterdir())])
    learners = make(clip), make(clip)
    losses = [
        quiet(learner, given, names, epochs=2, batch_size=8, lr=0.05, schedule="constant").loss
        for learner, given in zip(learners, (images, files), strict=True)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    found = [evaluate(learners[0], given, names).confusion for given in (images, files)]
    assert torch.equal(*found)


def test_a_run_goes_on_from_its_checkpoint(clip, tmp_path, monkeypatch):
    images, names = fruits()
    recipe = {"epochs": 2, "batch_size": 8, "lr": 0.05, "schedule": "constant"}
    whole, stopped, again = (VPT(clip, CLASSES, 2, 1) for _ in range(3))
    history = quiet(whole, images, names, **recipe)
    encode, calls = stopped.logits, []

    def stop(pixel_values):
        calls.append(len(pixel_values))
        if len(calls) == 4:  # the checkpoint's first look, the first epoch, and one step more
            raise KeyboardInterrupt
        return encode(pixel_values)

    monkeypatch.setattr(stopped, "logits", stop)
    path = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        quiet(stopped, images, names, checkpoint=path, **recipe)
    assert calls == [1, 8, 7, 8]
    resumed = quiet(again, images, names, checkpoint=path, **recipe)
    assert resumed.loss == pytest.approx(history.loss, rel=1e-4)
    assert agree(again.ctx, whole.ctx, 1e-4)
