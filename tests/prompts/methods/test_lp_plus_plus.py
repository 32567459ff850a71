"""LP++ against its formulas, written out with loops, and its steps, none of which may climb."""

import copy
import itertools

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clipnotes.prompts import LPPlusPlus, evaluate, fit_lp_plus_plus, load_prompt
from clipnotes.prompts.methods import PUBLISHED, lp_plus_plus
from clipnotes.prompts.methods.published import Settings
from clipnotes.prompts.training.resume import digest
from clipnotes.teach import Plan
from few_pictures import CLASSES, TEMPLATE, fruits, pictures
from reference import agree, assert_close


def texts_of(clip):
    return clip.encode_text([TEMPLATE.format(name) for name in CLASSES]).double().numpy()


class Reference:
    """The method in numpy and float64, image by image and class by class."""

    def __init__(self, clip, features, labels):
        self.f, self.y = features.double().numpy(), labels
        self.t = texts_of(clip)
        self.n, self.k = len(labels), len(self.t)
        self.w = np.zeros((self.k, self.f.shape[1]))
        own = [[] for _ in range(self.k)]
        for f, y in zip(self.f, labels, strict=True):
            self.w[y] += f
            own[y].append(f @ self.t[y])
        mean = np.mean([np.mean(cosines) for cosines in own])
        scale = float(clip.model.logit_scale.detach().exp())
        self.alpha = np.full(self.k, 250 * scale / 100 * mean)

    def logits(self, features):
        rows = []
        for f in features:
            rows.append([f @ (self.w[k] + self.alpha[k] * self.t[k]) for k in range(self.k)])
        return np.array(rows)

    def loss_and_gradients(self):
        loss, of_w, of_alpha = 0.0, np.zeros_like(self.w), np.zeros_like(self.alpha)
        for f, y, row in zip(self.f, self.y, self.logits(self.f), strict=True):
            p = np.exp(row - row.max())
            p /= p.sum()
            loss -= np.log(p[y]) / self.n
            for k in range(self.k):
                too_much = (p[k] - (k == y)) / self.n
                of_w[k] += too_much * f
                of_alpha[k] += too_much * (f @ self.t[k])
        return loss, of_w, of_alpha

    def train(self, epochs):
        largest = np.linalg.norm(self.f, 2) ** 2  # a singular value's square is an eigenvalue
        most = max(sum((f @ t) ** 2 for f in self.f) for t in self.t)
        losses = []
        for i in range(1, epochs + 1):
            loss, of_w, _ = self.loss_and_gradients()
            self.w -= 4 * self.n / largest * of_w
            if i % 10 == 0:
                self.alpha -= self.n / (4 * most) * self.loss_and_gradients()[2]
            losses.append(loss)
        return losses


def test_it_starts_as_the_authors_start(clip):
    features, labels = pictures(clip, 13)  # so classes have 3 or 2 images
    probe = LPPlusPlus(clip, CLASSES, features, labels, TEMPLATE)
    expected = Reference(clip, features, labels)
    assert_close("weight", probe.weight, torch.tensor(expected.w).float())
    assert_close("alpha", probe.alpha, torch.tensor(expected.alpha).float())
    assert probe.alpha.unique().numel() == 1
    sharp = copy.deepcopy(clip)
    with torch.no_grad():
        sharp.model.logit_scale.fill_(np.log(100))
    images, names = fruits()
    alpha = LPPlusPlus(sharp, CLASSES, images, names, TEMPLATE).alpha[0]
    texts, seen = clip.encode_text([TEMPLATE.format(n) for n in CLASSES]), clip.encode_image(images)
    cosines = [(seen[i] @ texts[CLASSES.index(name)]).item() for i, name in enumerate(names)]
    assert alpha.item() == pytest.approx(250 * np.mean(cosines), rel=1e-4)  # as for CLIP


