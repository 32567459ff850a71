"""Run a model once and record its calls, with hooks that are removed when the run ends."""

import functools
import inspect
import sys
import threading
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from clipnotes.compat.compiled import how_compiled
from clipnotes.trace.calls import Call, Trace, renumber
from clipnotes.trace.describe import Describer, error_text, forward_function, source_of


def trace(model: nn.Module, /, *args: Any, **kwargs: Any) -> Trace:
    """Run a model once, as ``model(*args, **kwargs)``, and return the chain of its calls.

    Tracing changes nothing that the model computes; ``.output`` of the result is what it returned.
    If ``forward`` raises, you get that error, and its ``calls`` is the chain up to there.

    Only calls of modules show up: ``self.layer(x)``, but not ``self.layer.forward(x)``, and no
    function that uses the weights of a module without calling it.

    Args:
        model: Any module, of transformers or not.
        *args: Passed to the model.
        **kwargs: Passed to the model.

    Returns:
        The call of the model, with those that it made below it. ``print`` draws the tree, and a
        notebook shows one that folds. Layers that differ only in number are drawn once. ``#3`` in
        two places is one tensor (or a view of equal shape), not written to in between; torch does
        not count writes in ``torch.inference_mode``.

    Raises:
        TypeError: Before anything runs, if ``model`` is no module that takes these arguments.
        ValueError: The model or a part of it is compiled: a compiled module makes no calls.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.GELU())
        >>> calls = trace(model.eval(), torch.randn(2, 4))
        >>> calls.output.shape, calls.find("Linear").arguments["input"].shape
        (torch.Size([2, 8]), (2, 4))
        >>> from transformers import CLIPTextConfig, CLIPTextModel
        >>> text = CLIPTextModel(CLIPTextConfig(hidden_size=8, num_attention_heads=2)).eval()
        >>> trace(text, torch.tensor([[0, 5, 7, 19]])).find("CLIPTextEmbeddings").unset
        ('inputs_embeds',)
    """
    modules = check_runs(model, args, kwargs, "trace")
    recorder = _Recorder()
    hooks = []
    try:
        # Registered last, they run last: they see what `forward` and its caller really get.
        for path, module in modules.items():
            before = functools.partial(recorder.before, path)
            hooks.append(module.register_forward_pre_hook(before, with_kwargs=True))
            # They also run after an error: a model may catch it and go on with another module.
            after = module.register_forward_hook(recorder.after, with_kwargs=True, always_call=True)
            hooks.append(after)
        output = model(*args, **kwargs)
    except BaseException as error:
        calls = recorder.finish(modules, error)
        error.calls = calls  # type: ignore[attr-defined]
        if hasattr(error, "add_note"):  # since Python 3.11
            error.add_note(f"{_where(calls)} The calls up to there are this error's `calls`.")
        raise
    finally:
        for hook in hooks:
            hook.remove()
    result = recorder.finish(modules)
    result.output = output
    return result


def check_runs(
    model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], who: str
) -> dict[str, nn.Module]:
    """Collect the modules by path; refuse a model that cannot run so, in the name of ``who``."""
    modules = _modules(model, who)
    _check_arguments(model, args, kwargs)
    return modules


def _modules(model: Any, who: str) -> dict[str, nn.Module]:
    """Collect the modules by path, and refuse a model that cannot be watched."""
    if not isinstance(model, nn.Module):
        got, hint = f"a {type(model).__name__}", "Give a torch.nn.Module."
        if isinstance(model, type):
            got, hint = f"the class {model.__name__}", "Make an instance of it."
        if isinstance(getattr(model, "model", None), nn.Module):
            hint = "Give its attribute `model`."
        if isinstance(getattr(model, "__self__", None), nn.Module):
            hint = "Give the module itself: it is called, not one of its methods."
        raise TypeError(f"{who} runs a torch.nn.Module, not {got}. {hint}")
    modules = dict(model.named_modules())
    for path, module in modules.items():
        if remedy := how_compiled(module, who.capitalize()):
            name = f"the module {path!r}" if path else "the model"
            raise ValueError(
                f"{name} is compiled, and compiled code makes no calls that could be seen. {remedy}"
            )
    if getattr(model.forward, "__func__", None) is nn.Module.forward:
        raise TypeError(
            f"a {type(model).__name__} has no forward, so it cannot be called. Give the module "
            "that uses it, or one of the modules in it."
        )
    return modules


