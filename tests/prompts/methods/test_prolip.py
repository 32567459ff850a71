"""ProLIP against its formula and a training written out, on every family that has the matrix."""

import copy
import math

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import families
from clipnotes import compat
from clipnotes.prompts import ProLIP, ZeroShot, evaluate, fit, fit_prolip, load_prompt
from clipnotes.prompts.methods import prolip
from clipnotes.prompts.saved.storage import read_prompt
from clipnotes.prompts.training.resume import digest
from clipnotes.teach import Plan, learn
from few_pictures import CLASSES, TEMPLATE, fruits
from reference import agree, assert_close
from some_folders import make_folders

PROJECTED = [name for name in families.NAMES if name != "Siglip"]
NAMES = ["rose", "tulip", "beetle"]


def some_pixels(n=6):
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(5))


def formula(clip, names, weight, pooled):
    """Each image and each class by itself: the scale times the cosine of W x and the text."""
    scale = clip.model.logit_scale.detach().exp()
    texts = clip.encode_text([TEMPLATE.format(name) for name in names])
    rows = []
    for x in pooled:
        feature = weight @ x
        feature = feature / feature.square().sum().sqrt()
        rows.append(torch.stack([scale * feature @ text for text in texts]))
    return torch.stack(rows)


@pytest.mark.parametrize("name", PROJECTED)
def test_untrained_it_is_the_model_itself(name):
    clip = families.tiny_clip(name)
    learner = ProLIP(clip, NAMES, TEMPLATE)
    pooled = learner.inputs(some_pixels())
    assert pooled.shape == (6, 12) and learner.weight.shape == (6, 12) and not pooled.requires_grad
    features = F.normalize(compat.image_features(clip.model, some_pixels()), dim=-1)
    wanted = ZeroShot(clip, NAMES, TEMPLATE).logits(features)
    assert_close("logits", learner.logits(pooled), wanted)
    assert_close("formula", learner.logits(pooled), formula(clip, NAMES, learner.weight, pooled))


@pytest.mark.parametrize("name", PROJECTED)
def test_logits_and_gradient_are_those_of_the_formula(name):
    clip = families.tiny_clip(name, "larger")
    learner = ProLIP(clip, NAMES, TEMPLATE)
    with torch.no_grad():
        noise = torch.randn(learner.weight.shape, generator=torch.Generator().manual_seed(1))
        learner.weight += 0.1 * noise
    pooled = learner.inputs(some_pixels())
    by_hand = learner.weight.detach().clone().requires_grad_()
    truth = torch.tensor([0, 1, 2, 0, 1, 2])
    loss = F.cross_entropy(learner.logits(pooled), truth) + learner.drift() / 2
    own = compat.family_of(clip.model).visual_projection(clip.model).weight.detach()
    wanted = F.cross_entropy(formula(clip, NAMES, by_hand, pooled), truth)
    wanted = wanted + ((by_hand - own) ** 2).sum() / 2
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    (found,) = torch.autograd.grad(loss, learner.weight)
    (expected,) = torch.autograd.grad(wanted, by_hand)
    assert expected.abs().max() > 1e-3
    assert_close("gradient", found, expected)


def test_training_is_adam_along_a_cosine_with_the_penalty(clip):
    images, names = fruits()
    learner = ProLIP(clip, CLASSES, TEMPLATE)
    pooled = learner.inputs(images)[:-1]  # so the last class has 2 images, and the others 3
    labels = torch.tensor([CLASSES.index(name) for name in names[:-1]])
    shots = 2
    assert torch.bincount(labels).min() == shots
    epochs, lr = 6, 0.003
    losses = fit_prolip(learner, pooled, labels, epochs=epochs, lr=lr)
    own = clip.model.visual_projection.weight.detach()
    weight, mean, square, expected = own.clone(), 0.0, 0.0, []
    for step in range(epochs):
        weight = weight.detach().requires_grad_()
        loss = F.cross_entropy(formula(clip, CLASSES, weight, pooled), labels)
        loss = loss + ((weight - own) ** 2).sum() / shots
        expected.append(loss.item())
        (g,) = torch.autograd.grad(loss, weight)
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
        hat = mean / (1 - 0.9 ** (step + 1))
        root = (square / (1 - 0.999 ** (step + 1))).sqrt()
        rate = lr * (1 + math.cos(math.pi * step / epochs)) / 2
        weight = weight - rate * hat / (root + 1e-4)
    assert losses == pytest.approx(expected, rel=1e-4)
    assert (weight - own).abs().max() > 1e-3
    assert_close("weight", learner.weight, weight.detach(), 1e-4)


