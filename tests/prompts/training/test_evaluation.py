"""evaluate(): the numbers are scikit-learn's, and what cannot be measured is an error."""

import pytest
import torch
from PIL import Image
from sklearn import metrics

from clipnotes import compat
from clipnotes.prompts import VPT, PromptLearner, evaluate
from clipnotes.prompts.learner import Learner
from few_pictures import CLASSES, fruits, small_learner


class Said:
    """A classifier whose answers are written down."""

    def __init__(self, clip, answers, n_classes=5):
        self.clip, self.classnames = clip, CLASSES[:n_classes]
        self.answers = torch.nn.functional.one_hot(torch.tensor(answers), n_classes).float()

    def logits(self, image_features):
        assert len(image_features) == len(self.answers)
        return self.answers


def test_the_numbers_are_scikit_learn_s(clip):
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 5, (200,), generator=generator)
    said = torch.where(
        torch.rand(200, generator=generator) < 0.6,
        truth,
        torch.randint(0, 5, (200,), generator=generator),
    )
    features = torch.eye(128)[torch.arange(200) % 128]
    scores = evaluate(Said(clip, said.tolist()), features, truth)
    assert scores.n == 200
    assert scores.accuracy == metrics.accuracy_score(truth, said)
    confusion = metrics.confusion_matrix(truth, said)
    assert scores.confusion.dtype == torch.int64
    assert scores.confusion.tolist() == confusion.tolist()
    recall = metrics.recall_score(truth, said, average=None)
    torch.testing.assert_close(scores.per_class, torch.tensor(recall).float())


def test_a_class_without_pictures_has_no_accuracy(clip):
    scores = evaluate(Said(clip, [0, 1, 3]), torch.eye(128)[:3], [0, 0, 3])
    assert scores.per_class.isnan().tolist() == [False, True, True, False, True]
    assert scores.per_class[[0, 3]].tolist() == [0.5, 1]
    assert scores.confusion[0].tolist() == [1, 1, 0, 0, 0]
    assert scores.accuracy == 2 / 3


def test_pictures_and_features_and_kinds_of_labels_agree(clip):
    images, names = fruits()
    learner = PromptLearner(clip, CLASSES, init="an emoji of a")
    numbers = [CLASSES.index(name) for name in names]
    by_name = evaluate(learner, images, names)
    assert by_name.accuracy > 0.5
    for pictures in (images, clip.encode_image(images), clip.encode_image(images).double()):
        for labels in (numbers, torch.tensor(numbers), torch.tensor(numbers).numpy()):
            scores = evaluate(learner, pictures, labels)
            assert torch.equal(scores.confusion, by_name.confusion)
    assert not scores.per_class.requires_grad


def test_a_column_of_a_data_set_will_do_and_is_read_in_batches(clip, monkeypatch):
    from clipnotes.data import load_emoji

    rows = load_emoji(style="noto", category="food-fruit")
    picked = rows.select([i for i, name in enumerate(rows["name"]) if name in CLASSES])
    learner = small_learner(clip)
    whole = evaluate(learner, picked["image"], picked["name"])
    sizes = []
    encode = compat.image_features
    monkeypatch.setattr(
        compat, "image_features", lambda model, x: (sizes.append(len(x)), encode(model, x))[1]
    )
    monkeypatch.setattr("clipnotes.pictures.batches.BATCH", 2)
    parts = evaluate(learner, picked["image"], picked["name"])
    assert sizes == [2, 2, 1]
    assert torch.equal(whole.confusion, parts.confusion)


def test_the_pixels_of_all_pictures_are_never_held_at_once(clip, monkeypatch):
    images, names = fruits()
    learner = VPT(clip, CLASSES, 2, 2)
    whole = evaluate(learner, images, names)
    held, logits = [], learner.logits
    monkeypatch.setattr(
        learner, "logits", lambda pixels: held.append(len(pixels)) or logits(pixels)
    )
    monkeypatch.setattr("clipnotes.prompts.classifier.BLOCK", 4 * 3 * 64 * 64 * 4 + 1)
    opened, inputs = [], learner.inputs
    monkeypatch.setattr(learner, "inputs", lambda some: opened.append(len(some)) or inputs(some))
    parts = evaluate(learner, images, names)
    assert held == [4, 4, 4, 3]
    assert opened == [1] * 15, "one photograph after the other, since each may be large"
    assert torch.equal(whole.confusion, parts.confusion)


