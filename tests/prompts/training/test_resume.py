"""A run that was killed goes on as if nothing had happened."""

import json
import signal
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from clipnotes.prompts import fit, random_crop_and_flip
from clipnotes.prompts.training import fit as training
from few_pictures import CLASSES, fruits, pictures, small_learner
from reference import agree
from stopped_runs import ADAM, RECIPE, Counts, Stops

KILLED = """
import os, signal, sys
import clipnotes, torch
from clipnotes.prompts import fit
from clipnotes.prompts.training import fit as training
from few_pictures import CLASSES, fruits
from stopped_runs import RECIPE, Stops

class Killed(Stops):
    def stop(self):
        os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads({threads})
training.SECONDS_BETWEEN = 0
clip = clipnotes.load()
images, names = fruits()
fit(Killed(clip, CLASSES, n_ctx=2), images, names, checkpoint={path!r}, **RECIPE)
"""


def test_a_killed_run_ends_as_one_that_was_not(clip, tmp_path, root):
    path = tmp_path / "run.safetensors"
    code = KILLED.format(threads=torch.get_num_threads(), path=str(path))
    folders = f"import sys; sys.path[:0] = [{str(root)!r}, {str(root / 'tests' / 'helpers')!r}]"
    done = subprocess.run([sys.executable, "-c", folders + code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with safe_open(path, "pt") as file:
        progress = json.loads(file.metadata()["clipnotes.fit"])["progress"]
    assert len(progress["loss"]) == 3, "three epochs were over"

    images, names = fruits()
    whole, resumed = small_learner(clip), Counts(clip, CLASSES, n_ctx=2)
    expected = fit(whole, images, names, **RECIPE)
    history = fit(resumed, images, names, checkpoint=path, **RECIPE)
    assert resumed.steps == 3 * 2, "only what was missing"
    assert agree(resumed.ctx, whole.ctx, 1e-4)
    assert history.loss == pytest.approx(expected.loss, rel=1e-4)
    assert (history.accuracy, history.lr) == (expected.accuracy, expected.lr)


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": ADAM, "schedule": "constant"},
        {"augment": random_crop_and_flip, "views": 2},
        {"augment": random_crop_and_flip},
    ],
    ids=["AdamW", "views", "augmentation"],
)
def test_every_state_comes_back(clip, tmp_path, monkeypatch, recipe):
    monkeypatch.setattr(training, "SECONDS_BETWEEN", 0)
    images, names = fruits()
    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fit(Stops(clip, CLASSES, n_ctx=2), images, names, checkpoint=path, **RECIPE, **recipe)
    whole, resumed = small_learner(clip), small_learner(clip)
    fit(whole, images, names, **RECIPE, **recipe)
    fit(resumed, images, names, checkpoint=path, **RECIPE, **recipe)
    assert agree(resumed.ctx, whole.ctx, 1e-4)


def test_a_finished_run_is_only_read(clip, shots, tmp_path):
    path = tmp_path / "run"
    first = small_learner(clip)
    history = fit(first, *shots, checkpoint=path, **RECIPE)
    written = path.read_bytes()
    again = Counts(clip, CLASSES, n_ctx=2)
    assert fit(again, *shots, checkpoint=path, **RECIPE) == history
    assert torch.equal(again.ctx, first.ctx) and again.steps == 0
    assert path.read_bytes() == written


@pytest.mark.parametrize(("seconds", "written"), [(3600, [1, 6]), (0, [1, 2, 3, 4, 5, 6])])
def test_it_writes_at_most_every_few_seconds_and_at_the_end(
    clip, shots, tmp_path, monkeypatch, seconds, written
):
    epochs = []
    monkeypatch.setattr(training, "SECONDS_BETWEEN", seconds)
    monkeypatch.setattr(
        training.Checkpoint, "save", lambda self, p, o, history: epochs.append(len(history["loss"]))
    )
    fit(small_learner(clip), *shots, checkpoint=tmp_path / "run", **RECIPE)
    assert epochs == written


def test_what_is_no_checkpoint(clip, shots, tmp_path):
    path = tmp_path / "run"
    fit(small_learner(clip), *shots, checkpoint=path, **RECIPE)
    good = path.read_bytes()
    learner = small_learner(clip)
    start = learner.ctx.detach().clone()
    for bad in (b"", b"text", good[:-5], good[:20]):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match="no checkpoint of fit, or is damaged"):
            fit(learner, *shots, checkpoint=path, **RECIPE)
        assert path.read_bytes() == bad
    save_file({"ctx": start}, path)
    with pytest.raises(ValueError, match="no checkpoint of fit"):
        fit(learner, *shots, checkpoint=path, **RECIPE)
    with pytest.raises(ValueError, match="is a folder"):
        fit(learner, *shots, checkpoint=tmp_path, **RECIPE)
    with pytest.raises(ValueError, match=r"the folder .*nowhere of the checkpoint is not there"):
        fit(learner, *shots, checkpoint=tmp_path / "nowhere" / "run", **RECIPE)
    assert torch.equal(learner.ctx, start)


def test_the_file_is_safetensors_with_everything_in_it(clip, shots, tmp_path):
    path = tmp_path / "run"
    learner = small_learner(clip)
    fit(learner, *shots, checkpoint=path, **RECIPE)
    tensors = load_file(path)
    assert set(tensors) == {"parameter.ctx", "optimizer.0.momentum_buffer", "first_logits"}
    assert torch.equal(tensors["parameter.ctx"], learner.ctx)


# What a checkpoint keeps of a run

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
