"""What a checkpoint keeps of a run: every optimizer's state, its time, its inputs, its bar."""

import functools
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from clipnotes.prompts import KgCoOp, PromptLearner, fit
from clipnotes.prompts.training import fit as training
from few_pictures import CLASSES, pictures, small_learner
from reference import agree
from stopped_runs import RECIPE, Stops

KEY = "clipnotes.fit"


class Counted(torch.optim.SGD):
    """Keeps a plain number and no tensor, as optimizers of other packages may."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                state["steps"] = state.get("steps", 0) + 1
                parameter.data -= group["lr"] / state["steps"] * self.direction(parameter, state)

    def direction(self, parameter, state):
        return parameter.grad


class Dotted(Counted):
    """Keeps a tensor, too, whose name has a dot."""

    def direction(self, parameter, state):
        state["last.one"] = parameter.grad + 0.5 * state.get("last.one", 0)
        return state["last.one"]


def stopped(clip, path, monkeypatch, **recipe):
    """Features and labels of a run that was stopped after its third epoch."""
    monkeypatch.setattr(training, "SECONDS_BETWEEN", 0)
    given = pictures(clip, 15)
    with pytest.raises(KeyboardInterrupt):
        fit(Stops(clip, CLASSES, n_ctx=2), *given, checkpoint=path, **{**RECIPE, **recipe})
    return given


def header(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()[KEY])


@pytest.mark.parametrize("kind", [Counted, Dotted])
def test_the_state_of_an_optimizer_of_one_s_own_comes_back(clip, tmp_path, monkeypatch, kind):
    path, recipe = tmp_path / "run", {**RECIPE, "optimizer": kind, "schedule": "constant"}
    given = stopped(clip, path, monkeypatch, optimizer=kind, schedule="constant")
    assert header(path)["optimizer"] == {"0": {"steps": 6}}
    whole, resumed = small_learner(clip), small_learner(clip)
    fit(whole, *given, **recipe)
    fit(resumed, *given, checkpoint=path, **recipe)
    assert agree(resumed.ctx, whole.ctx, 1e-4)


def test_the_time_before_a_stop_counts(clip, tmp_path, monkeypatch):
    path = tmp_path / "run"
    given = stopped(clip, path, monkeypatch)
    said = header(path)
    said["progress"]["seconds"] = 1000.0
    save_file(load_file(path), path, metadata={KEY: json.dumps(said)})
    history = fit(small_learner(clip), *given, checkpoint=path, **RECIPE)
    assert 1000 < history.seconds < 1060


def test_the_bar_goes_on_where_the_run_was(clip, tmp_path, monkeypatch, capsys):
    path = tmp_path / "run"
    given = stopped(clip, path, monkeypatch)
    fit(small_learner(clip), *given, checkpoint=path, **{**RECIPE, "progress": True})
    shown = capsys.readouterr().err.split("\r")
    assert " 6/12 " in next(line for line in shown if "/" in line)
    assert " 12/12 " in shown[-1]


def test_the_bar_says_what_the_history_says(clip, capsys):
    given = pictures(clip, 15)
    history = fit(small_learner(clip), *given, **{**RECIPE, "epochs": 1, "progress": True})
    words = f"loss {history.loss[0]:.3f}, accuracy {history.accuracy[0]:.3f}"
    last = capsys.readouterr().err.split("\r")[-1]
    assert words in last and last.startswith("fit: ") and "step" in last


def test_another_picture_anywhere_makes_another_run(clip, tmp_path):
    """Only the first one is looked at before training, and it is the same."""
    features, labels = pictures(clip, 15)
    fit(small_learner(clip), features, labels, checkpoint=tmp_path / "run", **RECIPE)
    others = torch.cat([features[:-1], features[:1]])
    with pytest.raises(ValueError, match="What differs: images "):
        fit(small_learner(clip), others, labels, checkpoint=tmp_path / "run", **RECIPE)


def test_a_learner_that_begins_elsewhere_is_another_run(clip, tmp_path):
    features, labels = pictures(clip, 15)
    fit(small_learner(clip), features, labels, checkpoint=tmp_path / "run", **RECIPE)
    other = small_learner(clip)
    with torch.no_grad():
        other.ctx[0, 0] += 1e-6  # too little for the logits
    with pytest.raises(ValueError, match="What differs: learner at the start "):
        fit(other, features, labels, checkpoint=tmp_path / "run", **RECIPE)


def test_an_optimizer_with_another_setting_makes_another_run(clip, tmp_path):
    given = pictures(clip, 15)
    fit(small_learner(clip), *given, checkpoint=tmp_path / "run", **RECIPE)
    decays = functools.partial(torch.optim.SGD, lr=1, momentum=0.9, weight_decay=1e-4)
    with pytest.raises(ValueError, match="What differs: ") as error:
        fit(small_learner(clip), *given, checkpoint=tmp_path / "run", optimizer=decays, **RECIPE)
    there, here = (f"SGD(momentum=0.9, weight_decay={d})" for d in (0.0005, 0.0001))
    assert f": optimizer ({there} there, {here} here). Give" in str(error.value)


class Named(PromptLearner):
    """Has a parameter more, whose name is another one with each learner."""

    def __init__(self, clip, name):
        super().__init__(clip, CLASSES, n_ctx=2)
        self.register_parameter(name, torch.nn.Parameter(torch.zeros(5)))
        self.name = name

    def logits(self, image_features):
        return super().logits(image_features) + getattr(self, self.name)


def test_a_learner_whose_parameters_have_other_names_is_another_run(clip, tmp_path):
    given, path = pictures(clip, 15), tmp_path / "run"
    fit(Named(clip, "shift"), *given, checkpoint=path, **RECIPE)
    with pytest.raises(ValueError, match="What differs: learner at the start "):
        fit(Named(clip, "offset"), *given, checkpoint=path, **RECIPE)


def test_a_penalty_makes_another_run(clip, tmp_path):
    given, path = pictures(clip, 15), tmp_path / "run"
    learner = small_learner(clip)
    fit(small_learner(clip), *given, checkpoint=path, **RECIPE)
    with pytest.raises(ValueError, match=r"What differs: penalty \(None there, \['KgCoOp', .*here"):
        fit(learner, *given, checkpoint=path, penalty=KgCoOp(learner), **RECIPE)
