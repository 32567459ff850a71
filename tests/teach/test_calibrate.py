"""A temperature from images that were left out, and what becomes of it."""

import json

import pytest
import torch

from clipnotes.pictures.folders import list_files
from clipnotes.prompts import ProLIP, fit, fit_prolip, fit_tip, load_prompt
from clipnotes.prompts.methods.published import Published, Trained
from clipnotes.prompts.saved.storage import read_prompt
from clipnotes.prompts.training.calibration import best_temperature
from clipnotes.teach import Plan, learn
from clipnotes.teach.calibrate import calibrate, folds
from clipnotes.teach.folder import Folder, Pictures
from command_line import refused, run
from some_folders import NAMES, make_folders

SENTENCE = "an emoji of a {}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folders(tmp_path_factory.mktemp("pictures"), 6)


def test_each_image_is_left_out_once_and_no_class_is_left_empty():
    labels = [0] * 7 + [1] * 2 + [2] + [3] * 16
    parts = folds(labels, seed=3)
    assert len(parts) == 4
    assert sorted(row for part in parts for row in part) == [
        row for row in range(len(labels)) if labels[row] != 2
    ]
    for part in parts:
        left = [label for row, label in enumerate(labels) if row not in part]
        assert set(left) == {0, 1, 2, 3}
        assert left.count(3) == 12
    assert folds(labels, seed=3) == parts != folds(labels, seed=4)
    assert folds([0, 1, 2], seed=0) == []
    assert [len(part) for part in folds([0, 0, 1, 1], seed=0)] == [2, 2]


def test_the_temperature_is_that_of_what_was_left_out(clip, folder):
    plan = Plan("tip", shots=4, epochs=2, calibrate=True)
    train, _ = Folder(folder).read(clip).draw(4, 5)
    labels = train.labels.clone()
    labels[[0, 4]] = labels[[4, 0]]  # two are taken for something else, so that there is a best one
    train = Pictures(train.paths, train.features, labels)
    given = train.features, train.labels
    how = plan.settings(clip, 5)
    trained = plan.published.train(plan.make(clip, NAMES, 5), *given, how)
    keys = trained.learner.keys.clone()
    calibrate(trained, plan, train, 5)
    said, truth = [], []
    for held in folds(train.labels.tolist(), 5):
        kept = [row for row in range(12) if row not in held]
        some = train.features[kept], train.labels[kept]
        tip, _ = fit_tip(clip, NAMES, *some, template=SENTENCE, epochs=2, seed=5)
        said.append(tip.logits(train.features[held]).detach())
        truth.append(train.labels[held])
    expected = best_temperature(torch.cat(said), torch.cat(truth))
    assert expected is not None
    assert trained.learner.temperature == pytest.approx(expected, rel=1e-3)
    assert trained.recipe["temperature"] == pytest.approx(expected, rel=1e-3)
    assert torch.equal(trained.learner.keys, keys)


@pytest.mark.parametrize("found", [4.0, None])
def test_learn_then_predict(clip, folder, tmp_path, monkeypatch, found):
    seen = []
    monkeypatch.setattr(
        "clipnotes.teach.calibrate.best_temperature",
        lambda logits, labels: seen.append((logits, labels)) or found,
    )
    out = tmp_path / "out"
    options = ["--method", "lp++", "--epochs", 2, "--shots", 4]
    result = run("learn", folder, "--out", out, *options, "--calibrate")
    assert result.exit_code == 0, result.output
    assert ("temperature 4.0" if found else "temperature '1, as the images") in result.stdout
    ((logits, labels),) = seen
    assert logits.shape == (12, 3) and torch.bincount(labels).tolist() == [4, 4, 4]
    learner = load_prompt(out, clip)
    assert learner.temperature == read_prompt(out)[1]["temperature"] == (found or 1.0)

    files = [str(file) for file in list_files(folder)]
    said = json.loads(run("predict", out, *files, "--json").stdout)["pictures"]
    rows, features = [], Folder(folder).read(clip).pictures
    where = {path: features.features[i] for i, path in enumerate(features.paths)}
    for line in said:
        rows.append(learner.logits(where[line["path"]][None])[0] / (found or 1.0))
        ranked = [learner.classnames[i] for i in rows[-1].argsort(descending=True)]
        assert [one["name"] for one in line["classes"]] == ranked
        probabilities = rows[-1].softmax(dim=-1).sort(descending=True).values.tolist()
        found_here = [one["probability"] for one in line["classes"]]
        assert found_here == pytest.approx(probabilities, abs=1e-4)


def test_a_method_that_takes_pixels_is_calibrated_too(clip, folder, tmp_path):
    plain = learn(clip, folder, tmp_path / "a", Plan("prolip", shots=2, epochs=1))
    warm = learn(clip, folder, tmp_path / "b", Plan("prolip", shots=2, epochs=1, calibrate=True))
    assert plain.accuracies == warm.accuracies
    assert "temperature" in warm.recipe and "temperature" not in plain.recipe


def test_a_single_shot_is_refused_before_a_picture_is_read(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("clipnotes.teach.folder.encode_files", lambda *_: pytest.fail("too late"))
    words = "to calibrate, some images of each class are left out"
    with pytest.raises(ValueError, match=words):
        Plan(shots=1, calibrate=True)
    refused(words, "learn", folder, "--out", tmp_path / "o", "--shots", 1, "--calibrate")


def test_those_without_some_images_are_trained_as_long(clip, folder, monkeypatch):
    plan = Plan("coop", shots=4, n_ctx=1, calibrate=True)  # epochs follow from the shots
    train, _ = Folder(folder).read(clip).draw(4, 5)
    trained = Trained(plan.make(clip, NAMES, 5), {"epochs": 3}, 4, 0.0)
    seen, own = [], Published.train

    def train_once(self, learner, images, labels, settings):
        seen.append(settings.recipe)
        return own(self, learner, images, labels, settings)

    monkeypatch.setattr(Published, "train", train_once)
    calibrate(trained, plan, train, 5)
    assert seen == [{"epochs": 3}] * 4


def test_what_is_trained_on_loses_its_temperature(clip, folder, tmp_path):
    train, _ = Folder(folder).read(clip).draw(4, 5)
    learner = Plan("coop", n_ctx=1).make(clip, NAMES, 0)
    learner.temperature = 3.0
    learner.save(tmp_path / "prompt")
    assert load_prompt(tmp_path / "prompt", clip).temperature == 3.0
    assert load_prompt(tmp_path / "prompt", clip, ["fox", "owl"]).temperature == 1.0
    fit(learner, train.features, train.labels, epochs=1, progress=False)
    assert learner.temperature == 1.0
    learner = ProLIP(clip, NAMES)
    learner.temperature = 3.0
    fit_prolip(learner, learner.inputs(train.suited(learner)), train.labels, epochs=1)
    assert learner.temperature == 1.0
