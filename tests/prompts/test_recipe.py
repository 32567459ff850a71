"""CoOp's recipe: its learning rates, its order of images and its optimizer."""

import pytest
import torch

from clipnotes.prompts.recipe import batches, learning_rates, sgd


@pytest.mark.parametrize("epochs", [1, 2, 50])
def test_learning_rates_are_the_reference_s(epochs):
    """Its cosine starts after the warm-up, and is as long as the whole training."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.002)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    expected = [1e-5]
    while len(expected) < epochs:
        expected += cosine.get_last_lr()
        optimizer.step()
        cosine.step()
    assert learning_rates("cosine", 0.002, epochs) == pytest.approx(expected, rel=1e-12)


def test_other_schedules():
    assert learning_rates("constant", 0.5, 3) == [0.5, 0.5, 0.5]
    assert learning_rates(lambda epoch: epoch / 2, 0.5, 3) == [0, 0.25, 0.5]


def test_an_epoch_sees_every_row_once_in_another_order():
    first, second = (batches(70, 32, seed=0, epoch=epoch) for epoch in (0, 1))
    assert [len(batch) for batch in first] == [32, 32, 6]
    for epoch in (first, second):
        assert sorted(row for batch in epoch for row in batch) == list(range(70))
    assert first != second != batches(70, 32, seed=1, epoch=1)
    assert first == batches(70, 32, seed=0, epoch=0)


def test_the_optimizer_is_coop_s():
    made = sgd([torch.nn.Parameter(torch.zeros(2))])
    assert isinstance(made, torch.optim.SGD)
    wanted = {"lr": 0.002, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": False}
    assert {name: made.defaults[name] for name in wanted} == wanted
