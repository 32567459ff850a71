"""The benchmark of annotated source runs each way in turns, and says when one takes too long."""

import json

import pytest
import torch

import annotating


@pytest.mark.parametrize(("limit", "code"), [(0, 1), (1e9, 0)])
def test_it_prints_a_line_per_part_and_holds_them_to_the_limit(
    tiny, monkeypatch, capsys, limit, code
):
    monkeypatch.setattr(annotating, "LIMIT", limit)
    threads = torch.get_num_threads()
    try:
        assert annotating.main(["--rounds", "1"], tiny.config) == code
    finally:
        torch.set_num_threads(threads)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["part"] for line in lines] == ["vision tower", "text tower", "CLIPModel"]
    assert all(line[way] > 0 for line in lines for way in ("trace", "annotate", "deep"))


def test_the_quickest_round_counts(monkeypatch):
    clock = iter([0, 5, 10, 11, 20, 22, 30, 37])
    monkeypatch.setattr(annotating.time, "process_time", lambda: next(clock))
    ran = []
    ways = {"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}
    assert annotating.quickest(ways, 2) == {"a": 2, "b": 1}
    assert ran == ["a", "b", "a", "b"]
