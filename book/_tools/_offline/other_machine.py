"""Compute as another machine would: weights at odd offsets in memory, another number of threads.

For `make elsewhere` only. Python's start-up comes here (through `sitecustomize`) where one of the
two variables below is set; nothing in the package reads them.

A file of weights that is mapped into memory begins wherever its header ends, so a stranger's
weights lie at any multiple of four bytes, while a fresh tensor of torch's lies at a multiple of 64.
The processor's kernels choose their path by that, and the last bits of what they compute follow.
"""

import importlib.abc
import importlib.util
import os
import random
import sys

OFFSETS = "CLIPNOTES_ODD_OFFSETS"  # any value: no parameter at a multiple of 8 bytes or more
THREADS = "CLIPNOTES_THREADS"  # so many in each process; OMP_NUM_THREADS is set by who starts it
LINE = 64  # bytes of a cache line, and torch's own alignment

# A fixed sequence, but another offset for each parameter: two loads of one file differ as well.
_draw = random.Random(0)


def relaid(tensor):
    """Copy a tensor to an odd multiple of its element's size, in a storage that begins there."""
    import torch

    size = tensor.element_size()
    room = bytearray(tensor.numel() * size + 2 * LINE)
    start = torch.frombuffer(room, dtype=torch.uint8).data_ptr()
    offset = -start % LINE + size * _draw.randrange(1, LINE // size, 2)
    new = torch.frombuffer(room, dtype=tensor.dtype, count=tensor.numel(), offset=offset)
    return new.view(tensor.shape).copy_(tensor)


def relay(module):
    """Move the module's own parameters that lie where torch puts them. Their identity stays."""
    import torch

    for parameter in module._parameters.values():
        if (
            type(parameter) is torch.nn.Parameter
            and type(parameter.data) is torch.Tensor
            and parameter.device.type == "cpu"
            and parameter.numel()
            and parameter.is_contiguous()
            and not parameter.is_shared()
            and parameter.data_ptr() % (2 * parameter.element_size()) == 0
        ):
            parameter.data = relaid(parameter.data)


def follow(owner, name):
    """Let a method of modules be followed by `relay`."""
    plain = getattr(owner, name)

    def then_relay(self, *args, **kwargs):
        done = plain(self, *args, **kwargs)
        relay(self)
        return done

    setattr(owner, name, then_relay)


def change_torch():
    """Patch what brings parameters to life or moves them, and set the number of threads."""
    import torch

    if THREADS in os.environ:
        torch.set_num_threads(int(os.environ[THREADS]))
    if OFFSETS in os.environ:
        # Setting an attribute ends in the first; .to, .half and .to_empty in the second; a deep
        # copy, and what comes from another process, in the third.
        for name in ("register_parameter", "_apply", "__setstate__"):
            follow(torch.nn.Module, name)


class AfterImport(importlib.abc.MetaPathFinder):
    """Calls a function once a module has been imported; nothing is imported for its sake."""

    def __init__(self, name, call):
        self.name, self.call = name, call

    def find_spec(self, name, path=None, target=None):
        """Let the other finders find the module, and the call follow."""
        if name != self.name:
            return None
        sys.meta_path.remove(self)  # the other finders find it
        spec = importlib.util.find_spec(name)
        plain = spec.loader.exec_module

        def then_call(module):
            plain(module)
            self.call()

        spec.loader.exec_module = then_call
        return spec


def begin():
    """Wait for torch."""
    if {OFFSETS, THREADS} & os.environ.keys():
        sys.meta_path.insert(0, AfterImport("torch", change_torch))