def test_the_fewer_images_the_less_it_moves(clip):
    images, names = fruits()
    moved = []
    for n in (1, 3):
        learner = ProLIP(clip, CLASSES, TEMPLATE)
        rows = [i for i in range(len(names)) if names[:i].count(names[i]) < n]
        some, theirs = [images[i] for i in rows], [names[i] for i in rows]
        fit_prolip(learner, some, theirs, epochs=100, lr=0.01)
        moved.append(learner.drift().item())
    assert 0 < moved[0] < moved[1]


def test_it_learns_from_pictures_and_leaves_the_model_alone(clip):
    clip = copy.deepcopy(clip)
    clip.model.requires_grad_(True)
    before = digest(*clip.model.state_dict().values())
    images, names = fruits()
    learner = ProLIP(clip, CLASSES, TEMPLATE)
    first = evaluate(learner, images, names)
    losses = fit_prolip(learner, images, names, lr=1e-3)
    assert len(losses) == 300 and losses[-1] < 0.9 * losses[0]
    scores = evaluate(learner, images, names)
    assert scores.accuracy >= first.accuracy
    pixels = clip.preprocess(images)
    for given in (pixels, learner.inputs(images), learner.inputs(pixels)):
        assert evaluate(learner, given, names).accuracy == scores.accuracy
    assert digest(*clip.model.state_dict().values()) == before
    assert all(p.grad is None and p.requires_grad for p in clip.model.parameters())
    assert learner.weight.grad is None


def test_fit_trains_it_too(clip):
    images, names = fruits()
    learner = ProLIP(clip, CLASSES, TEMPLATE)
    history = fit(learner, images, names, epochs=5, lr=0.05, progress=False)
    assert history.loss[-1] < history.loss[0]


def test_there_and_back_for_its_own_classes_and_for_others(clip, tmp_path):
    images, names = fruits()
    learner = ProLIP(clip, CLASSES, TEMPLATE)
    fit_prolip(learner, images, names, epochs=5, lr=1e-3)
    learner.save(tmp_path, shots=3)
    assert set(load_file(tmp_path / "prompt.safetensors")) == {"weight"}
    back = load_prompt(tmp_path, clip)
    pooled = learner.inputs(images)
    assert type(back) is ProLIP and back.template == TEMPLATE
    assert agree(back.logits(pooled), learner.logits(pooled))
    assert back.drift().item() == pytest.approx(learner.drift().item(), rel=1e-4)
    fewer = load_prompt(tmp_path, clip, CLASSES[:2])
    assert agree(fewer.logits(pooled), learner.logits(pooled)[:, :2])
    changed = copy.deepcopy(clip)
    with torch.no_grad():
        changed.model.visual_projection.weight.mul_(2)
    with pytest.raises(ValueError, match="the vision tower"):
        ProLIP.load(tmp_path, changed)


def flowers(top, n):
    """Folders of images whose names the small tokenizers tell apart."""
    make_folders(top, n)
    for name, own in zip(NAMES, sorted(top.iterdir()), strict=True):
        own.rename(top / name)
    return top