def _check_arguments(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse arguments that ``forward`` would refuse, before anything runs."""
    if model._forward_pre_hooks:
        return  # these hooks may add or change arguments
    try:
        # A decorator may take more than the function below it, so its own signature counts.
        inspect.signature(model.forward, follow_wrapped=False).bind(*args, **kwargs)
    except TypeError as error:
        signature = inspect.signature(model.forward)
        takes = ", ".join(signature.parameters) or "no arguments"
        raise TypeError(
            f"{type(model).__name__}.forward takes {takes}; this call does not fit: {error}"
        ) from None
    except ValueError:
        return  # a function that is not Python has no signature


def _where(calls: Trace) -> str:
    call: Call = calls
    while call.calls and call.calls[-1].raised == calls.raised:
        call = call.calls[-1]
    place = f"{call.path} ({call.class_name})" if call.path else call.class_name
    return f"Raised in {place} while it was traced."


class _Recorder:
    """Collects the calls of one run."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.calls: list[Call] = []
        # The calls that have not ended. We recognise each by its dict of keyword arguments, which
        # is a new one for each call. The error is the one that was being handled when it began.
        self.open: list[tuple[Call, dict[str, Any], BaseException | None]] = []
        self.modules: list[tuple[Call, nn.Module]] = []
        self.describe = Describer()

    def before(
        self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Record that a call begins."""
        if threading.get_ident() != self.thread:
            return
        arguments, unset = self.describe.arguments(module, args, kwargs)
        call = Call(path=path, class_name=type(module).__name__, arguments=arguments, unset=unset)
        (self.open[-1][0].calls if self.open else self.calls).append(call)
        self.open.append((call, kwargs, sys.exc_info()[1]))
        self.modules.append((call, module))

    def after(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        """Record how a call ended."""
        # A call of another thread was never put into `open`.
        if not any(key is kwargs for _, key, _ in reversed(self.open)):
            return
        while True:
            call, key, handled = self.open.pop()
            if key is kwargs:
                break
        error = sys.exc_info()[1]
        if error is not None and error is not handled:
            call.raised = error_text(error)
        else:
            call.returned = self.describe.value(output)

    def finish(self, modules: dict[str, nn.Module], error: BaseException | None = None) -> Trace:
        """Fill in what can wait until the run is over, and return the tree."""
        sources: dict[Any, tuple[str | None, int | None]] = {}
        for call, module in self.modules:
            function = forward_function(module)
            if function not in sources:
                sources[function] = source_of(function)
            call.file, call.line = sources[function]
            weights = module._parameters.values()
            call.parameters = sum(p.numel() for p in weights if p is not None and not is_lazy(p))
        # The first call is the model's, unless somebody else's hook stopped it before it began.
        top = self.calls[0] if self.calls else Call("", type(modules[""]).__name__)
        if error:
            # An interrupt ends calls without running their hooks, so they are still open.
            for call in (top, *(call for call, _, _ in self.open)):
                call.raised = error_text(error)
        renumber(
            [
                tensor
                for call in top.walk()
                for value in (*call.arguments.values(), *([call.returned] if call.returned else []))
                for tensor in value.tensors()
            ]
        )
        in_training = [module.training for module in modules.values()]
        note = (
            f"{sum(in_training)} of {len(in_training)} modules are in training mode: dropout draws "
            "random numbers and batch norms learn, as in any call. `model.eval()` turns it off."
        )
        return Trace(**vars(top), notes=(note,) if any(in_training) else ())