def test_logits_and_gradients_are_those_of_the_formula(clip):
    features, labels = pictures(clip, 13)
    probe = LPPlusPlus(clip, CLASSES, features, labels, TEMPLATE)
    expected = Reference(clip, features, labels)
    draw = torch.Generator().manual_seed(4)
    with torch.no_grad():
        probe.alpha += torch.randn(len(CLASSES), generator=draw)
    expected.alpha = probe.alpha.detach().double().numpy()
    queries, _ = pictures(clip, 6, seed=1)
    wanted = torch.tensor(expected.logits(queries.double().numpy())).float()
    assert_close("logits", probe.logits(queries), wanted)
    loss = torch.nn.functional.cross_entropy(probe.logits(features), torch.tensor(labels))
    found = torch.autograd.grad(loss, [probe.weight, probe.alpha])
    value, *gradients = expected.loss_and_gradients()
    assert loss.item() == pytest.approx(value, rel=1e-5)
    for name, one, other in zip(("weight", "alpha"), found, gradients, strict=True):
        assert_close(name, one, torch.tensor(other).float())


def test_training_is_what_is_written_out(clip):
    features, labels = pictures(clip, 13)
    probe, losses = fit_lp_plus_plus(clip, CLASSES, features, labels, template=TEMPLATE, epochs=25)
    expected = Reference(clip, features, labels)
    start = expected.alpha.copy()
    assert losses == pytest.approx(expected.train(25), rel=1e-4)
    assert agree(probe.weight.detach(), torch.tensor(expected.w).float(), 1e-4)
    assert agree(probe.alpha.detach(), torch.tensor(expected.alpha).float(), 1e-4)
    assert np.abs(expected.alpha - start).max() > 1e-3


def curvature(probe, features, labels, block):
    """The largest eigenvalue of the loss's second derivative in one block."""
    at = block.detach().clone()
    name = "weight" if block is probe.weight else "alpha"

    def loss(values):
        here = {"weight": probe.weight.detach(), "alpha": probe.alpha.detach(), name: values}
        classes = here["weight"] + here["alpha"][:, None] * probe.class_features
        return torch.nn.functional.cross_entropy(features @ classes.T, labels)

    second = torch.autograd.functional.hessian(loss, at)
    return torch.linalg.eigvalsh(second.reshape(at.numel(), at.numel()))[-1].item()


def hard_to_tell_apart(clip, n=100):
    """Images of two classes that are nearly the same image, seven of one to three of the other."""
    draw = torch.Generator().manual_seed(9)
    same = torch.randn(clip.model.config.projection_dim, generator=draw)
    features = same + 0.2 * torch.randn(n, len(same), generator=draw)
    labels = [int(i % 10 < 3) for i in range(n)]
    return torch.nn.functional.normalize(features, dim=-1), labels


def test_the_step_of_the_weights_is_as_long_as_can_be(clip):
    features, labels = hard_to_tell_apart(clip)
    probe = LPPlusPlus(clip, CLASSES[:2], features, labels)
    with torch.no_grad():
        probe.weight.zero_()  # both classes are as likely, which is where a softmax bends most
        probe.alpha.zero_()
    size, _ = lp_plus_plus.step_sizes(features, probe.class_features)
    bent = curvature(probe, features, torch.tensor(labels), probe.weight)
    assert bent == pytest.approx(2 / size, rel=1e-4)


