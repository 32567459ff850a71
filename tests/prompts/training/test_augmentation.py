"""Augmentation: views before training or anew in each step, and the crop of CoOp."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from clipnotes.prompts import random_crop_and_flip
from clipnotes.prompts.recipe import batches
from clipnotes.prompts.training.augmentation import check_augment, inputs_for
from few_pictures import CLASSES, count_encoded, fruits, quiet, small_learner

PICTURES = [Image.new("RGB", (8, 8))] * 5


def test_views_are_encoded_before_training_and_one_is_taken_an_epoch(clip, monkeypatch):
    images, names = fruits()
    learner = small_learner(clip)
    encoded = count_encoded(monkeypatch)
    quiet(learner, images, names, epochs=3, augment=random_crop_and_flip, views=2)
    assert encoded == [15, 15]
    draw = inputs_for(learner, images[:2], random_crop_and_flip, 3, 0)
    views = {tuple(feature.tolist()) for epoch in range(40) for feature in draw(epoch, [1])}
    assert len(views) == 3
    torch.testing.assert_close(draw(7, [0, 1])[1], draw(7, [1])[0], atol=0, rtol=0)
    plain = clip.encode_image(images[:2])
    for view in views:  # they are views of this image, not of the other
        similar = plain @ torch.tensor(view)
        assert similar[1] > similar[0]


@pytest.mark.parametrize(("views", "allowed"), [(1, True), (True, False), (1.5, False)])
def test_views_are_a_whole_number(views, allowed):
    if allowed:
        check_augment(PICTURES, random_crop_and_flip, views)
    else:
        with pytest.raises(ValueError, match=f"views is {views}; give a whole number"):
            check_augment(PICTURES, random_crop_and_flip, views)


def test_without_views_every_step_augments_anew(clip, monkeypatch):
    images, names = fruits()
    learner, plain = small_learner(clip), small_learner(clip)
    encoded = count_encoded(monkeypatch)
    recipe = {"epochs": 2, "batch_size": 8, "schedule": "constant", "seed": 3}
    quiet(learner, images, names, augment=random_crop_and_flip, **recipe)
    assert encoded == [8, 7, 8, 7]

    labels = torch.tensor([CLASSES.index(name) for name in names])
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.002, momentum=0.9, weight_decay=5e-4)
    draw = inputs_for(learner, images, random_crop_and_flip, None, seed=3)
    seen = []
    for epoch in range(2):
        for batch in batches(15, 8, seed=3, epoch=epoch):
            # Alone and in a batch, an image is augmented in the same way.
            features = torch.cat([draw(epoch, [row]) for row in batch])
            seen += features.tolist()
            optimizer.zero_grad()
            cross_entropy(plain.logits(features), labels[batch]).backward()
            optimizer.step()
    torch.testing.assert_close(learner.ctx, plain.ctx, atol=1e-5, rtol=0)
    assert len({tuple(feature) for feature in seen}) == 30


def test_two_rows_of_one_picture_are_augmented_differently(clip):
    (image, *_), _ = fruits()
    for views in (None, 1):
        draw = inputs_for(small_learner(clip), [image, image], random_crop_and_flip, views, 0)
        features = draw(0, [0, 1])
        assert not torch.allclose(features[0], features[1], atol=1e-3)


def test_the_crop_is_coop_s():
    """The image says where each pixel comes from: red is the column, green the row."""
    columns = np.tile(np.arange(200, dtype=np.uint8), (100, 1))
    rows = np.tile(np.arange(100, dtype=np.uint8)[:, None], (1, 200))
    image = Image.fromarray(np.stack([columns, rows, rows], axis=-1))
    areas, ratios, mirrored = [], [], 0
    for seed in range(300):
        crop = random_crop_and_flip(image, random.Random(seed))
        assert crop.size == (100, 100)
        pixels = np.asarray(crop).astype(float)
        left, right = pixels[50, 0, 0], pixels[50, -1, 0]
        top, bottom = pixels[0, 50, 1], pixels[-1, 50, 1]
        mirrored += left > right
        width, height = abs(right - left) + 1, abs(bottom - top) + 1
        areas.append(width * height / 20_000)
        ratios.append(width / height)
    assert 120 < mirrored < 180
    assert 0.07 < min(areas) < 0.12 and max(areas) < 0.7, "a square of the height has half the area"
    assert 0.7 < min(ratios) < 0.8 and 1.25 < max(ratios) < 1.4
    same = [random_crop_and_flip(image, random.Random(1)).tobytes() for _ in range(2)]
    assert same[0] == same[1] != random_crop_and_flip(image, random.Random(2)).tobytes()


@pytest.mark.parametrize("axis", [0, 1])
def test_a_crop_may_take_the_whole_width_or_height(axis):
    """One side of the image is black, the other one white, and both can be seen in a crop."""
    ramp = np.linspace(0, 255, 8).astype(np.uint8)
    image = Image.fromarray(np.tile(ramp, (8, 1)) if axis else np.tile(ramp[:, None], (1, 8)))
    crops = [np.asarray(random_crop_and_flip(image, random.Random(i))) for i in range(100)]
    assert any({0, 255} <= {*crop.flatten().tolist()} for crop in crops)


def test_a_picture_too_narrow_for_a_crop_gives_a_square_of_it():
    assert random_crop_and_flip(Image.new("RGB", (300, 3)), random.Random(0)).size == (3, 3)
