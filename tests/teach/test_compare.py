"""Several methods on one folder: the numbers of `learn`, side by side."""

import json
import statistics
import sys

import pytest
import torch

from clipnotes.prompts import LinearProbe, PromptLearner, evaluate
from clipnotes.prompts.methods import PUBLISHED
from clipnotes.teach import Comparison, Plan, Row, compare, learn
from clipnotes.teach import loop as module
from clipnotes.teach.folder import Folder
from reference import agree
from some_folders import NAMES, make_folders

BASELINES = ["zero-shot", "nearest mean", "linear probe"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folders(tmp_path_factory.mktemp("pictures"), 4)


def test_all_methods_are_as_learn_has_them(clip, folder, tmp_path):
    found = compare(clip, folder, shots=2, seeds=[4, 5], epochs=1)
    assert list(found.rows) == [*BASELINES, *PUBLISHED]
    assert (found.names, found.seeds, found.n_train, found.n_test) == (NAMES, [4, 5], 6, 6)
    for name in PUBLISHED:
        plan = Plan(name, shots=2, seeds=[4, 5], epochs=1)
        report = learn(clip, folder, tmp_path / name, plan)
        assert found.rows[name].accuracies == report.accuracies["learned"], name
        assert found.rows[name].ece == pytest.approx(report.ece["learned"], abs=1e-4), name
        assert found.rows[name].recipe.keys() == report.recipe.keys()
        assert found.rows[name].recipe["method"] == name
    for name in BASELINES:
        assert found.rows[name].accuracies == report.accuracies[name]
        assert found.rows[name].recipe == {}
    assert len(found.notes) == 4 and "recipe of vpt" in found.notes[0]
    assert all(len(row.seconds) == 2 for row in found.rows.values())
    assert all(min(found.rows[name].seconds) > 0 for name in PUBLISHED)

    sizes = {name: row.n_parameters for name, row in found.rows.items()}
    d = p = 128
    maple = 3 * 2 * d + 3 * (d * d + d)
    assert sizes == {
        "zero-shot": 0,
        "nearest mean": 3 * p,
        "linear probe": 3 * (p + 1),
        "coop": 16 * d,
        "csc": 3 * 16 * d,
        "kgcoop": 4 * d,
        "cocoop": 4 * d + (p + 1) * 8 + 9 * d,
        "vpt": 6 * 8 * d,
        "maple": maple,
        "lora": 3 * (3 + 6) * 2 * 2 * d,
        "promptsrc": (3 + 6) * 4 * d,
        "tip": 6 * p,
        "lp++": 3 * (p + 1),
        "prolip": d * p,
    }


def test_nothing_is_written(clip, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(folder.rglob("*"))
    compare(clip, folder, ["coop"], shots=1, seeds=[0], epochs=1)
    assert list(tmp_path.iterdir()) == [] and sorted(folder.rglob("*")) == before


def test_the_arguments_count(clip, folder, tmp_path, monkeypatch):
    seen = []

    make, teach = Plan.make, module.Lesson.teach

    def seeing(lesson, plan, **rest):
        seen.append((plan.method, lesson.seed, plan.epochs, len(lesson.train)))
        return teach(lesson, plan, **rest)

    def making(plan, clip, names, seed):
        learner = make(plan, clip, names, seed)
        if plan.method == "coop":
            assert torch.equal(learner.ctx, PromptLearner(clip, NAMES, 16, seed=seed).ctx)
        return learner

    monkeypatch.setattr(Plan, "make", making)
    monkeypatch.setattr(module.Lesson, "teach", seeing)
    other = make_folders(tmp_path / "other", 2, skip=6)
    keywords = {"shots": 4, "seeds": [7, 8], "epochs": 2, "template": "one {}", "test": other}
    said = []
    found = compare(clip, folder, ["tip", "coop"], **keywords, say=said.append)
    assert seen == [("tip", 7, 2, 12), ("coop", 7, 2, 12), ("tip", 8, 2, 12), ("coop", 8, 2, 12)]
    assert list(found.rows) == [*BASELINES, "tip", "coop"]
    assert (found.n_train, found.n_test, found.notes) == (12, 6, [])
    assert found.about == {"model": "Emoji-CLIP", "template": "one {}", "shots": 4}
    assert said[0] == "reading 18 files of 3 classes"  # those to test on too
    assert [line.split(":")[0] for line in said[1:5]] == [
        "read 18 files of 3 classes",
        "seed 7",
        "  tip",
        "  coop",
    ]


def test_each_is_measured_on_what_it_did_not_learn(clip, folder, monkeypatch):
    learnt, tested = [], []

    def probe(clip, names, images, labels):
        learnt.append((images, labels))
        return LinearProbe(clip, names, images, labels)

    def measure(classifier, images, labels):
        tested.append((images, labels))
        return evaluate(classifier, images, labels)

    monkeypatch.setattr(module, "LinearProbe", probe)
    monkeypatch.setattr(module, "evaluate", measure)
    compare(clip, folder, ["tip"], shots=2, seeds=[1], epochs=1)
    given, asked = Folder(folder).read(clip).draw(2, 1)
    assert (len(learnt), len(tested)) == (1, 4)
    for seen, expected in [(learnt[0], given), *((one, asked) for one in tested)]:
        assert agree(seen[0], expected.features) and torch.equal(seen[1], expected.labels)


def test_the_seconds_of_a_probe_are_not_those_of_its_library(clip, folder, monkeypatch):
    """Loading scikit-learn takes longer than a probe, and only the first seed would pay it."""
    libraries = {"sklearn.linear_model", "sklearn.model_selection"}
    for name in libraries:
        monkeypatch.delitem(sys.modules, name, raising=False)  # as in a process that just began
    loaded = []

    def probe(*given):
        loaded.append(libraries <= {*sys.modules})
        return LinearProbe(*given)

    monkeypatch.setattr(module, "LinearProbe", probe)
    compare(clip, folder, ["tip"], shots=2, seeds=[0], epochs=1)
    assert loaded == [True]


@pytest.mark.parametrize(
    ("methods", "keywords", "words"),
    [
        (["coop", "clip"], {}, "no method 'clip'"),
        (["coop", "tip", "coop"], {}, "coop was given twice"),
        ([], {}, "no method was given"),
        (None, {"seeds": []}, "no seed"),
        (None, {"shots": 0}, "shots is 0"),
        (None, {"epochs": 0}, "epochs is 0"),
        (None, {"template": "a photo"}, "it needs one"),
        (None, {"test": "nowhere"}, "no folder nowhere"),
    ],
)
def test_refused_before_a_picture_is_read(clip, folder, monkeypatch, methods, keywords, words):
    monkeypatch.setattr("clipnotes.teach.folder.encode_files", lambda *_: pytest.fail("too late"))
    with pytest.raises(ValueError, match=words):
        compare(clip, folder, methods, **keywords)


def test_a_method_that_cannot_be_stops_all_others(clip, tmp_path, monkeypatch):
    monkeypatch.setattr("clipnotes.teach.folder.encode_files", lambda *_: pytest.fail("too late"))
    folder = make_folders(tmp_path)
    (folder / "fruit").rename(folder / "a very long name of a fruit that grows on a tree")
    with pytest.raises(ValueError, match=r"^coop: "):
        compare(clip, folder, ["kgcoop", "coop"])


def test_what_diverges_is_left_out(clip, folder, monkeypatch):
    teach = module.Lesson.teach

    def diverges(lesson, plan, **rest):
        if (plan.method, lesson.seed) == ("csc", 1):
            raise FloatingPointError("the loss is nan")
        return teach(lesson, plan, **rest)

    monkeypatch.setattr(module.Lesson, "teach", diverges)
    found = compare(clip, folder, ["csc", "coop"], shots=1, seeds=[0, 1, 2], epochs=1)
    assert list(found.rows) == [*BASELINES, "coop"]
    assert all(len(row.accuracies) == 3 for row in found.rows.values())
    assert found.notes == ["csc is left out: with seed 1, the loss is nan"]


def test_the_table_and_json():
    rows = {
        "zero-shot": Row([0.5, 0.75], [0.0, 0.0], ece=[0.1, 0.3]),
        "coop": Row([1.0, 1.0], [10.0, 15.0], 2048, ece=[0.02, 0.02]),
    }
    found = Comparison(rows, ["a", "b"], [0, 1], 4, 8, [], ["a note"], {"shots": 2})
    assert found.lines() == [
        "                accuracy            ECE  parameters  seconds",
        "zero-shot  62.5 ± 17.7 %  20.0 ± 14.1 %           0      0.0",
        "coop       100.0 ± 0.0 %    2.0 ± 0.0 %       2,048     12.5",
    ]
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert said["shots"] == 2 and said["notes"] == ["a note"] and said["classes"] == ["a", "b"]
    first, second = said["methods"]
    assert first["deviation"] == pytest.approx(statistics.stdev([0.5, 0.75]))
    assert (second["method"], second["mean"], second["seconds"]) == ("coop", 1.0, [10.0, 15.0])
    assert (first["ece"], second["ece"]) == ([0.1, 0.3], [0.02, 0.02])
    one = Comparison({"coop": Row([1.0], [1.0])}, ["a", "b"], [0], 4, 8, [], [])
    assert one.to_dict()["methods"][0]["deviation"] is None
