"""Marks: what a reader is told, whatever the answer does."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clipnotes.exercises import marks
from clipnotes.exercises.marks import exercise, expect, expect_close, is_close, mark
from clipnotes.exercises.small import small_clip, small_pictures, small_texts


@pytest.fixture(autouse=True)
def some_checks(monkeypatch):
    monkeypatch.setattr(marks, "CHECKS", {})

    @exercise("0.1")
    def value(answer: Tensor) -> None:
        expect_close(answer, torch.tensor([1.0, 2.0]), "Count again.")

    @exercise("0.2")
    def function(answer: Callable[[Tensor, int], Tensor]) -> None:
        x = torch.randn(2, 3)
        expect_close(answer(x, 2), 2 * x, "Count again.")

    @exercise("0.3")
    def number(answer: float) -> None:
        expect_close(answer, 0.5, "Half of it is enough.")

    @exercise("0.4")
    def module(answer: nn.Module) -> None:
        expect(answer(torch.ones(1)) == 1, "It is to change nothing.")


def test_a_right_answer():
    right = mark("0.1", torch.tensor([1.0, 2.0]))
    assert right and right.passed and right.message == "" and repr(right) == "0.1: right."
    assert mark("0.2", lambda x, factor: factor * x)
    assert mark("0.2", torch.mul)
    assert mark("0.3", 0.5) and mark("0.3", torch.tensor(0.5)) and mark("0.3", torch.tensor([0.5]))
    assert mark("0.4", nn.Identity())


def test_a_mark_cannot_be_changed():
    with pytest.raises(AttributeError):
        mark("0.1", 1).passed = True


@pytest.mark.parametrize(
    ("number", "answer", "said"),
    [
        ("0.1", ..., "There is no answer: put yours"),
        ("0.1", None, "There is no answer: put yours"),
        ("0.1", (torch.ones(1), ...), "There is no answer: put yours"),
        ("0.1", {"one": ...}, "There is no answer: put yours"),
        ("0.2", ..., "There is no answer: put yours"),
        ("0.2", lambda x, n: None, "There is no answer: your function returns nothing"),
        ("0.2", lambda x, n: ..., "There is no answer: your function returns nothing"),
        ("0.1", torch.tensor([1.0, 2.5]), "Count again. The largest difference is 0.5."),
        ("0.1", torch.tensor([1.0, torch.nan]), "NaN"),
        ("0.1", torch.ones(1, 2), "The shape is (1, 2), and (2,) is wanted."),
        ("0.1", [1.0, 2.0], "A tensor is wanted, and this is a list."),
        ("0.1", lambda: 1, "A value is wanted, and this is a function: call it."),
        ("0.3", "half", "A number is wanted, and this is a str."),
        ("0.3", torch.ones(2), "A number is wanted, and this is a Tensor."),
        ("0.3", 0.6, "Half of it is enough. The largest difference is 0.1."),
        ("0.2", torch.ones(2, 3), "A function is wanted, and this is a tensor of shape (2, 3)."),
        ("0.2", 7, "A function is wanted, and this is 7."),
        ("0.2", lambda x, n: x.add_(x), "changes the tensor"),
        ("0.2", lambda x, n: 1 / 0, "(2, 3), 2, your function raised ZeroDivisionError: division"),
        ("0.2", lambda x: x, "your function raised TypeError: "),
        ("0.4", nn.Linear(5, 5), "The check cannot use a Linear as an answer: RuntimeError: mat"),
        ("0.4", 5, "The check cannot use 5 as an answer: TypeError: 'int' object is not callable"),
    ],
)
def test_a_wrong_answer_becomes_a_sentence(number, answer, said):
    given = mark(number, answer)
    assert not given
    assert said in given.message
    assert "\n" not in given.message
    assert repr(given) == f"{number}: not yet. {given.message}"


def test_a_reader_s_random_numbers_go_on_undisturbed():
    torch.manual_seed(7)
    undisturbed = torch.randn(3)
    torch.manual_seed(7)
    assert mark("0.2", lambda x, factor: torch.randn(1) * 0 + factor * x)
    assert torch.equal(torch.randn(3), undisturbed)


def test_a_check_is_the_same_each_time():
    seen = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        mark("0.2", lambda x, factor: seen.append(x.clone()))
    assert torch.equal(*seen)


def test_a_number_is_given_once():
    with pytest.raises(ValueError, match=r"two checks for exercise 0\.1"):
        exercise("0.1")


def test_a_long_answer_is_not_printed():
    said = mark("0.2", "x" * 100).message
    assert "this is a str." in said


def test_is_close_compares_values_kinds_and_shapes():
    assert is_close(torch.ones(2), torch.ones(2) + 1e-7)
    for other in (torch.zeros(2), torch.ones(2, 1), 1.0):
        assert not is_close(other, torch.ones(2))


def test_the_small_clip_runs_and_hides_nothing():
    model = small_clip()
    out = model(input_ids=small_texts(3, 7), pixel_values=small_pictures(2))
    assert out.logits_per_text.shape == (2, 2)
    assert all(weight.std() > 0 for weight in model.parameters() if weight.dim())
    norms = {k: v for k, v in model.state_dict().items() if "norm" in k and k.endswith("weight")}
    assert all(weight.mean() > 0.5 for weight in norms.values()), "as after training"
    again = small_clip().state_dict()
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())
    assert not torch.equal(
        small_clip(seed=1).visual_projection.weight, again["visual_projection.weight"]
    )


def test_small_texts_are_sos_words_eos_and_padding():
    ids = small_texts(3, 7)
    assert ids.shape == (2, 7)
    assert ids[0].tolist()[0] == 37 and ids[0, 2:].tolist() == [38] * 5
    assert ids[1, -1] == 38 and (ids[1, 1:-1] < 37).all()
