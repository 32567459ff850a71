"""What processes tell each other, with threads in their place: sums, and whether all agree."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch

from clipnotes.prompts.processes import _LAUNCHED, Processes


@pytest.fixture
def together(monkeypatch):
    """Run ``work(processes, rank)`` in so many threads, which exchange as processes would."""

    def start(count, work):
        barrier, said = threading.Barrier(count, timeout=60), {}

        def reduce(tensor, how):
            assert how == "sum"
            said[threading.get_ident()] = tensor
            barrier.wait()
            total = sum(said.values())
            barrier.wait()
            return total

        monkeypatch.setattr("accelerate.utils.reduce", reduce)

        def process(rank):
            mine = Processes(torch.device("cpu"))
            mine._state = SimpleNamespace(process_index=rank, device=torch.device("cpu"))
            mine.count = count
            barrier.wait()
            return work(mine, rank)

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(process, range(count)))

    return start


def test_each_tensor_is_summed_and_keeps_its_shape_and_dtype(together):
    values = [torch.ones(2, 3), torch.tensor(5), torch.zeros(0), torch.tensor([0.5]).bfloat16()]

    def work(mine, rank):
        return mine.total([value * (rank + 1) for value in values])

    for found in together(3, work):
        for total, value in zip(found, values, strict=True):
            assert total.dtype == value.dtype and torch.equal(total, 6 * value)


def test_a_tensor_that_wants_a_gradient_is_summed_without_one(together):
    parameter = torch.nn.Parameter(torch.ones(2))
    for (total,) in together(2, lambda mine, rank: mine.total([parameter])):
        assert not total.requires_grad and total.tolist() == [2, 2]


def test_the_rows_of_a_batch_go_to_one_process_each(together):
    shares = together(3, lambda mine, rank: mine.share([7, 8, 9, 10, 11]))
    assert shares == [[7, 10], [8, 11], [9]]
    assert together(3, lambda mine, rank: mine.share([7])) == [[7], [], []]


def refusal(*given):
    """What a process says that is given this, among those that are given the rest."""

    def work(mine, rank):
        try:
            mine.check_same(given[rank])
        except ValueError as error:
            return str(error)
        return None

    return work


@pytest.mark.parametrize("count", [2, 5])
def test_processes_that_were_given_the_same_agree(together, count):
    given = {"seed": 1, "labels": "ab", "rates": [0.1, 0.2]}
    assert together(count, refusal(*[given] * count)) == [None] * count


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_all_of_them_say_what_one_was_given_otherwise(together, odd):
    given = [{"seed": 1, "labels": "ab", "lr": 0.1, "images": 3} for _ in range(3)]
    given[odd] |= {"seed": 2, "images": 4}
    said = together(3, refusal(*given))
    assert len(set(said)) == 1
    assert said[0].startswith("the 3 processes do not have the same seed, images;")


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
