"""The baselines: each equal to its definition, and all in the shape that evaluate takes."""

import math
import warnings

import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch.nn.functional import normalize

from clipnotes.prompts import LinearProbe, NearestMean, ZeroShot, evaluate
from few_pictures import CLASSES, fruits
from reference import agree

TEMPLATES = ["a photo of a {}", "an emoji of a {}", "{}, drawn."]


@pytest.fixture(scope="module")
def shots(clip):
    """Features and labels of three images per class."""
    images, names = fruits()
    return clip.encode_image(images), [CLASSES.index(name) for name in names]


def test_zero_shot_is_classify(clip):
    images, _ = fruits()
    expected = clip.classify(images, CLASSES, template="an emoji of a {}")
    logits = ZeroShot(clip, CLASSES, "an emoji of a {}").logits(clip.encode_image(images))
    torch.testing.assert_close(logits.softmax(-1), expected, atol=1e-5, rtol=0)


def test_templates_are_averaged_at_unit_length(clip):
    classifier = ZeroShot(clip, CLASSES, TEMPLATES)
    for i, name in enumerate(CLASSES):
        sentences = clip.encode_text([template.format(name) for template in TEMPLATES])
        expected = normalize(sentences.sum(0), dim=0)
        torch.testing.assert_close(classifier.class_features[i], expected, atol=1e-5, rtol=0)
    assert not classifier.class_features.requires_grad


def test_nearest_mean(clip, shots):
    features, labels = shots
    classifier = NearestMean(clip, CLASSES, features, labels)
    scale = clip.model.logit_scale.exp().item()
    logits = classifier.logits(features)
    for i in range(len(CLASSES)):
        mean = features[torch.tensor(labels) == i].mean(0)
        cosines = torch.cosine_similarity(features, mean[None])
        torch.testing.assert_close(logits[:, i], scale * cosines, atol=1e-4, rtol=0)


@pytest.mark.parametrize("C", [3.0, 0.5])
@pytest.mark.parametrize("n_classes", [5, 2])
def test_linear_probe_is_scikit_learn_s(clip, shots, n_classes, C):
    features, labels = shots
    kept = torch.tensor(labels) < n_classes
    features, labels = features[kept], torch.tensor(labels)[kept]
    probe = LinearProbe(clip, CLASSES[:n_classes], features, labels, C=C)
    assert probe.C == C
    reference = LogisticRegression(C=C, max_iter=10_000).fit(features.double(), labels)
    expected = torch.tensor(reference.predict_proba(features.double())).float()
    probabilities = probe.logits(features).softmax(-1)
    torch.testing.assert_close(probabilities, expected, atol=1e-4, rtol=0)
    assert evaluate(probe, features, labels).accuracy == reference.score(features.double(), labels)


