"""The comparison of the methods asks all of them the same, and its results are whole."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch

import few_shot
import method_runs
import method_tables
import methods
import teach
from clipnotes.measured import measured
from clipnotes.prompts.inputs import encode_pictures, pixels_of
from few_pictures import CLASSES, fruits
from method_runs import MethodRun
from report import dumps

QUESTIONS = {"new things", "a new designer"}
CHOSEN = {method: {"chosen": 0.05} for method in teach.FITTED}
BOUND = {"CSC", "nearest mean", "linear probe", "Tip-Adapter", "Tip-Adapter-F", "LP++"}


def everything(seeds=5):
    """What is run and what is taken over."""
    taken = methods.taken(measured("few_shot"), seeds, 128)
    runs = methods.plan(seeds, CHOSEN)
    return [*(run._asdict() for run in runs), *taken]


# The plan


@pytest.mark.parametrize("question", sorted(QUESTIONS))
@pytest.mark.parametrize("method", teach.COMPARED)
def test_every_method_is_asked_both_questions_with_five_seeds(method, question):
    rows = [r for r in everything() if (r["method"], r["question"]) == (method, question)]
    seeds = {}
    for row in rows:
        seeds.setdefault((row["recipe"], row["shots"], row["designer"]), set()).add(row["seed"])
    # A sentence for things that stay the same has no chance in it.
    once = (method, question) == ("zero-shot", "new things")
    assert seeds
    assert all(found == ({0} if once else {0, 1, 2, 3, 4}) for found in seeds.values())
    designers = {designer for _, _, designer in seeds}
    assert designers <= (set(few_shot.UNKNOWN) if question == "a new designer" else {""})


def test_nothing_is_run_twice_and_every_rate_has_a_source():
    runs = list(methods.plan(5, CHOSEN))
    assert len(runs) == len(set(runs))
    for run in runs:
        if run.method in teach.FITTED:
            assert run.lr == (0.05 if run.recipe == "tuned" else teach.FITTED[run.method].lr)
        else:
            assert run.lr is None


def test_the_best_rate_is_chosen_the_smaller_of_two_equals():
    scores = dict(zip(methods.GRID, (0.1, 0.7, 0.7, 0.2), strict=False))
    rows = {
        run: {"accuracy": {"validation": scores.get(run.lr, 0.0)}}
        for run in methods.trials()
        if run.method == "CoOp"
    }
    stray = MethodRun("validation", "CoOp", "tuned", 99.0, **methods.CHOICE)
    rows[stray] = {"accuracy": {"validation": 1.0}}
    found = methods.choose(rows)
    assert set(found) == {"CoOp"}
    assert found["CoOp"]["chosen"] == methods.GRID[1]
    assert found["CoOp"]["validation"]["0.002"] == 0.1


def test_a_rate_is_chosen_on_other_drawings_by_known_designers(monkeypatch):
    bench, seen = method_runs.Bench(held_out=True), {}

    def give(run, rows):
        return rows

    def teach_nothing(run, names, images, labels):
        seen["learned"] = set(images)

    def judge(classifier, images, labels):
        seen["tested"] = set(images)
        assert [bench.rows[i][1] for i in images] == labels
        return SimpleNamespace(accuracy=0.5)

    monkeypatch.setattr(bench, "inputs", give)
    monkeypatch.setattr(bench, "classifier", teach_nothing)
    monkeypatch.setattr(method_runs, "evaluate", judge)
    run = MethodRun("validation", "CoOp", "tuned", 0.1, **methods.CHOICE)
    assert bench.validation(run) == {"validation": 0.5}
    known = {i for i, _, style, _ in bench.rows if style not in few_shot.UNKNOWN}
    assert not seen["learned"] & seen["tested"]
    assert seen["learned"] | seen["tested"] == known
    assert len(seen["learned"]) == 4 * len(bench.new)


def test_a_rate_that_diverges_is_no_choice(monkeypatch):
    bench = method_runs.Bench(held_out=True)

    def diverge(*_):
        raise FloatingPointError

    monkeypatch.setattr(bench, "inputs", lambda run, rows: rows)
    monkeypatch.setattr(bench, "classifier", diverge)
    run = MethodRun("validation", "CoOp", "tuned", 1e9, **methods.CHOICE)
    assert bench.validation(run) == {"validation": 0.0}


# Runs


@pytest.mark.parametrize("method", [*teach.COMPARED, *teach.HEADS])
def test_every_method_learns_and_moves_if_it_is_not_bound(clip, method):
    (pictures, labels), names = fruits(), CLASSES
    images = (pixels_of if teach.takes_pixels(method) else encode_pictures)(clip, pictures)
    how = {"shots": 2, "seed": 0, "epochs": 2}
    taught = teach.teach(method, clip, names, images, labels, **how)
    images = taught.classifier.inputs(images)
    assert taught.classifier.logits(images).shape == (len(labels), len(names))
    assert (taught.classifier.n_parameters == 0) == (method == "zero-shot")
    if method in teach.FITTED:
        batch = teach.FITTED[method].recipe["batch_size"]
        assert taught.steps == 2 * -(-len(labels) // batch)
        assert taught.cost()["seconds_per_step"] == taught.seconds / taught.steps
        before = teach.FITTED[method].make(clip, names, seed=0).logits(images)
        assert not torch.equal(before, taught.classifier.logits(images))
    if method in teach.BASELINES:
        return
    other = teach.moved(taught.classifier, names[::-1])
    assert (other is None) == (method in BOUND)
    if other is not None:
        backwards = taught.classifier.logits(images).flip(1)
        torch.testing.assert_close(other.logits(images), backwards, atol=1e-4, rtol=0)


def test_it_goes_on_where_it_stopped(monkeypatch):
    runs = list(methods.plan(1, CHOSEN))[:6]
    asked, saved, rows = [], [], {}

    def work(run):
        asked.append(run)
        if run == runs[3] and asked.count(run) == 1:
            raise MemoryError
        return {"run": run}

    def go(some):
        with ThreadPoolExecutor(1) as pool:
            methods.run_all(some, rows, lambda: saved.append(len(rows)), pool, "")

    monkeypatch.setattr(method_runs, "work", work)
    go(runs[:3])
    assert asked == runs[:3]
    assert saved == [1, 2, 3]
    with pytest.raises(MemoryError):
        go(runs[:4])
    assert saved == [1, 2, 3]
    go(runs)
    assert asked == [*runs[:3], runs[3], *runs[3:]]
    assert rows == {run: {"run": run} for run in runs}


def test_what_was_written_is_read_again(root, tmp_path):
    assert methods.read(tmp_path / "methods.json") == ({}, {})
    costs, rows = methods.read(root / "clipnotes" / "measured" / "methods.json")
    assert set(costs) == set(teach.COMPARED)
    chosen = methods.choose(rows)
    assert set(rows) == {*methods.trials(), *methods.plan(methods.SEEDS, chosen)}


# Results


def test_the_harmonic_mean():
    # CLIP and CoOp as CoCoOp's paper has them.
    assert method_tables.harmonic_mean(69.34, 74.22) == pytest.approx(71.70, abs=0.005)
    assert method_tables.harmonic_mean(82.69, 63.22) == pytest.approx(71.66, abs=0.005)
    assert method_tables.harmonic_mean(0.0, 0.0) == 0
    for row in measured("methods")["rows"]:
        scores = row["accuracy"]
        assert (method_tables.HARMONIC in scores) == (few_shot.NEW in scores)
        if few_shot.NEW in scores:
            assert row["question"] == "a new designer"
            assert row["method"] not in BOUND
            two = scores[few_shot.BASE], scores[few_shot.NEW]
            assert scores[method_tables.HARMONIC] == method_tables.harmonic_mean(*two)


def test_the_results_are_laid_out_as_the_program_writes_them(root):
    text = (root / "clipnotes" / "measured" / "methods.json").read_text("utf-8")
    assert text == dumps(measured("methods"))


def test_every_row_is_whole():
    results = measured("methods")
    seeds = {}
    for row in results["rows"]:
        measures = {"accuracy", "n_parameters", "seconds", "seconds_per_step", "extra_bytes"}
        assert set(row) - {"from"} == {*MethodRun._fields} | measures
        assert row["extra_bytes"] == results["about"]["cost"][row["method"]]["extra_bytes"]
        assert all(0 <= value <= 1 for value in row["accuracy"].values())
        if row["question"] != "validation" and row["method"] != "zero-shot":
            group = [row[name] for name in MethodRun._fields if name != "seed"]
            seeds.setdefault(tuple(group), []).append(row["seed"])
    assert all(sorted(found) == [0, 1, 2, 3, 4] for found in seeds.values())
    rates = {method: choice["chosen"] for method, choice in results["about"]["lr"].items()}
    for row in results["rows"]:
        if row["recipe"] == "tuned" and row["question"] != "validation":
            assert row["lr"] == rates[row["method"]]


def test_what_few_shot_has_is_taken_from_there():
    (row,) = [
        row
        for row in methods.taken(measured("few_shot"), 1, 128)
        if (row["method"], row["designer"]) == ("CSC", "twemoji")
    ]
    (there,) = [
        row
        for row in measured("few_shot")["rows"]
        if (row["method"], row["designer"], row["seed"]) == ("one context per class", "twemoji", 0)
    ]
    assert row["from"] == "few_shot"
    assert row["accuracy"] == there["accuracy"]
    assert (row["lr"], row["n_parameters"]) == (0.002, 150 * 4 * 128)
    made = few_shot.Run("a new designer", "one context per class", 1, 0, "twemoji")
    assert made in set(few_shot.plan(1))


def test_the_tables():
    scores = {few_shot.LEARNED: 1.0, few_shot.BASE: 0.5}
    more = {few_shot.NEW: 0.25, method_tables.HARMONIC: 1 / 3}
    plain = {"lr": None, "recipe": "published", "shots": 1, "designer": ""}
    things, designer = ({**plain, "question": q} for q in ("new things", "a new designer"))
    costs = {"n_parameters": 1024, "seconds_per_step": 0.0421, "extra_bytes": 12_300_000}
    results = {
        "about": {"cost": {"A": costs, "B": {**costs, "seconds_per_step": None}}},
        "rows": [
            {**things, "method": "B", "accuracy": {"twemoji": 0.5, "openmoji": 0.25}},
            {**things, "method": "A", "accuracy": {"twemoji": 0.4, "openmoji": 0.1}, "lr": 0.05},
            {**things, "method": "A", "accuracy": {"twemoji": 0.6, "openmoji": 0.1}, "lr": 0.05},
            {**designer, "method": "A", "designer": "twemoji", "accuracy": scores},
            {**designer, "method": "B", "designer": "twemoji", "accuracy": {**scores, **more}},
        ],
    }
    lines = method_tables.tables(results).splitlines()
    first = "| A | published | 0.05 | 50.0 ± 14.1 | - | - | - | 10.0 ± 0.0 | - | - | - |"
    assert first in lines
    assert "| B | published | - | 50.0 | - | - | - | 25.0 | - | - | - |" in lines
    assert lines.index(first) < lines.index(
        "| A | published | - | 100.0 | 50.0 | - | - | - | - | - | - |"
    )
    assert "| B | published | - | 100.0 | 50.0 | 25.0 | 33.3 | - | - | - | - |" in lines
    assert "| A | 1,024 | 42 ms | 12 MB |" in lines
    assert "| B | 1,024 | - | 12 MB |" in lines
    assert sum(line.startswith("| method |") for line in lines) == 3
