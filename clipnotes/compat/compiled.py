"""Whether a module is compiled. Compiled code calls no hook that it was not compiled with.

Which hooks it knows depends on what ran before, so nothing that hooks can rely on it.
"""

from collections.abc import Iterable

import torch
from torch import nn


def how_compiled(module: nn.Module, take: str = "Take") -> str | None:
    """Say what to take instead of a module that is compiled; ``None`` if it is not.

    Args:
        module: It, not the modules in it.
        take: The verb to begin with.

    Example:
        >>> linear = nn.Linear(2, 2)
        >>> how_compiled(linear)
        >>> how_compiled(torch.compile(linear), "Trace")
        'Trace the original, which torch.compile keeps as `_orig_mod`: it has the same weights ...'
    """
    if isinstance(module, torch.jit.ScriptModule):
        return f"{take} the module that it was made from."
    if "_orig_mod" in module._modules:
        return (
            f"{take} the original, which torch.compile keeps as `_orig_mod`: it has the same "
            "weights and computes the same."
        )
    if module._compiled_call_impl is not None:
        return f"{take} the model before its `compile()`, or a copy.deepcopy of it."
    if hasattr(module.forward, "_torchdynamo_orig_callable"):
        return (
            f"{take} the model before its forward is compiled, or set TORCHDYNAMO_DISABLE=1 in the "
            "environment before Python starts."
        )
    return None


def refuse_compiled(model: nn.Module, hooked: Iterable[nn.Module], what: str) -> None:
    """Raise if compiled code stands between a model and modules that get hooks.

    Args:
        model: It is called.
        hooked: Modules in it. Others may be compiled.
        what: What the hooks do, for the message.

    Raises:
        ValueError: One of them is compiled, or a module that they are in.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), torch.compile(nn.Linear(2, 2)))
        >>> refuse_compiled(model, [model[0]], "the prompts")
        >>> refuse_compiled(model, [model[1]], "the prompts")
        Traceback (most recent call last):
        ValueError: the module '1' is compiled, and compiled code would leave out the prompts. ...
    """
    wanted = {id(module) for module in hooked}
    for path, module in model.named_modules():
        if (remedy := how_compiled(module)) and any(id(m) in wanted for m in module.modules()):
            name = f"the module {path!r}" if path else f"the {type(module).__name__}"
            raise ValueError(
                f"{name} is compiled, and compiled code would leave out {what}. {remedy}"
            )


def original(module: nn.Module) -> nn.Module:
    """Return the module that ``torch.compile`` made this one from, or itself.

    Example:
        >>> linear = nn.Linear(2, 2)
        >>> original(torch.compile(linear)) is linear is original(linear)
        True
    """
    inner = module._modules.get("_orig_mod")
    return module if inner is None else inner