@pytest.mark.parametrize("base", [object, Learner])
def test_what_a_user_wrote_with_inputs_gets_pixels_and_without_them_features(clip, base):
    class Written(base):
        def __init__(self):
            if base is Learner:
                super().__init__(clip, CLASSES)
            self.clip, self.classnames, self.seen = clip, CLASSES, []

        def logits(self, inputs):
            self.seen.append(tuple(inputs.shape))
            return torch.zeros(len(inputs), len(CLASSES))

    class Encodes(Written):
        def inputs(self, images):
            return clip.preprocess(list(images))

    images, names = fruits()
    for kind, shape in ((Written, (15, 128)), (Encodes, (15, 3, 64, 64))):
        classifier = kind()
        assert evaluate(classifier, images, names).n == 15
        assert classifier.seen == [shape]
    with pytest.raises(ValueError, match=r"\(n, 3, 64, 64\) tensor"):
        evaluate(Encodes(), torch.eye(128)[:3], [0, 1, 2])


UNIT = torch.eye(128)[:3]


@pytest.mark.parametrize(
    ("images", "labels", "error", "words"),
    [
        (UNIT, [0, 1], ValueError, "3 images and 2 labels"),
        (UNIT, [0, 1, 5], ValueError, "label 2 is 5; 5 classes have the numbers 0 to 4"),
        (UNIT, [0, -1, 1], ValueError, "label 1 is -1"),
        (UNIT, ["grapes", "melon", "car"], ValueError, "label 2 is 'car'.*grapes, melon"),
        (UNIT, [0, 1.5, 2], TypeError, "label 1 is 1.5"),
        (UNIT, [0, True, 2], TypeError, "label 1 is True"),
        (UNIT, "abc", TypeError, "labels is a str"),
        (UNIT, 3, TypeError, "labels is a int"),
        (UNIT, torch.zeros(3, 1).long(), ValueError, r"labels has shape \(3, 1\)"),
        (UNIT[:, :64], [0, 1, 2], ValueError, r"shape \(3, 64\).*\(n, 128\)"),
        (UNIT[0], [0], ValueError, r"shape \(128,\)"),
        (UNIT.long(), [0, 1, 2], ValueError, "torch.int64"),
        (UNIT[:0], [], ValueError, "images is empty"),
        ([], [], ValueError, "images is empty"),
        (UNIT * 2, [0, 1, 2], ValueError, "feature 0 has length 2"),
        (UNIT * float("nan"), [0, 1, 2], ValueError, "feature 0 has length nan"),
        (Image.new("RGB", (8, 8)), [0], TypeError, "images is a Image"),
        (5, [0], TypeError, "images is a int"),
        (["a.png"], [0], TypeError, "image 0: a str was given"),
        ([Image.new("RGB", (8, 8)), Image.new("CMYK", (8, 8))], [0, 1], ValueError, "image 1"),
        ([Image.new("RGB", (8, 0))], [0], ValueError, "image 0 is 8 x 0 pixels"),
    ],
)
def test_what_cannot_be_measured(clip, images, labels, error, words):
    with pytest.raises(error, match=words):
        evaluate(Said(clip, [0] * 3), images, labels)


def test_a_picture_is_named_by_its_place_in_all(clip, monkeypatch):
    monkeypatch.setattr("clipnotes.pictures.batches.BATCH", 1)
    for bad, words in ((Image.new("RGB", (8, 0)), "1 is 8 x 0 pixels"), ("a.png", "1: a str")):
        with pytest.raises((TypeError, ValueError), match=f"image {words}"):
            evaluate(Said(clip, [0, 0]), [Image.new("RGB", (8, 8)), bad], [0, 0])


def test_a_logit_that_is_not_finite(clip):
    classifier = Said(clip, [0, 1, 2])
    classifier.answers[1, 3] = torch.inf
    with pytest.raises(FloatingPointError, match="image 1"):
        evaluate(classifier, UNIT, [0, 1, 2])
