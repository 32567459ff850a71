"""The calibration error against a table by hand and a naive loop."""

import pytest
import torch

from clipnotes.prompts import ZeroShot, evaluate
from clipnotes.prompts.training.calibration import calibration_error
from few_pictures import CLASSES, TEMPLATE, fruits


def logits_of(confidences, said, n_classes=4):
    """Logits whose softmax gives the class that is said this probability, and the rest alike."""
    rest = (1 - torch.tensor(confidences, dtype=torch.float64)) / (n_classes - 1)
    p = rest[:, None].repeat(1, n_classes)
    p[torch.arange(len(said)), torch.tensor(said)] = torch.tensor(confidences, dtype=torch.float64)
    return p.log()


def test_a_table_by_hand():
    # Bins of 1/15: 0.41 and 0.45 are in (0.4, 0.467], 0.7 in (0.667, 0.733], both 0.95 in the last.
    confidences, said = [0.41, 0.45, 0.7, 0.95, 0.95], [0, 1, 2, 3, 0]
    truth = torch.tensor([0, 0, 2, 3, 1])  # right, wrong, right, right, wrong
    # |1/2 - 0.43| * 2/5  +  |1 - 0.7| * 1/5  +  |1/2 - 0.95| * 2/5
    expected = 0.07 * 0.4 + 0.3 * 0.2 + 0.45 * 0.4
    assert calibration_error(logits_of(confidences, said), truth) == pytest.approx(expected)


def naive(logits, labels, bins=15):
    total = 0.0
    for m in range(bins):
        hits, sure = [], []
        for row, label in zip(logits, labels, strict=True):
            p = (row - row.max()).exp()
            p = p / p.sum()
            confidence = p.max().item()
            if m / bins < confidence <= (m + 1) / bins:
                hits.append(float(p.argmax() == label))
                sure.append(confidence)
        if hits:
            total += len(hits) / len(labels) * abs(sum(hits) / len(hits) - sum(sure) / len(sure))
    return total


@pytest.mark.parametrize("seed", range(4))
def test_it_is_a_naive_loop(seed):
    draw = torch.Generator().manual_seed(seed)
    logits = (2 + 2 * seed) * torch.randn(300, 7, generator=draw, dtype=torch.float64)
    labels = torch.where(
        torch.rand(300, generator=draw) < 0.5,
        logits.argmax(dim=-1),
        torch.randint(7, (300,), generator=draw),
    )
    expected = naive(logits, labels)
    assert expected > 0.01
    assert calibration_error(logits, labels) == pytest.approx(expected, abs=1e-9)
    divided = calibration_error(logits, labels, temperature=2.0)
    assert divided == pytest.approx(naive(logits / 2, labels), abs=1e-9)


def test_the_ends_of_the_scale():
    sure = torch.tensor([[50.0, -50.0]] * 4)
    assert calibration_error(sure, torch.zeros(4, dtype=torch.int64)) == pytest.approx(0, abs=1e-9)
    assert calibration_error(sure, torch.ones(4, dtype=torch.int64)) == pytest.approx(1, abs=1e-9)
    # 3/15 is an edge; it belongs to the bin below, so these are two bins.
    even = logits_of([0.2], [0], 5)
    assert calibration_error(even, torch.tensor([0])) == pytest.approx(0.8)


def test_evaluate_measures_it(clip):
    images, names = fruits()
    zero_shot = ZeroShot(clip, CLASSES, TEMPLATE)
    logits = zero_shot.logits(clip.encode_image(images)).cpu()
    labels = torch.tensor([CLASSES.index(name) for name in names])
    found = evaluate(zero_shot, images, names).ece
    assert 0 < found == pytest.approx(naive(logits.double(), labels), abs=1e-5)
