"""Low-rank adapters in the attention of a tower, while it runs (Hu et al. 2022).

Beside the matrix W that makes queries, keys or values stand two narrow ones, and what the tower
computes is W x + scaling B A x. PEFT would put a module of its own in the place of each W. Other
learners use the same model at the same time, so here the model keeps its modules: a hook adds the
second term, and goes when the tower has run.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.compat import family_of
from clipnotes.compat.compiled import refuse_compiled
from clipnotes.prompts.chance import Dropout
from clipnotes.prompts.deep import refuse_recomputing

# What makes queries, keys and values is called so in CLIP and SigLIP, and so in a BERT.
PARTS = (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"))


def attention_matrices(model: nn.Module, which: str) -> dict[str, nn.Linear]:
    """Find what makes queries, keys and values in the "text" or the "vision" tower.

    Returns:
        The name in the model -> the module: three of each layer, from the first layer on.

    Raises:
        ValueError: A layer has not exactly one of each, one that is no plain matrix of floating
            point numbers, or one of another shape; compiled code would leave the adapters out.
    """
    family = family_of(model)
    layers = (family.text_layers if which == "text" else family.vision_layers)(model)
    found: list[nn.Linear] = []
    for i, layer in enumerate(layers):
        parts = [(name.rpartition(".")[2], module) for name, module in layer.named_modules()]
        for names in PARTS:
            own = [module for name, module in parts if name in names]
            if len(own) != 1:
                raise ValueError(
                    f"layer {i} of the {which} tower has {len(own)} modules called "
                    f"{' or '.join(names)}, and low-rank adapters stand beside one of each layer: "
                    "give a CLIP whose layers make queries, keys and values in matrices of "
                    "their own"
                )
            if not isinstance(own[0], nn.Linear) or not own[0].weight.is_floating_point():
                raise ValueError(
                    f"{names[0]} in layer {i} of the {which} tower is a {_kind(own[0])}, and "
                    "low-rank adapters stand beside a plain torch.nn.Linear: of a PEFT model, give "
                    "what model.merge_and_unload() returns; of a quantised one, the original"
                )
            found.append(own[0])
    shapes = sorted({tuple(linear.weight.shape) for linear in found})
    if len(shapes) > 1:
        raise ValueError(
            f"the matrices of queries, keys and values in the {which} tower have the shapes "
            f"{shapes}, and here all of a tower's adapters have one: give a CLIP with equal layers"
        )
    refuse_compiled(model, found, "the adapters")
    called = {id(module): name for name, module in model.named_modules()}
    return {called[id(linear)]: linear for linear in found}


def _kind(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


@contextmanager
def adapted(
    model: nn.Module,
    matrices: Iterable[nn.Linear],
    a: Tensor,
    b: Tensor,
    scaling: float,
    dropout: Dropout | None = None,
) -> Iterator[None]:
    """Run a model with adapters: ``a`` is (n, rank, D) and ``b`` (n, D, rank), for n matrices."""
    refuse_recomputing(model, "adapters")
    with ExitStack() as stack:
        for linear, narrow, wide in zip(matrices, a, b, strict=True):
            hook = linear.register_forward_hook(_add(narrow, wide, scaling, dropout))
            stack.callback(hook.remove)
        yield


def _add(a: Tensor, b: Tensor, scaling: float, dropout: Dropout | None) -> Any:
    def hook(linear: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x = args[0]
        there = torch.promote_types(x.dtype, a.dtype)  # a sum in half precision would lose steps
        dropped = x.to(there) if dropout is None else dropout(x.to(there))
        change = dropped @ a.to(x.device, there).mT @ b.to(x.device, there).mT  # (n, L, D)
        return output + (scaling * change).to(output)

    return hook
