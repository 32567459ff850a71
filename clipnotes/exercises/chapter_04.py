"""Checks of chapter 4, the encoder loop."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.exercises.marks import exercise, expect, expect_close, expect_not

Layer = Callable[[Tensor], Tensor]


class _Step(nn.Module):
    """A small layer that records when it starts. It returns a tensor or, as in 4.57, a tuple."""

    def __init__(self, name: int, starts: list[int], *, as_tuple: bool = False) -> None:
        super().__init__()
        self.name, self.starts, self.as_tuple = name, starts, as_tuple
        self.linear = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Any:
        self.starts.append(self.name)
        moved = x + self.linear(x).tanh()
        return (moved, None) if self.as_tuple else moved


def _steps(*, as_tuple: bool = False) -> tuple[list[Any], list[int]]:
    starts: list[int] = []
    return [_Step(i, starts, as_tuple=as_tuple) for i in range(4)], starts


def _out(result: Any) -> Tensor:
    return result[0] if isinstance(result, tuple) else result


@exercise("4.1")
def around(answer: Callable[[tuple[Tensor, ...], int], tuple[Tensor, Tensor]]) -> None:
    """Find what a layer read and what it wrote in the hidden states."""
    states = torch.randn(6, 2, 3, 4).unbind()  # of five layers
    for i in (0, 2, 4):
        result = answer(states, i)
        two = isinstance(result, (tuple, list)) and len(result) == 2
        expect(two, "Two tensors are wanted: what the layer read, what it wrote.")
        read, wrote = result
        where = f"For layer {i} of {len(states) - 1}, counted from 0:"
        expect(
            not (read is states[i + 1] and wrote is states[i]),
            f"{where} the two are interchanged.",
        )
        expect(
            not (i and read is states[i - 1] and wrote is states[i]),
            f"{where} this is what the layer before read and wrote. The first of the states went "
            "into the first layer, no layer wrote it.",
        )
        expect_close(read, states[i], f"{where} this is not what it read.")
        expect_close(wrote, states[i + 1], f"{where} this is not what it wrote.")


@exercise("4.2")
def listen(answer: Callable[[Iterable[nn.Module], Callable[[], Any]], list[Tensor]]) -> None:
    """Collect what each layer returns, be it a tensor or a tuple."""
    for as_tuple, version in ((False, "5.5"), (True, "4.57")):
        layers, starts = _steps(as_tuple=as_tuple)
        x = torch.randn(2, 3, 6)
        states = [x]

        def run(layers: list[Any] = layers, states: list[Tensor] = states) -> Tensor:
            for layer in layers:
                states.append(_out(layer(states[-1])))
            return states[-1]

        result = answer(layers, run)
        expect(starts, "No layer ran: call `run()` while you listen.")
        expect(isinstance(result, (list, tuple)), "A list is wanted: one tensor per layer.")
        result = list(result)
        expect(
            not any(isinstance(output, tuple) for output in result),
            f"With layers as those of {version} you collect tuples. The states are the first in "
            "each.",
        )
        expect(
            all(isinstance(output, Tensor) for output in result),
            "Not all that you give are tensors.",
        )
        wanted = states[1 : len(layers) + 1]
        expect(
            len(result) != len(layers) + 1,
            "One too many: the first layer's input is the output of no layer.",
        )
        expect(
            len(result) == len(layers),
            f"{len(layers)} layers ran, and you have {len(result)} tensors.",
        )
        expect_not(
            torch.stack(result),
            torch.stack(states[: len(layers)]),
            "These are the inputs of the layers. You listen at the entrance, not at the exit.",
        )
        expect_close(torch.stack(result), torch.stack(wanted), "These are not the outputs.")
        expect(
            not any(part._forward_hooks or part._forward_pre_hooks for part in layers),
            "Your hooks are still there, and will listen as long as the model lives: remove them.",
        )


@exercise("4.3")
def run_layers(answer: Callable[[list[Layer], Tensor, Iterable[int]], Tensor]) -> None:
    """Run layers in a given order, where some are left out and some run twice."""
    layers, starts = _steps()
    x = torch.randn(2, 3, 6)
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [0, 2], [1, 1, 3], []):
        starts.clear()
        result = answer(layers, x, iter(order))
        passed = list(starts)
        wanted = x
        for i in order:
            wanted = layers[i](wanted)
        where = f"For the order {order}"
        expect(
            passed != [0, 1, 2, 3] or order == passed,
            f"{where} all layers ran, one after the other. Take those of the order.",
        )
        expect(
            order or len(passed) == 0, f"{where} no layer is to run: the tokens stay as they are."
        )
        if len(order) > 1:
            expect_not(
                result,
                layers[order[-1]](x),
                f"{where} the last layer got the tokens that the first one got. Each reads what "
                "the one before it wrote.",
            )
        expect_close(result, wanted, f"{where} this is not what the layers make of the tokens.")


@exercise("4.4")
def checkpointed(answer: Callable[[list[Layer], Tensor], Tensor]) -> None:
    """Checkpoint each layer, above tokens that need no gradient."""
    layers, starts = _steps()
    x = torch.randn(2, 3, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the sentences below say the same
        result = answer(layers, x)
        wanted = x
        forward = list(starts)
        for layer in layers:
            wanted = layer(wanted)
        expect_close(result, wanted, "This is not what the layers make of the tokens.")
        expect(
            result.requires_grad,
            "The result has no gradient, so the layers would learn nothing: these tokens need "
            "none, as above frozen embeddings. There are two kinds of checkpointing; choose the "
            "other.",
        )
        starts.clear()
        result.square().mean().backward()
    expect(
        starts != [],
        "On the way back no layer runs again: all that the way back needs was kept.",
    )
    expect(
        starts != forward,
        "The layers run again as one block, so on the way back all of it is kept at once. "
        "Checkpoint each layer by itself.",
    )
    expect(
        starts == forward[::-1],
        f"On the way back the layers {starts} start again; of {len(layers)} layers, each is to.",
    )
    gradients = [layer.linear.weight.grad.clone() for layer in layers]
    for layer in layers:
        layer.zero_grad()
    wanted.square().mean().backward()
    for i, layer in enumerate(layers):
        expect_close(
            gradients[i], layer.linear.weight.grad, f"The gradient of layer {i} is not right."
        )