def test_no_step_is_longer_than_what_cannot_climb(clip):
    features, labels = pictures(clip, 13)
    sizes = lp_plus_plus.step_sizes(features, torch.tensor(texts_of(clip)).float())
    for epochs in (1, 10):
        probe, _ = fit_lp_plus_plus(clip, CLASSES, features, labels, epochs=epochs)
        for block, size in zip((probe.weight, probe.alpha), sizes, strict=True):
            bent = curvature(probe, features, torch.tensor(labels), block)
            assert 0 < bent <= 2 / size * (1 + 1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_goes_down_with_every_step_of_either_block(clip, seed, monkeypatch):
    losses, sizes, step = [], [], lp_plus_plus._step

    def watched(probe, features, labels, block, size):
        losses.append(step(probe, features, labels, block, size))
        sizes.append(block.numel())
        return losses[-1]

    monkeypatch.setattr(lp_plus_plus, "_step", watched)
    # With more images than dimensions, and labels by chance, no probe can get all of them right.
    images, labels = fruits() if seed == 0 else pictures(clip, 300, seed)
    names = CLASSES
    if seed == 4:
        (images, labels), names = hard_to_tell_apart(clip), CLASSES[:2]
    fit_lp_plus_plus(clip, names, images, labels, template=TEMPLATE, epochs=100)
    assert len(losses) == 110
    assert [i for i, size in enumerate(sizes) if size == len(names)] == list(range(10, 110, 11))
    rounding = 1e-6  # of a loss that hardly falls any more
    falls = [before - after for before, after in itertools.pairwise(losses)]
    assert min(falls) > -rounding
    assert losses[-1] < 0.95 * losses[0]


def test_it_learns_from_pictures_and_leaves_the_model_alone(clip):
    clip = copy.deepcopy(clip)
    clip.model.requires_grad_(True)
    before = digest(*clip.model.state_dict().values())
    images, names = fruits()
    probe, losses = fit_lp_plus_plus(clip, CLASSES, images, names, template=TEMPLATE)
    again, same = fit_lp_plus_plus(clip, CLASSES, images, names, template=TEMPLATE)
    assert len(losses) == 300 and same == pytest.approx(losses, rel=1e-4)
    assert agree(again.weight.detach(), probe.weight.detach(), 1e-4)
    assert evaluate(probe, images, names).accuracy == 1
    assert digest(*clip.model.state_dict().values()) == before
    assert all(p.grad is None and p.requires_grad for p in clip.model.parameters())
    assert probe.weight.grad is None and probe.alpha.grad is None


def test_there_and_back_for_its_own_classes(clip, tmp_path):
    images, names = fruits(["noto", "fxemoji"])
    probe, _ = fit_lp_plus_plus(clip, CLASSES, images, names, template=TEMPLATE, epochs=20)
    probe.save(tmp_path, shots=2)
    assert set(load_file(tmp_path / "prompt.safetensors")) == {"weight", "alpha"}
    back = load_prompt(tmp_path, clip)
    features = clip.encode_image(images)
    assert type(back) is LPPlusPlus and back.template == TEMPLATE
    assert agree(back.logits(features), probe.logits(features))
    with pytest.raises(ValueError, match="nothing for others"):
        LPPlusPlus.load(tmp_path, clip, CLASSES[:2])


def test_a_half_precision_model(clip):
    half = copy.deepcopy(clip)
    half.model.bfloat16()
    features, labels = pictures(clip, 5)
    found, expected = (
        LPPlusPlus(one, CLASSES, features, labels).logits(features) for one in (half, clip)
    )
    assert found.dtype == torch.float32
    assert_close("logits", found, expected, 0.05 * expected.abs().max())


def test_what_cannot_be(clip):
    features, labels = pictures(clip, 5)
    with pytest.raises(ValueError, match="the class 'tomato' has no image"):
        LPPlusPlus(clip, CLASSES, features[:4], labels[:4])
    with pytest.raises(TypeError, match="template is a list"):
        LPPlusPlus(clip, CLASSES, features, labels, [TEMPLATE])
    with pytest.raises(ValueError, match="give"):
        LPPlusPlus(clip, CLASSES, features, labels).logits(features[:, 1:])
    for epochs in (0, -1, True, 1.5):
        with pytest.raises(ValueError, match="epochs is"):
            fit_lp_plus_plus(clip, CLASSES, features, labels, epochs=epochs)


def test_a_rate_is_refused_before_an_image_is_seen(clip):
    assert "lr" not in PUBLISHED["lp++"].recipe
    with pytest.raises(ValueError, match=r"^lp\+\+: .*follow from the images; leave lr out"):
        PUBLISHED["lp++"].make(clip, CLASSES, Settings(TEMPLATE, recipe={"lr": 0.1}))
    assert type(Plan("lp++").make(clip, CLASSES, 0)) is LPPlusPlus
