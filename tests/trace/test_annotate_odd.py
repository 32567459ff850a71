"""Code and tensors that are written or made in unusual ways are annotated, too."""
# ruff: noqa: F841

import re

import pytest
import torch
from torch import nn

from annotated import of
from clipnotes.trace.annotation import annotate


# fmt: off
class FarLeft(nn.Module):
    """Has lines further left than its ``def``."""

    def forward(self, x):
        """Say something,
and go on in the first column.
        """
        y = self.twice(x)
#       y = y + 1
        return y

    def twice(self, x):
        return 2 * x
# fmt: on


def test_lines_may_stand_further_left_than_their_function():
    notes = annotate(FarLeft(), torch.ones(3), deep=True)
    lines = notes.to_dict()["lines"]
    assert lines[2:6] == [
        "and go on in the first column.",
        '    """',
        "    y = self.twice(x)",
        "#       y = y + 1",
    ]
    assert of(notes, "y =")["made"]["y"]["shape"] == [3]
    assert notes.find("FarLeft.twice").line > notes.line
    assert notes.find("twice") is notes.find("FarLeft.twice")
    assert notes.find("FarLeft") is notes.find("forward") is notes
    assert notes.to_dict()["inside"][0]["callee"] == [4, 8, 4, 18]


class CountDown:
    """An iterator written in Python: it ends with an error that nobody sees."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return self

    def __next__(self):
        if self.n == 0:
            raise StopIteration
        self.n -= 1
        return self.n


def test_the_end_of_an_iterator_is_no_error():
    def loops(x):
        for i in CountDown(3):
            x = x + i

    def asks(x):
        for i in next(iter([])):
            x = x + i

    loop = of(annotate(loops, torch.ones(2)), "for")
    assert (loop["times"], loop["raised"]) == (3, None)
    assert loop["returned"]["text"] == "None"
    with pytest.raises(StopIteration) as caught:
        annotate(asks, torch.ones(2))
    assert of(caught.value.notes, "for")["raised"] == "StopIteration"


def test_looking_at_a_tensor_does_not_call_its_class():
    class Counts(torch.Tensor):
        calls = 0

        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            cls.calls += 1
            return super().__torch_function__(function, types, args, kwargs or {})

    def adds(x):
        y = x + 1
        y += 1
        return y

    x = torch.ones(2).as_subclass(Counts)
    adds(x)
    alone, Counts.calls = Counts.calls, 0
    notes = annotate(adds, x)
    assert Counts.calls == alone == 2
    assert of(notes, "y =")["made"]["y"]["type"] == "Counts"


def test_a_declaration_does_not_run_and_is_not_said_to():
    def declares(x):
        y: torch.Tensor
        global NOWHERE

        def inner():
            nonlocal x
            return x

        y = inner()
        return y

    notes = annotate(declares, torch.ones(2))
    assert all(one["ran"] for one in notes.to_dict()["statements"])
    assert "did not run" not in str(notes)


def test_what_is_returned_stands_at_its_return():
    def returns(x, which):
        try:
            with torch.no_grad():
                if which:
                    return x + 1
            with pytest.raises(ValueError, match="no"):
                return refuses(x)
        finally:
            seen = x
        return seen

    def refuses(x):
        raise ValueError("no")

    notes = annotate(returns, torch.ones(2), True)
    assert of(notes, "return x + 1")["returned"]["shape"] == [2]
    assert of(notes, "with torch")["returned"] is of(notes, "seen")["returned"] is None
    # A `with` may catch the error of what was to be returned.
    notes = annotate(returns, torch.ones(2), False)
    assert of(notes, "return refuses")["returned"] is None
    assert of(notes, "return seen")["returned"]["shape"] == [2]


def test_a_value_that_refuses_to_be_looked_at_is_named():
    class Refuses(str):
        def __repr__(self):
            raise RuntimeError("no")

    def makes(x):
        y = Refuses("a")
        z = nn.UninitializedParameter()
        return x

    notes = annotate(makes, torch.ones(2))
    assert of(notes, "y")["made"]["y"] == {"type": "Refuses"}
    assert of(notes, "z")["made"]["z"]["type"] == "UninitializedParameter"
    assert of(notes, "return")["returned"]["shape"] == [2]


def test_a_nested_tensor_has_no_shape_to_show():
    def nests(x):
        y = torch.nested.nested_tensor([x, x[:1]], dtype=torch.float64, layout=torch.jagged)
        return y

    text = str(annotate(nests, torch.ones(2, 3)))
    assert re.search(r"y = .*\n? +nested float64\n", text)


def test_a_long_dict_is_cut_and_an_output_is_not():
    def collects(x):
        many = {f"k{i}": x for i in range(13)}
        some = {f"k{i}": x for i in range(12)}
        return len(many) - len(some)

    text = str(annotate(collects, torch.ones(2)))
    assert "k4=(B,), … (13))" in " ".join(text.split())
    assert "k11=(B,))" in text and "k12" not in text


def test_tabs_take_four_columns(tmp_path, monkeypatch):
    (tmp_path / "tabbed.py").write_text("def double(x):\n\tif x is not None:\n\t\treturn 2 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    import tabbed  # type: ignore[import-not-found]

    lines = str(annotate(tabbed.double, torch.ones(2))).splitlines()
    assert lines[-1].startswith("        return 2 * x") and "\t" not in "".join(lines)
    assert (
        len({line.index(note) for line, note in zip(lines[-2:], ("taken", "(B,)"), strict=True)})
        == 1
    )


def test_what_cannot_be_annotated_is_said_before_anything_runs():
    def runs(x):
        pytest.fail("it ran")

    compiled = torch.compile(runs)
    with pytest.raises(ValueError, match="runs is compiled"):
        annotate(compiled, 1)
    with pytest.raises(ValueError, match="is a lambda"):
        annotate(lambda x: x, 1)
    with pytest.raises(TypeError, match="or a function, not a CountDown"):
        annotate(CountDown(3))
    with pytest.raises(TypeError, match=r"names must be a dict .* not \['T'\]"):
        annotate(runs, 1, names=["T"])
    with pytest.raises(ValueError, match="'A' and 'Z' the same size, 4"):
        annotate(runs, 1, names={"A": 4, "Z": 4})
    with pytest.raises(TypeError, match="functions must be a list of functions"):
        annotate(runs, 1, deep=True, functions=runs)
    with pytest.raises(TypeError, match="functions must be a list of functions"):
        annotate(runs, 1, deep=True, functions=["runs"])


def test_a_remark_goes_to_one_of_two_functions_with_one_title():
    def undecorated(function):
        def wrapper(self, x):
            y = function(self, x)
            return y

        return wrapper

    class Wrapped(nn.Module):
        @undecorated
        def forward(self, x):
            z = x + 1
            z = z + 1
            return z

    notes = annotate(
        Wrapped(), torch.ones(2), deep=True, notes={"Wrapped.forward": {"return": "end"}}
    )
    outer, inner = notes.walk()
    assert of(outer, "return")["remark"] == "end"
    assert not any(one["remark"] for one in inner.to_dict()["statements"])
