"""The calibration error against a table by hand and a naive loop; the temperature."""

import json

import pytest
import torch

from clipnotes.prompts import TipAdapter, ZeroShot, evaluate, load_prompt
from clipnotes.prompts.training.calibration import best_temperature, calibration_error
from few_pictures import CLASSES, TEMPLATE, fruits, pictures
from saved_prompts import rewrite


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


def test_evaluate_measures_it(clip):
    images, names = fruits()
    zero_shot = ZeroShot(clip, CLASSES, TEMPLATE)
    logits = zero_shot.logits(clip.encode_image(images)).cpu()
    labels = torch.tensor([CLASSES.index(name) for name in names])
    found = evaluate(zero_shot, images, names).ece
    assert 0 < found == pytest.approx(naive(logits.double(), labels), abs=1e-5)


# The temperature


@pytest.mark.parametrize("seed", range(3))
def test_no_other_temperature_is_better(seed):
    draw = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(80, 5, generator=draw)
    labels = torch.multinomial((logits / (0.4 + seed)).softmax(dim=-1), 1, generator=draw)[:, 0]
    found = best_temperature(logits, labels)
    tried = torch.logspace(-2, 2, 2001, dtype=torch.float64)
    losses = torch.stack(
        [torch.nn.functional.cross_entropy(logits.double() / t, labels) for t in tried]
    )
    assert found == pytest.approx(tried[losses.argmin()].item(), rel=3e-3)
    assert best_temperature(10 * logits, labels) == pytest.approx(10 * found, rel=1e-4)


def test_where_there_is_no_best_one():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0]])
    assert best_temperature(logits, torch.tensor([0, 1, 0])) is None  # all right
    assert best_temperature(logits, torch.tensor([1, 0, 1])) is None  # all wrong
    assert best_temperature(logits, torch.tensor([0, 0, 0])) > 0


def test_it_is_saved_and_only_the_error_knows_it(clip, tmp_path):
    features, labels = pictures(clip, 20)
    tip = TipAdapter(clip, CLASSES, features, labels)
    queries, truth = pictures(clip, 30, seed=1)
    logits, before = tip.logits(queries), evaluate(tip, queries, truth)
    tip.temperature = 7.5
    after = evaluate(tip, queries, truth)
    assert torch.equal(tip.logits(queries), logits)
    assert after.accuracy == before.accuracy and torch.equal(after.confusion, before.confusion)
    expected = naive(logits.double().cpu() / 7.5, torch.tensor(truth))
    assert after.ece == pytest.approx(expected, abs=1e-6) != pytest.approx(before.ece, abs=1e-3)
    tip.save(tmp_path)
    assert load_prompt(tmp_path, clip).temperature == 7.5
    for wrong in (0.0, -1.0, "warm", None):
        rewrite(tmp_path, temperature=wrong)
        with pytest.raises(ValueError, match="damaged: its card says temperature"):
            load_prompt(tmp_path, clip)


def test_a_card_from_before_there_was_one(clip, tmp_path):
    from safetensors.torch import load_file, save_file

    from clipnotes.prompts.saved import storage

    TipAdapter(clip, CLASSES, *pictures(clip, 20)).save(tmp_path)
    _, card = storage.read_prompt(tmp_path)
    del card["temperature"]
    file = tmp_path / storage.FILE
    save_file(load_file(file), file, metadata={storage.KEY: json.dumps(card)})
    assert load_prompt(tmp_path, clip).temperature == 1.0
