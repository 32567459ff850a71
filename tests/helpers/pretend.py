"""A device that is not there: its tensors lie in this machine's memory and mix with no others.

Whatever a graphics processor refuses because of where a tensor lies, this one refuses too: tensors
of two devices in one operation, ``numpy()`` of a tensor over there, random numbers over there from
a generator here. What it computes is what the CPU computes, but for gradients: torch's engine
knows no such device, so a gradient is a small constant there.
"""

from contextlib import ExitStack, contextmanager
from functools import cache
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

from clipnotes.compat import weights
from clipnotes.prompts import known

NAME = "pretend"
aten = torch.ops.aten
# These take tensors of two devices: copies, and rows picked by numbers that lie on the CPU.
BOTH = {"aten::copy_", "aten::_to_copy", "aten::index", "aten::index_put_", "aten::index_put"}


class Far(torch.Tensor):
    """A tensor over there, around one in this machine's memory."""

    @staticmethod
    def __new__(cls, near):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            near.size(),
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=torch.device(NAME, 0),
        )
        made.near = near
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})

    def __getitem__(self, key):
        """As any tensor's; of a list torch would make a tensor over there, in its own way."""
        return super().__getitem__(torch.tensor(key) if isinstance(key, list) else key)

    def tolist(self):
        """As any tensor's; torch has none for classes of one's own."""
        return self.near.tolist()


def compute(func, args, kwargs):
    """Do an operation, if a device over there could."""
    given = tree_leaves((args, kwargs))
    far = [one for one in given if isinstance(one, Far)]
    # A number (a tensor without dimensions) may be here, and the rest there; not the other way.
    near = [o for o in given if isinstance(o, torch.Tensor) and not isinstance(o, Far) and o.dim()]
    name = func._schema.name
    if far and near and name not in BOTH:
        shapes = [tuple(one.shape) for one in (*far, *near)]
        raise RuntimeError(f"{name}: tensors on {NAME}:0 and on cpu, of shapes {shapes}")
    device = kwargs.get("device")
    there = bool(far) if device is None else torch.device(device).type == NAME
    if there and isinstance(kwargs.get("generator"), torch.Generator):
        raise RuntimeError(f"{name}: a generator on the cpu, and numbers on {NAME}:0")
    if name == "aten::_fused_sdp_choice":
        return 0  # the plain one
    if device is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    # What an operation changes in place comes back as the object that it was.
    known = {id(one.near): one for one in far}
    inside = tree_map(lambda one: one.near if isinstance(one, Far) else one, (args, kwargs))
    found = func(*inside[0], **inside[1])
    if not there:
        return found
    return tree_map(
        lambda one: _outside(one, known) if isinstance(one, torch.Tensor) else one, found
    )


def _outside(near, known):
    return known[id(near)] if id(near) in known else Far(near)


class Pretend(TorchDispatchMode):
    """Makes tensors over there when they are asked for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


class Numbers(TorchFunctionMode):
    """Lets `torch.tensor` make its tensors here first: a device in Python gets no numbers."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if func is torch.tensor and device is not None and torch.device(device).type == NAME:
            return func(*args, **{**kwargs, "device": "cpu"}).to(device)
        return func(*args, **kwargs)


def gradients(outputs, inputs, **kwargs):
    """Stand in for ``torch.autograd.grad``."""
    if not any(isinstance(one, Far) for one in (outputs, *inputs)):
        return GRAD(outputs, inputs, **kwargs)
    return tuple(torch.full_like(one, 1e-3) for one in inputs)


GRAD = torch.autograd.grad


def is_plain(weight):
    """Stand in for the package's own."""
    return type(weight.detach()) in (torch.Tensor, Far)


class Module(_DummyBackendModule):
    """What torch asks about a device over there."""

    def get_amp_supported_dtype(self):
        return [torch.float16, torch.bfloat16]


@cache
def _register():
    # The engine starts a thread for each device that it finds on its first run, which is now.
    torch.ones(1, requires_grad=True).sum().backward()
    _setup_privateuseone_for_python_backend(NAME, Module())


@contextmanager
def pretended():
    """Inside, there is a device: its name is yielded."""
    _register()
    with ExitStack() as stack:
        stack.enter_context(Pretend())
        stack.enter_context(Numbers())
        stack.enter_context(patch.object(torch.autograd, "grad", gradients))
        for module in (known, weights):  # a real device has tensors of no class of its own
            stack.enter_context(patch.object(module, "is_plain", is_plain))
        yield torch.device(NAME, 0)
