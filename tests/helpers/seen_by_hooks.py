"""What the lines of some functions made, by hooks and patched functions: no tracer of ours.

Torch tells of every function of its own that runs, modules of their outputs through hooks, and the
functions of a file are replaced by ones that keep what they return. Each value is put down for the
line that it came from, which the stack tells. Which lines ran, Python's own `trace` counts.
"""

import functools
import inspect
import sys
import trace
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


class Seen(TorchFunctionMode):
    """Values by function and line: of each function its first call counts.

    Attributes:
        values: Code of a function -> [(line, value, the function of torch that it called itself)],
            in the order in which they came.
        returned: Code of a function -> what its first call gave back.
        counts: (file, line) -> how often it ran.
    """

    def __init__(self, codes):
        super().__init__()
        self.values = {code: [] for code in codes}
        self.returned = {}
        self.counts = {}
        self._first = {}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        value = function(*args, **(kwargs or {}))
        self.note(value, getattr(function, "__name__", ""))
        return value

    def note(self, value, name=""):
        frame = nearest = sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            # A frame is kept, so that no later one can have its identity.
            if code in self.values and self._first.setdefault(code, frame) is frame:
                # What a function was called for inside of others is not this function's doing.
                self.values[code].append((frame.f_lineno, value, name if frame is nearest else ""))
            frame = frame.f_back

    def at(self, code, first, last):
        """The values that came from some lines of a function."""
        return [one for one in self.values[code] if first <= one[0] <= last]

    def times(self, code, first, last):
        """How often these lines ran: that one of them that ran most often."""
        return max(self.counts.get((code.co_filename, n), 0) for n in range(first, last + 1))


@contextmanager
def listening(seen, modules):
    """Put hooks on all modules, and something in front of each function of these files."""

    def keeps(function):
        code = inspect.unwrap(function).__code__

        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            value = function(*args, **kwargs)
            seen.returned.setdefault(code, value)
            seen.note(value)
            return value

        return wrapper

    def is_asked(name, one, module):
        own = one.__module__ == module.__name__ and "." not in one.__qualname__
        features = name.startswith("get_") and name.endswith("_features")
        return own or features or inspect.unwrap(one).__code__ in seen.values

    def on_module(module, args, output):
        forward = inspect.unwrap(type(module).forward)
        seen.returned.setdefault(forward.__code__, output)
        seen.note(output)

    with ExitStack() as stack:
        for module in modules:
            for owner in (module, *filter(inspect.isclass, vars(module).values())):
                names = {
                    name: keeps(one)
                    for name, one in vars(owner).items()
                    if inspect.isfunction(one) and is_asked(name, one, module)
                }
                if names:
                    stack.enter_context(mock.patch.multiple(owner, **names))
        hook = nn.modules.module.register_module_forward_hook(on_module)
        stack.callback(hook.remove)
        yield


def record(call, codes, modules):
    """Run a call, and return what was seen of the functions with this code."""
    seen = Seen(codes)
    counter = trace.Trace(count=True, trace=False, ignoredirs=[torch.__path__[0]])

    def run():
        with listening(seen, modules), seen:
            value = call()
        seen.returned.setdefault(codes[0], value)  # nobody was in front of what is called directly
        for code, found in seen.values.items():  # nor of what others look up in a table
            seen.returned.setdefault(code, found[-1][1] if found else None)

    counter.runfunc(run)
    seen.counts = counter.results().counts
    return seen