def test_siglip_is_refused_before_an_image_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("clipnotes.teach.folder.encode_files", lambda *_: pytest.fail("too late"))
    clip = families.tiny_clip("Siglip")
    words = "has no visual projection: .* SigLIP gives is in the shared space already"
    with pytest.raises(TypeError, match=words):
        ProLIP(clip, NAMES)
    folder = flowers(tmp_path / "in", 2)
    with pytest.raises(ValueError, match=f"^prolip: a SiglipModel {words}"):
        learn(clip, folder, tmp_path / "out", Plan("prolip", shots=1))
    assert not (tmp_path / "out").exists()


def test_from_a_folder_on_another_family(tmp_path):
    clip = families.tiny_clip("ChineseCLIP")
    folder = flowers(tmp_path / "in", 3)
    report = learn(clip, folder, tmp_path / "out", Plan("prolip", shots=2, epochs=2))
    assert (report.n_train, report.n_test) == (6, 3)
    assert read_prompt(tmp_path / "out")[1]["recipe"]["weight"] == 0.5
    assert type(load_prompt(tmp_path / "out", clip)) is ProLIP


def test_a_matrix_with_a_bias_and_one_that_was_wrapped(clip):
    clip = copy.deepcopy(clip)
    model, plain = clip.model, clip.model.visual_projection
    model.visual_projection = nn.Linear(128, 128)
    learner = ProLIP(clip, CLASSES, TEMPLATE)
    images, _ = fruits()
    wanted = ZeroShot(clip, CLASSES, TEMPLATE).logits(clip.encode_image(images))
    assert_close("logits", learner.logits(learner.inputs(images)), wanted)
    assert learner.n_parameters == 128 * 128

    class Wrapped(nn.Linear):
        pass

    model.visual_projection = Wrapped(128, 128)
    with pytest.raises(TypeError, match=r"is a Wrapped.*merge or take off"):
        ProLIP(clip, CLASSES)
    model.visual_projection = plain


def test_a_half_precision_model(clip):
    half = copy.deepcopy(clip)
    half.model.bfloat16()
    images, _ = fruits()
    ours, theirs = ProLIP(half, CLASSES), ProLIP(clip, CLASSES)
    found, expected = ours.logits(ours.inputs(images)), theirs.logits(theirs.inputs(images))
    assert found.dtype == ours.weight.dtype == torch.float32
    assert_close("logits", found, expected, 0.05 * expected.abs().max())


def test_many_images_go_through_the_tower_a_batch_at_a_time(clip, monkeypatch):
    learner = ProLIP(clip, CLASSES)
    images, _ = fruits()
    whole = learner.inputs(images)
    monkeypatch.setattr("clipnotes.pictures.batches.BATCH", 4)
    assert agree(learner.inputs(images), whole)
    assert learner.inputs([]).shape == (0, 128)


def test_what_cannot_be(clip):
    learner = ProLIP(clip, CLASSES)
    images, names = fruits()
    pooled = learner.inputs(images)
    with pytest.raises(TypeError, match="template is a list"):
        ProLIP(clip, CLASSES, [TEMPLATE])
    for wrong in (pooled[:, 1:], pooled.long(), pooled[:0]):
        with pytest.raises(ValueError, match="images is"):
            learner.check(wrong)
    with pytest.raises(ValueError, match="image 1 has a number that is not finite"):
        learner.check(torch.where(torch.arange(15)[:, None] == 1, math.nan, pooled))
    with pytest.raises(ValueError, match=r"give \(n, 128\)"):
        learner.logits(pooled[:, 1:])
    for wrong in ({"epochs": 0}, {"epochs": True}, {"lr": 0}, {"lr": math.nan}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
            fit_prolip(learner, pooled, names, **wrong)
    with pytest.raises(ValueError, match="has no image"):
        fit_prolip(learner, pooled[:2], names[:2])
    assert torch.equal(learner.weight, learner.start)
    with pytest.raises(FloatingPointError, match="try a smaller lr"):
        fit_prolip(learner, pooled, names, lr=1e30)
    assert prolip.PROLIP.scale == 100
