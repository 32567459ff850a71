"""Two processes under `accelerate launch` give what one gives."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch

from clipnotes.prompts import KgCoOp, PromptLearner, fit
from clipnotes.prompts.training.processes import _LAUNCHED, Processes
from few_pictures import CLASSES, RECIPE, fruits, pictures, small_learner

BOTH = """
import json, os, sys
import clipnotes
from accelerate import PartialState
from clipnotes.prompts import fit
from clipnotes.prompts.training import fit as training
from few_pictures import fruits, small_learner
from few_pictures import RECIPE

clip = clipnotes.load()
images, names = fruits()

learner = small_learner(clip)
try:
    fit(learner, images, names, **{**RECIPE, "seed": int(os.environ["RANK"])})
    refused = ""
except ValueError as error:
    refused = str(error)

sizes = []
def logits(features, plain=learner.logits):
    sizes.append(len(features))
    return plain(features)
learner.logits = logits
saved = []
training.Checkpoint.save = lambda *args: saved.append(True)
history = fit(learner, images, names, checkpoint=sys.argv[1] + "/run", **RECIPE)
state = PartialState()
result = {
    **{"world": state.num_processes, "refused": refused, "sizes": sizes[1:], "saved": len(saved)},
    **{"ctx": learner.ctx.tolist(), "loss": history.loss, "accuracy": history.accuracy},
}
with open(f"{sys.argv[1]}/{state.process_index}.json", "w") as file:
    json.dump(result, file)
