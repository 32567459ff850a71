"""The call tracer: in which file and line it says that a forward is written."""

import functools
import importlib.util

import pytest
from torch import nn

from clipnotes.trace import trace
from clipnotes.trace.describe import forward_function, source_of
from tracing import x

MODEL = """\
from torch import nn


class Model(nn.Module):
    def forward(self, x):
        return x
"""
LINE = 5  # of its `def`


def wrapped(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    "put_on",
    [
        lambda forward: forward,
        functools.partial,
        wrapped,
        lambda forward: wrapped(functools.partial(forward)),
        lambda forward: functools.partial(wrapped(forward)),
    ],
    ids=["plain", "partial", "wrapped", "partial wrapped", "wrapped partial"],
)
def test_the_forward_of_the_class_is_found_below_what_was_put_on_it(put_on):
    model = nn.Linear(4, 4)
    model.forward = put_on(model.forward)
    assert forward_function(model) is nn.Linear.forward
    call = trace(model, x())
    assert (call.file, list(call.arguments)) == ("torch/nn/modules/linear.py", ["input"])


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("def forward(x):\n    return x\n", 1),
        ("@same\n@same\ndef forward(x):\n    return x\n", 3),
        ("@same\nasync def forward(x):\n    return x\n", 2),
        ("class Model:\n    @same\n    def forward(self, x):\n        return x\n", 3),
        ("forward = lambda x: x\n\ndef another(x):\n    return x\n", 1),
    ],
    ids=["def", "decorated", "async", "method", "lambda"],
)
def test_the_line_is_that_of_the_def_or_the_lambda(written, line, tmp_path):
    path = tmp_path / "script.py"
    path.write_text(written, encoding="utf-8")
    names = {"same": lambda function: function}
    exec(compile(written, str(path), "exec"), names)
    function = names["Model"].forward if "Model" in names else names["forward"]
    assert source_of(function) == ("script.py", line)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("alone.py", "alone"),
        ("package/__init__.py", "package"),
        ("package/model.py", "package.model"),
        ("package/inner/__init__.py", "package.inner"),
    ],
)
def test_a_file_is_named_from_the_folder_of_its_package_on(file, name, tmp_path):
    path = tmp_path / "site-packages" / file
    path.parent.mkdir(parents=True)
    path.write_text(MODEL, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    call = trace(module.Model(), x())
    assert (call.file, call.line) == (file, LINE)


@pytest.mark.parametrize(("is_there", "file"), [(True, "script.py"), (False, "<cell>")])
def test_a_script_has_its_name_and_the_cell_of_a_notebook_none(is_there, file, tmp_path):
    path = tmp_path / "script.py"
    if is_there:
        path.write_text(MODEL, encoding="utf-8")
    names = {"__name__": "__main__"}
    exec(compile(MODEL, str(path), "exec"), names)
    call = trace(names["Model"](), x())
    assert (call.file, call.line) == (file, LINE)