def test_regularisation_is_chosen_by_what_the_pictures_say(clip):
    """Where the classes are far apart any will do; where the signal is faint a strong one loses."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(5).repeat(10)
    noise = normalize(torch.randn(50, 128, generator=generator), dim=-1)
    easy = normalize(torch.eye(128)[labels] + 0.1 * noise, dim=-1)
    assert LinearProbe(clip, CLASSES, easy, labels).C == 0.01, "of equals, the smallest"
    # One number out of 128 tells two unequal classes apart, and others are much larger.
    generator = torch.Generator().manual_seed(1)
    few = torch.tensor([0] * 30 + [1] * 10)
    faint = torch.randn(40, 128, generator=generator) * (torch.arange(128) < 3)
    faint[:, 100] = (few - 0.5) * 0.5
    chosen = LinearProbe(clip, CLASSES[:2], normalize(faint, dim=-1), few)
    assert chosen.C >= 1
    again = LinearProbe(clip, CLASSES[:2], normalize(faint, dim=-1), few)
    assert chosen.C == again.C and agree(chosen.weight, again.weight, 1e-4)


@pytest.mark.parametrize(
    ("strength", "C"), [(0.3, 10), (0.1, 100), (0.03, 1000), (0.01, 10_000), (0.0045, 0.01)]
)
def test_the_fainter_the_signal_the_larger_is_C_up_to_10_000(clip, strength, C):
    """Of unequal classes all is taken for the larger, unless the signal may weigh enough."""
    labels = torch.tensor([0] * 30 + [1] * 10)
    features = torch.eye(128)[:1].repeat(40, 1)
    features[:, 1] = (labels - 0.5) * strength
    probe = LinearProbe(clip, CLASSES[:2], normalize(features, dim=-1), labels)
    assert probe.C == C, "0.01 where none finds it, the smallest of equals"


@pytest.mark.parametrize("seed", [2, 5, 7])
def test_C_is_the_best_of_a_cross_validation(clip, seed):
    """The folds are scikit-learn's with the seed 0, so nobody's chance changes what is chosen."""
    generator = torch.Generator().manual_seed(seed)
    labels, features = torch.arange(3).repeat_interleave(6), torch.zeros(18, 128)
    features[:, :6] = 0.7 * torch.randn(3, 6, generator=generator)[labels]
    features[:, :6] += torch.randn(18, 6, generator=generator)
    features = normalize(features, dim=-1)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    right = {}
    for C in (10.0**power for power in range(-2, 5)):
        probe = LogisticRegression(C=C, max_iter=10_000)
        said = cross_val_predict(probe, features.double(), labels, cv=folds)
        right[C] = (said == labels.numpy()).sum()
    expected = next(C for C in right if right[C] == max(right.values()))
    chosen = LinearProbe(clip, CLASSES[:3], features, labels)
    assert expected == chosen.C


def test_even_with_the_weakest_penalty_it_is_computed_to_the_end(clip):
    """Labels by chance, and columns of very unequal size: scikit-learn's own limit is too low."""
    generator = torch.Generator().manual_seed(0)
    features = torch.zeros(100, 128)
    features[:, :20] = torch.randn(100, 20, generator=generator) * 0.7 ** torch.arange(20)
    features, labels = normalize(features, dim=-1), torch.randint(0, 3, (100,), generator=generator)
    with pytest.warns(ConvergenceWarning):
        LogisticRegression(C=10_000).fit(features.double(), labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LinearProbe(clip, CLASSES[:3], features, labels, C=10_000)


def test_one_shot_has_nothing_to_choose_by_and_warns_of_nothing(clip):
    images, names = fruits(["noto"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe = LinearProbe(clip, CLASSES, images, names)
        LinearProbe(clip, list(map(str, range(30))), torch.eye(128)[:30], range(30))
    assert probe.C == 10
    assert evaluate(probe, images, names).accuracy == 1


def test_what_else_scikit_learn_warns_of_is_heard(clip, monkeypatch):
    fit = LogisticRegression.fit

    def warn(*arguments):
        warnings.warn("failed to converge", ConvergenceWarning, stacklevel=2)
        return fit(*arguments)

    monkeypatch.setattr(LogisticRegression, "fit", warn)
    with pytest.warns(ConvergenceWarning, match="failed to converge"):
        LinearProbe(clip, ["a", "b"], X, Y, C=1.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda clip, *shots: ZeroShot(clip, CLASSES),
        lambda clip, *shots: NearestMean(clip, CLASSES, *shots),
        lambda clip, *shots: LinearProbe(clip, CLASSES, *shots),
    ],
)
def test_all_take_pictures_or_features(clip, shots, make):
    images, names = fruits()
    from_pictures, from_features = make(clip, images, names), make(clip, *shots)
    features = shots[0].requires_grad_()
    a, b = from_pictures.logits(features), from_features.logits(features)
    shots[0].requires_grad_(False)
    torch.testing.assert_close(a, b, atol=1e-3, rtol=0)
    assert a.shape == (15, 5) and a.dtype == torch.float32 and not a.requires_grad
    assert evaluate(from_pictures, images, names).accuracy >= 0.6
    torch.testing.assert_close(a, from_pictures.logits(features.double()), atol=1e-3, rtol=0)


X, Y = torch.eye(128)[:4], [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda clip: ZeroShot(clip, "tulip"), TypeError, "tulip"),
        (lambda clip: ZeroShot(clip, []), ValueError, "no class"),
        (lambda clip: ZeroShot(clip, ["a", "a"]), ValueError, "'a' is class 0 and class 1"),
        (lambda clip: ZeroShot(clip, ["a", 5]), TypeError, "class 1 is a int"),
        (lambda clip: ZeroShot(clip, ["a"], []), ValueError, "templates is empty"),
        (lambda clip: ZeroShot(clip, ["a"], "{} {}"), ValueError, "2 places"),
        (lambda clip: ZeroShot(clip, ["a"], ["{}", "no"]), ValueError, "'no' has 0 places"),
        (lambda clip: ZeroShot(clip, ["a"], [5]), TypeError, "a template is a int"),
        (lambda clip: NearestMean(clip, ["a", "b", "c"], X, Y), ValueError, "class 'c' has no"),
        (lambda clip: NearestMean(clip, ["a", "b"], X, Y[:3]), ValueError, "4 images and 3"),
        (lambda clip: LinearProbe(clip, ["a", "b", "c"], X, Y), ValueError, "class 'c' has no"),
        (lambda clip: LinearProbe(clip, ["a"], X, [0] * 4), ValueError, "at least two classes"),
        (lambda clip: LinearProbe(clip, ["a", "b"], X, Y, C=0), ValueError, "C is 0"),
        (lambda clip: LinearProbe(clip, ["a", "b"], X, Y, C="1"), ValueError, "C is '1'"),
        (lambda clip: LinearProbe(clip, ["a", "b"], X, Y, C=math.inf), ValueError, "C is inf"),
        (lambda clip: LinearProbe(clip, ["a", "b"], X, Y, C=math.nan), ValueError, "C is nan"),
    ],
)
def test_what_they_cannot_take(clip, make, error, words):
    with pytest.raises(error, match=words):
        make(clip)
