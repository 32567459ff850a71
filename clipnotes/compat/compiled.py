"""Find out whether a module is compiled.

Compiled code runs only the hooks that were there when it was compiled, and when that was depends on
what ran before. So code that works with hooks cannot rely on a compiled module to call them.
"""

from collections.abc import Iterable

import torch
from torch import nn


def how_compiled(module: nn.Module, take: str = "Take") -> str | None:
    """Say what to ``take`` instead of this module if it is compiled itself; else ``None``."""
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
    """Raise if compiled code in a model would leave out the hooks of the ``hooked`` modules."""
    wanted = {id(module) for module in hooked}
    for path, module in model.named_modules():
        if (remedy := how_compiled(module)) and any(id(m) in wanted for m in module.modules()):
            name = f"the module {path!r}" if path else f"the {type(module).__name__}"
            raise ValueError(
                f"{name} is compiled, and compiled code would leave out {what}. {remedy}"
            )


def original(module: nn.Module) -> nn.Module:
    """Return the module that ``torch.compile`` made this one from, or the module itself."""
    inner = module._modules.get("_orig_mod")
    return module if inner is None else inner
