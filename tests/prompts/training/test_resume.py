"""A run that was killed goes on as if nothing had happened, and only that run does."""

import copy
import functools
import json
import signal
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import clipnotes
from clipnotes.prompts import KgCoOp, PromptLearner, fit, random_crop_and_flip
from clipnotes.prompts.training import fit as training
from clipnotes.prompts.training.resume import digest
from few_pictures import CLASSES, fruits, pictures, small_learner
from reference import agree
from stopped_runs import RECIPE, Counts, Stops

ADAM = functools.partial(torch.optim.AdamW, amsgrad=True)


@pytest.fixture(scope="module")
def shots(clip):
    images, names = fruits()
    return clip.encode_image(images), names


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


def another_model(clip):
    other = clipnotes.Clip(copy.deepcopy(clip.model), clip.tokenizer, clip.image_processor)
    with torch.no_grad():
        other.model.text_projection.weight.mul_(-1)
    return other


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 7}, r"epochs \(6 there, 7 here\)"),
        ({"lr": 0.1}, "learning rates"),
        ({"schedule": "constant"}, "learning rates"),
        ({"batch_size": 9}, r"batch_size \(8 there, 9 here\)"),
        ({"seed": 2}, r"seed \(1 there, 2 here\)"),
        ({"optimizer": ADAM}, r"optimizer \(SGD\(momentum=0.9, weight_decay=0.0005\) .*AdamW"),
        ({"augment": random_crop_and_flip}, r"augment \(None there, random_crop_and_flip here\)"),
        (
            {"augment": random_crop_and_flip, "views": 3},
            r"augment .*; views \(None there, 3 here\)",
        ),
        ({"learner": {"seed": 5}}, "learner at the start"),
        ({"learner": {"template": "{}, drawn."}}, "the model or the prompts, which give other"),
        ({"learner": {"position": "front"}}, "the model or the prompts"),
        ({"clip": another_model}, "the model or the prompts"),
        ({"classes": CLASSES[::-1]}, "classes .*; labels"),
        ({"order": -1}, "images .*; labels"),
    ],
)
def test_another_run_is_refused_and_nothing_changes(clip, tmp_path, change, words):
    images, names = fruits()
    path = tmp_path / "run"
    fit(small_learner(clip), images, names, checkpoint=path, **{**RECIPE, "epochs": 6})
    written = path.read_bytes()
    change = dict(change)  # the parameter itself stays whole
    arguments, classes = change.pop("learner", {}), change.pop("classes", CLASSES)
    model, order = change.pop("clip", lambda clip: clip)(clip), change.pop("order", 1)
    learner = PromptLearner(model, classes, n_ctx=2, **arguments)
    start = learner.ctx.detach().clone()
    with pytest.raises(ValueError, match=f"belongs to another run. What differs: {words}"):
        fit(learner, images[::order], names[::order], checkpoint=path, **{**RECIPE, **change})
    assert torch.equal(learner.ctx, start)
    assert path.read_bytes() == written


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


def test_an_augmentation_is_known_by_a_name_that_another_process_gives_it_too():
    """A partial's repr holds an address."""
    assert training._name(random_crop_and_flip) == "random_crop_and_flip"
    assert training._name(functools.partial(random_crop_and_flip)) == "partial"


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


def test_what_is_digested_apart_is_not_taken_for_what_is_together():
    parts = [(b"ab", b"c"), (b"a", b"bc"), (b"abc",), (b"abc", b""), ("abc",), ("a", "bc"), ()]
    parts += [(torch.zeros(2),), (torch.zeros(2, 1),), (torch.zeros(2).long(),), (torch.ones(2),)]
    assert len({digest(*some) for some in parts}) == len(parts)
    assert digest(torch.arange(6).view(2, 3).T) == digest(torch.arange(6).view(2, 3).T.contiguous())
    assert digest(b"abc", 1) == digest(b"abc", 1)