"""


def test_two_processes_give_what_one_gives(clip, tmp_path, root):
    images, names = fruits()
    learner = small_learner(clip)
    history = fit(learner, images, names, progress=False, **RECIPE)

    script = tmp_path / "both.py"
    folders = f"import sys; sys.path[:0] = [{str(root)!r}, {str(root / 'tests' / 'helpers')!r}]"
    script.write_text(folders + BOTH)
    # --multi_gpu is accelerate's name for several processes that it starts itself; with --cpu it
    # needs MPI, and without MPI it starts a single one.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launch += ["--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    done = subprocess.run(
        [*launch, str(script), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,  # a machine that is busy needs minutes
    )
    assert done.returncode == 0, done.stderr
    assert "arn" not in done.stderr, done.stderr
    results = [
        json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)
    ]
    for result in results:
        assert result["world"] == 2
        ctx = torch.tensor(result["ctx"])
        torch.testing.assert_close(ctx, learner.ctx.detach(), atol=1e-4, rtol=0)
        torch.testing.assert_close(result["loss"], history.loss, atol=1e-4, rtol=0)
        assert result["accuracy"] == history.accuracy
        assert "the 2 processes do not have the same seed;" in result["refused"]
    assert results[0]["ctx"] == results[1]["ctx"], "to the bit: they never drift apart"
    # Each process has its part of the work, the main one writes and shows the bar.
    assert [result["sizes"] for result in results] == [[4, 4, 1] * 3, [3, 3, 0] * 3]
    assert [result["saved"] for result in results] == [2, 0]
    assert done.stderr.count("| 0/9 ") == 1


def test_alone_nothing_is_sent():
    alone = Processes(torch.device("cpu"))
    values = [torch.ones(2), torch.zeros(3, dtype=torch.int64)]
    assert all(a is b for a, b in zip(alone.total(values), values, strict=True))
    assert alone.share([1, 2, 3]) == [1, 2, 3]
    alone.check_same({"seed": 1})
    alone.wait()


# What processes tell each other, with threads in their place

CPU = torch.device("cpu")


@pytest.fixture
def together(monkeypatch):
    """Run ``work(rank)`` in so many threads, which exchange as processes would."""

    def start(count, work):
        barrier, said, ranks = threading.Barrier(count, timeout=60), {}, threading.local()

        def state(cpu):
            return SimpleNamespace(
                num_processes=count,
                process_index=ranks.mine,
                is_main_process=ranks.mine == 0,
                device=CPU,
                wait_for_everyone=barrier.wait,
            )

        def reduce(tensor, how):
            assert how == "sum"
            said[ranks.mine] = tensor
            barrier.wait()
            total = sum(said.values())
            barrier.wait()
            return total

        def gather_object(values):
            said[ranks.mine] = values
            barrier.wait()
            everyone = [value for rank in range(count) for value in said[rank]]
            barrier.wait()
            return everyone

        def process(rank):
            ranks.mine = rank
            barrier.wait()  # no thread takes two ranks
            try:
                return work(rank)
            except BaseException:
                barrier.abort()  # the others need not wait for this one
                raise

        monkeypatch.setattr("accelerate.PartialState", state)
        monkeypatch.setattr("accelerate.utils.reduce", reduce)
        monkeypatch.setattr("accelerate.utils.gather_object", gather_object)
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(process, range(count)))

    return start


def test_each_tensor_is_summed_and_keeps_its_shape_and_dtype(together):
    values = [torch.ones(2, 3), torch.tensor(5), torch.zeros(0), torch.tensor([0.5]).bfloat16()]

    def work(rank):
        return Processes(CPU).total([value * (rank + 1) for value in values])

    for found in together(3, work):
        for total, value in zip(found, values, strict=True):
            assert total.dtype == value.dtype and torch.equal(total, 6 * value)


def test_a_tensor_that_wants_a_gradient_is_summed_without_one(together):
    parameter = torch.nn.Parameter(torch.ones(2))
    for (total,) in together(2, lambda rank: Processes(CPU).total([parameter])):
        assert not total.requires_grad and total.tolist() == [2, 2]


def test_the_rows_of_a_batch_go_to_one_process_each(together):
    shares = together(3, lambda rank: Processes(CPU).share([7, 8, 9, 10, 11]))
    assert shares == [[7, 10], [8, 11], [9]]
    assert together(3, lambda rank: Processes(CPU).share([7])) == [[7], [], []]


def refusal(*given):
    """What a process says that is given this, among those that are given the rest."""

    def work(rank):
        try:
            Processes(CPU).check_same(given[rank])
        except ValueError as error:
            return str(error)
        return None

    return work


@pytest.mark.parametrize("count", [2, 5])
def test_processes_that_were_given_the_same_agree(together, count):
    given = {"seed": 1, "labels": "ab", "rates": [0.1, 0.2]}
    assert together(count, refusal(*[given] * count)) == [None] * count


@pytest.mark.parametrize(("count", "odd"), [(2, 0), (2, 1), (3, 1), (5, 4)])
def test_all_of_them_say_what_one_was_given_otherwise(together, count, odd):
    given = [{"seed": 1, "labels": "ab", "lr": 0.1, "images": 3} for _ in range(count)]
    given[odd] |= {"seed": 2, "images": 4}
    said = together(count, refusal(*given))
    assert len(set(said)) == 1
    assert said[0].startswith(f"the {count} processes do not have the same seed, images;")


# A training

IN_THREADS = {"epochs": 2, "batch_size": 7, "schedule": "constant", "progress": False}


@pytest.mark.parametrize("penalised", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_several_train_as_one(clip, together, tmp_path, count, penalised):
    """15 images in batches of 7: of the last batch, with one, most processes have nothing."""
    given = pictures(clip, 15)
    sizes = [[] for _ in range(count)]

    class Watched(PromptLearner):
        def logits(self, image_features, *rest):
            sizes[self.rank].append(len(image_features))
            return super().logits(image_features, *rest)

    # Made before the threads start: a tokenizer is for one thread at a time.
    learners = [Watched(clip, CLASSES, n_ctx=2) for _ in range(count)]
    alone = small_learner(clip)
    penalty = KgCoOp(alone, weight=8) if penalised else None

    def work(rank):
        learners[rank].rank = rank
        path = tmp_path / "run"
        return fit(learners[rank], *given, penalty=penalty, checkpoint=path, **IN_THREADS)

    expected = fit(alone, *given, penalty=penalty, **IN_THREADS)
    for history, learner in zip(together(count, work), learners, strict=True):
        assert history.loss == pytest.approx(expected.loss, abs=1e-4)
        assert history.accuracy == expected.accuracy
        torch.testing.assert_close(learner.ctx, alone.ctx, atol=1e-4, rtol=0)
    shares = {2: [[4, 4, 1], [3, 3, 0]], 3: [[3, 3, 1], [2, 2, 0], [2, 2, 0]]}[count]
    before = 1 + penalised  # the first logits, for the checkpoint; and what the penalty is tried on
    assert [each[before:] for each in sizes] == [share * 2 for share in shares]


class Added(PromptLearner):
    def in_training(self, image_features, chance):
        logits = self.logits(image_features)
        return logits, logits.square().sum() + len(logits) * self.ctx.square().sum()

    def epoch_weights(self, epochs):
        return [0.75] + [0.25 / (epochs - 1)] * (epochs - 1)


@pytest.mark.parametrize("count", [2, 3])
def test_several_train_as_one_what_adds_to_the_loss(clip, together, count):
    given = pictures(clip, 15)
    alone, *learners = (Added(clip, CLASSES, n_ctx=2) for _ in range(1 + count))
    expected = fit(alone, *given, **IN_THREADS)
    found = together(count, lambda rank: fit(learners[rank], *given, **IN_THREADS))
    for history, learner in zip(found, learners, strict=True):
        assert history.loss == pytest.approx(expected.loss, rel=1e-4)
        torch.testing.assert_close(learner.ctx, alone.ctx, atol=1e-4, rtol=0)


def test_a_training_with_other_arguments_in_one_process_is_refused_in_all(clip, together):
    features, labels = pictures(clip, 15)

    learners = [small_learner(clip) for _ in range(2)]
    start = learners[0].ctx.detach().clone()

    def work(rank):
        with pytest.raises(ValueError, match="the 2 processes do not have the same ") as error:
            fit(learners[rank], features, labels, seed=rank, **IN_THREADS)
        assert torch.equal(learners[rank].ctx, start)
        return str(error.value)

    for said in together(2, work):
        assert "the same seed;" in said


def test_a_checkpoint_that_only_one_process_sees_is_refused_in_all(clip, together, tmp_path):
    given = pictures(clip, 15)
    fit(small_learner(clip), *given, checkpoint=tmp_path / "0", **IN_THREADS)
    learners = [small_learner(clip) for _ in range(2)]

    def work(rank):
        with pytest.raises(ValueError, match="the 2 processes do not have the same checkpoint;"):
            fit(learners[rank], *given, checkpoint=tmp_path / str(rank), **IN_THREADS)
        return True

    assert together(2, work) == [True, True]


# Alone


@pytest.mark.parametrize(
    ("launcher", "device", "cpu"),
    [(None, "cpu", False), ("PMI_SIZE", "meta", False)]
    + [(name, "cpu", True) for name in _LAUNCHED],
)
def test_accelerate_is_told_of_the_cpu_only_where_processes_were_launched_on_it(
    monkeypatch, launcher, device, cpu
):
    for name in _LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    if launcher is not None:
        monkeypatch.setenv(launcher, "4")
    told = []

    def state(cpu):
        told.append(cpu)
        return SimpleNamespace(num_processes=4, is_main_process=False)

    monkeypatch.setattr("accelerate.PartialState", state)
    mine = Processes(torch.device(device))
    assert told == [cpu]
    assert (mine.count, mine.is_main) == (4, False)
