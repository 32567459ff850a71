"""CLIP-LoRA against changed weights by hand: values, gradients, and a model left as it was."""

import copy
import math
import random
import re

import pytest
import torch
import torch.nn.functional as F
from torch.nn.functional import normalize

import clipnotes
from clipnotes import compat
from clipnotes.prompts import LoRA, ZeroShot, evaluate, random_crop_and_flip
from clipnotes.prompts.chance import Chance
from clipnotes.prompts.training import fit as training
from families import NAMES, tiny_clip
from few_pictures import CLASSES, RECIPE, fruits, quiet
from reference import agree, assert_close, pixels
from reference_visual import deep_clip, logits

THINGS = ["tulip", "steam locomotive", "a rose, red"]
SUFFIXES = [r"\.(q_proj|query)$", r"\.(k_proj|key)$", r"\.(v_proj|value)$"]


def trained(learner, size=0.2, seed=0):
    """Adapters as a long training might leave them: B is not 0 any more."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
    return learner


def matrices_of(model, tower):
    """Names of what makes queries, keys and values in the layers, layer by layer."""
    family = compat.family_of(model)
    layers = {"text": family.text_layers, "vision": family.vision_layers}[tower](model)
    inside = {id(module) for layer in layers for module in layer.modules()}
    names = [name for name, module in model.named_modules() if id(module) in inside]
    found = [[name for name in names if re.search(end, name)] for end in SUFFIXES]
    assert {len(layers)} == {len(own) for own in found}
    return [name for layer in zip(*found, strict=True) for name in layer]


def merged(clip, learner, scaling):
    """A copy whose matrices are W + scaling B A, and stay in the graph of A and B."""
    model = copy.deepcopy(clip.model).requires_grad_(False)
    modules = dict(model.named_modules())
    for tower in ("text", "vision"):
        a, b = getattr(learner, f"{tower}_a"), getattr(learner, f"{tower}_b")
        for i, name in enumerate(matrices_of(clip.model, tower)):
            linear = modules[name]
            changed = linear.weight + scaling * b[i] @ a[i]
            del linear.weight
            linear.weight = changed
    return model


def classes_by_hand(clip, model, names, template="a photo of a {}."):
    """Class features of a model, with a gradient; the end token of a CLIP has the largest id."""
    texts = clip.tokenize([template.format(name) for name in names])
    end = compat.family_of(model).reads(model) == "end"
    ends = texts["input_ids"].argmax(dim=1) if end else None
    return normalize(compat.text_features(model, **texts, ends=ends), dim=-1)


def pictures(clip, n=4):
    return pixels(clip.model.config.vision_config, seed=n, batch=n)


@pytest.mark.parametrize(("rank", "alpha"), [(1, 1), (2, 1), (3, 4)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_changed_weights(clip, seed, rank, alpha):
    tiny = deep_clip(clip, seed)
    lora = trained(LoRA(tiny, THINGS, rank, alpha), seed=seed)
    model = merged(tiny, lora, alpha / math.sqrt(rank))
    images, labels = pictures(tiny), torch.tensor([0, 1, 2, 0])
    features = normalize(compat.image_features(model, images), dim=-1)
    classes = classes_by_hand(tiny, model, THINGS)
    assert_close("images", lora.image_features(images), features)
    assert_close("classes", lora(), classes)
    expected, found = logits(tiny, features, classes), lora.logits(images)
    assert_close("logits", found, expected)
    parameters = dict(lora.named_parameters())
    assert list(parameters) == ["text_a", "text_b", "vision_a", "vision_b"]
    wanted = torch.autograd.grad(F.cross_entropy(expected, labels), [*parameters.values()])
    ours = torch.autograd.grad(F.cross_entropy(found, labels), [*parameters.values()])
    for name, gradient, other in zip(parameters, ours, wanted, strict=True):
        assert (other.abs().amax(dim=(1, 2)) > 1e-7).all(), f"every matrix of {name} matters"
        assert_close(name, gradient, other)


@pytest.mark.parametrize("name", NAMES)
def test_every_family(name):
    clip = tiny_clip(name, "larger")
    names = ["rose", "red dog"]
    lora = trained(LoRA(clip, names, template="a photo {}."))
    model = merged(clip, lora, 1 / math.sqrt(2))
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    features = normalize(compat.image_features(model, images), dim=-1)
    classes = classes_by_hand(clip, model, names, "a photo {}.")
    assert_close("classes", lora(), classes)
    cosines = features @ classes.T
    assert_close("logits", lora.logits(images), compat.logits(clip.model, cosines))
    plain = normalize(compat.image_features(clip.model, images), dim=-1)
    assert (plain - features).abs().max() > 1e-3
    ours, own = lora.merged()
    assert_close("merged classes", ours, classes)
    assert_close("merged", normalize(compat.image_features(own, images), dim=-1), features)
    learner = LoRA(clip, names, dropout=0.0)
    how = {"epochs": 8, "lr": 0.02, "schedule": "constant", "optimizer": LoRA.optimizer}
    history = quiet(learner, images, [0, 1, 1], **how)
    assert history.loss[-1] < history.loss[0] - 1e-4
    assert evaluate(learner, images, [0, 1, 1]).n == 3


def test_it_starts_as_zero_shot_and_as_a_linear_layer_does(clip):
    before = torch.get_rng_state()
    one, same, other = (LoRA(clip, THINGS, template="a {}", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    zero_shot = ZeroShot(clip, THINGS, "a {}")
    assert_close("zero-shot", one(), zero_shot.class_features)
    images = clip.preprocess(fruits()[0][:2])
    assert_close("images", one.image_features(images), clip.encode_image(fruits()[0][:2]))
    assert torch.equal(one.vision_a, same.vision_a)
    assert not torch.equal(one.vision_a, other.vision_a)
    assert not torch.equal(one.vision_a[:9], one.text_a), "each tower draws its own"
    assert (one.vision_a.shape, one.text_b.shape) == ((18, 2, 128), (9, 128, 2))
    for a, b in ((one.vision_a, one.vision_b), (one.text_a, one.text_b)):
        assert 128**-0.5 * 0.99 < a.abs().max() <= 128**-0.5 and not b.any()


# Dropout


def test_a_step_of_training_drops_what_a_is_given_and_nothing_else_does(clip):
    tiny = deep_clip(clip, 3)
    lora = trained(LoRA(tiny, THINGS))
    images = pictures(tiny)
    plain = lora.logits(images)
    step = lora.in_training(images, Chance("0 epoch 0 step 0", [4, 7, 1, 2]))[0]
    assert (step - plain).abs().max() > 1e-2
    assert torch.equal(lora.logits(images), plain)
    again = lora.in_training(images, Chance("0 epoch 0 step 0", [4, 7, 1, 2]))[0]
    assert torch.equal(again, step)
    later = lora.in_training(images, Chance("0 epoch 0 step 1", [4, 7, 1, 2]))[0]
    assert (later - step).abs().max() > 1e-2
    part = lora.in_training(images[1:3], Chance("0 epoch 0 step 0", [7, 1]))[0]
    assert_close("as two processes would share it", part, step[1:3])
    none = trained(LoRA(tiny, THINGS, dropout=0.0))
    assert_close("none", none.in_training(images, Chance("", range(4)))[0], none.logits(images))


def dropping(clip, lora, tower, rows):
    """A copy with adapters as hooks, in which each row loses a quarter of what A is given."""
    model = copy.deepcopy(clip.model)
    draws = [
        torch.Generator().manual_seed(random.Random(f"s {tower} {row}").getrandbits(63))
        for row in rows
    ]
    a, b = getattr(lora, f"{tower}_a"), getattr(lora, f"{tower}_b")

    def change(i):
        def hook(linear, given, output):
            x = given[0]
            kept = torch.stack([torch.rand(x.shape[1:], generator=draw) for draw in draws]) >= 0.25
            return output + (x * kept / 0.75) @ a[i].T @ b[i].T / math.sqrt(2)

        return hook

    for i, name in enumerate(matrices_of(clip.model, tower)):
        dict(model.named_modules())[name].register_forward_hook(change(i))
    return model


def test_dropped_by_hand(clip):
    tiny = deep_clip(clip, 4)
    lora = trained(LoRA(tiny, THINGS))
    images, rows = pictures(tiny, 3), [5, 9, 2]
    found = lora.in_training(images, Chance("s", rows))[0]
    eye = dropping(tiny, lora, "vision", rows)
    features = normalize(compat.image_features(eye, images), dim=-1)
    classes = classes_by_hand(tiny, dropping(tiny, lora, "text", THINGS), THINGS)
    assert_close("logits", found, logits(tiny, features, classes))


def test_fit_drops_by_its_seed_alone_and_goes_on_where_it_was_stopped(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN", 0)
    tiny = deep_clip(clip, 5)
    given = pictures(tiny, 6), [0, 1, 2] * 2
    how = {"epochs": 4, "batch_size": 4, "lr": 0.05, "seed": 3, "optimizer": LoRA.optimizer}
    whole, again, without = LoRA(tiny, THINGS), LoRA(tiny, THINGS), LoRA(tiny, THINGS, dropout=0.0)
    before = torch.get_rng_state()
    told, step_of = [], LoRA.in_training
    with monkeypatch.context() as patch:
        patch.setattr(LoRA, "in_training", lambda *given: told.append(given[2]) or step_of(*given))
        history = quiet(whole, *given, **how)
    assert torch.equal(torch.get_rng_state(), before)
    assert len({chance.step for chance in told}) == len(told) == 8, "each step drops others"
    assert [sorted([*a.rows, *b.rows]) for a, b in zip(told[::2], told[1::2], strict=True)] == [
        [*range(6)]
    ] * 4
    torch.rand(3)
    step, steps = training._Training.step, []

    def stopping(run, *arguments):
        steps.append(run)
        if len(steps) == 6:  # in the middle of the third epoch
            raise KeyboardInterrupt
        return step(run, *arguments)

    monkeypatch.setattr(training._Training, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        quiet(again, *given, **how, checkpoint=tmp_path / "run")
    monkeypatch.setattr(training._Training, "step", step)
    for other in ({"alpha": 8}, {"dropout": 0.0}):
        with pytest.raises(ValueError, match="belongs to another run"):
            quiet(LoRA(tiny, THINGS, **other), *given, **how, checkpoint=tmp_path / "run")
    again = LoRA(tiny, THINGS)
    resumed = quiet(again, *given, **how, checkpoint=tmp_path / "run")
    assert resumed.loss == pytest.approx(history.loss, rel=1e-4)
    for one, other in zip(again.parameters(), whole.parameters(), strict=True):
        assert agree(one, other, 1e-4)
    assert quiet(without, *given, **how).loss != pytest.approx(history.loss, rel=1e-3)


# The model


def test_training_changes_the_adapters_and_no_bit_of_the_model(clip):
    tiny = deep_clip(clip, 6)
    before = {name: tensor.clone() for name, tensor in tiny.model.state_dict().items()}
    modules = [(name, id(module)) for name, module in tiny.model.named_modules()]
    lora = LoRA(tiny, THINGS, dropout=0.0)
    tiny.model.visual_projection.weight.requires_grad_(False)
    flags = [weight.requires_grad for weight in tiny.model.parameters()]
    start = copy.deepcopy(lora)
    assert start.clip is tiny
    optimizer = torch.optim.AdamW([*lora.parameters(), *tiny.model.parameters()], lr=0.1)
    losses = []
    for _ in range(4):
        loss = F.cross_entropy(lora.logits(pictures(tiny, 3)), torch.tensor([0, 1, 2]))
        optimizer.zero_grad()
        loss.backward()
        assert all(weight.grad is None for weight in tiny.model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    for one, other in zip(lora.parameters(), start.parameters(), strict=True):
        assert ((one - other).abs().amax(dim=(1, 2)) > 0.01).all()
    assert [weight.requires_grad for weight in tiny.model.parameters()] == flags
    assert [(name, id(module)) for name, module in tiny.model.named_modules()] == modules
    assert not any(module._forward_hooks for module in tiny.model.modules())
    assert all(torch.equal(t, before[name]) for name, t in tiny.model.state_dict().items())


def test_hooks_go_when_a_tower_fails(clip):
    tiny = deep_clip(clip, 6)
    lora = LoRA(tiny, THINGS)
    with pytest.raises(ValueError, match="shape"):
        lora.logits(torch.zeros(2, 3, 5, 5))
    with pytest.raises((RuntimeError, ValueError)):
        lora.image_features(torch.zeros(2, 2, 2))
    assert not any(module._forward_hooks for module in tiny.model.modules())


def test_pictures_in_any_number_are_encoded_alike(clip, monkeypatch):
    tiny = deep_clip(clip, 4)
    lora = trained(LoRA(tiny, THINGS))
    images, chance = pictures(tiny, 5), Chance("s", range(5))
    whole, step = lora.logits(images), lora.in_training(images, chance)[0]
    monkeypatch.setattr("clipnotes.pictures.batches.BATCH", 2)
    assert_close("in batches", lora.logits(images), whole)
    assert_close("in batches, training", lora.in_training(images, chance)[0], step)
    none = lora.logits(images[:0])  # what a process computes that has no part of a batch
    assert none.shape == (0, 3)
    gradients = torch.autograd.grad(none.sum(), [*lora.parameters()])
    assert not any(gradient.any() for gradient in gradients)


def test_a_model_in_half_precision(clip):
    half = copy.deepcopy(clip.model).bfloat16()
    half = clipnotes.Clip(half, clip.tokenizer, clip.image_processor)
    images, _ = fruits()
    lora, plain = (trained(LoRA(c, CLASSES), 0.05) for c in (half, clip))
    found = lora.logits(lora.inputs(images))
    found.square().sum().backward()
    assert {lora.text_b.dtype, lora.text_b.grad.dtype, found.dtype} == {torch.float32}
    features = lora.image_features(lora.inputs(images))
    assert_close("unit", features.norm(dim=-1), torch.ones(15), 1e-6)
    assert_close("features", features, plain.image_features(plain.inputs(images)), 0.05)
    assert next(lora.merged()[1].parameters()).dtype == torch.bfloat16


def test_it_learns_from_pictures_with_and_without_augmentation(clip):
    images, names = fruits()
    for more in ({}, {"augment": random_crop_and_flip}):
        lora = LoRA(clip, CLASSES, template="an emoji of a {}")
        how = {**RECIPE, "lr": 0.01, "optimizer": LoRA.optimizer, **more}
        history = quiet(lora, images, names, **how)
        assert history.loss[-1] < 0.85 * history.loss[0]
        assert evaluate(lora, images, names).n == 15


def test_a_model_that_was_moved_is_followed(clip):
    own = clipnotes.Clip(copy.deepcopy(clip.model), clip.tokenizer, clip.image_processor)
    lora = trained(LoRA(own, THINGS), 0.05)
    images = pictures(own)
    expected = lora.logits(images)
    own.model = own.model.bfloat16()
    found = lora.logits(images)
    assert found.dtype == torch.float32 and not torch.equal(found, expected)
    assert_close("in half precision", found, expected, 0.05)
