"""What processes tell each other, with threads in their place: sums, and whether all agree."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch

from clipnotes.prompts import KgCoOp, PromptLearner, fit
from clipnotes.prompts.training.processes import _LAUNCHED, Processes
from few_pictures import CLASSES, pictures, small_learner

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


RECIPE = {"epochs": 2, "batch_size": 7, "schedule": "constant", "progress": False}


@pytest.mark.parametrize("penalised", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_several_train_as_one(clip, together, tmp_path, count, penalised):
    """15 pictures in batches of 7: of the last batch, with one, most processes have nothing."""
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
        return fit(learners[rank], *given, penalty=penalty, checkpoint=path, **RECIPE)

    expected = fit(alone, *given, penalty=penalty, **RECIPE)
    for history, learner in zip(together(count, work), learners, strict=True):
        assert history.loss == pytest.approx(expected.loss, abs=1e-4)
        assert history.accuracy == expected.accuracy
        torch.testing.assert_close(learner.ctx, alone.ctx, atol=1e-4, rtol=0)
    shares = {2: [[4, 4, 1], [3, 3, 0]], 3: [[3, 3, 1], [2, 2, 0], [2, 2, 0]]}[count]
    assert [each[1:] for each in sizes] == [share * 2 for share in shares]


def test_a_training_with_other_arguments_in_one_process_is_refused_in_all(clip, together):
    features, labels = pictures(clip, 15)

    learners = [small_learner(clip) for _ in range(2)]
    start = learners[0].ctx.detach().clone()

    def work(rank):
        with pytest.raises(ValueError, match="the 2 processes do not have the same ") as error:
            fit(learners[rank], features, labels, seed=rank, **RECIPE)
        assert torch.equal(learners[rank].ctx, start)
        return str(error.value)

    for said in together(2, work):
        assert "the same seed;" in said


def test_a_checkpoint_that_only_one_process_sees_is_refused_in_all(clip, together, tmp_path):
    given = pictures(clip, 15)
    fit(small_learner(clip), *given, checkpoint=tmp_path / "0", **RECIPE)
    learners = [small_learner(clip) for _ in range(2)]

    def work(rank):
        with pytest.raises(ValueError, match="the 2 processes do not have the same checkpoint;"):
            fit(learners[rank], *given, checkpoint=tmp_path / str(rank), **RECIPE)
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
