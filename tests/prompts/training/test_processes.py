"""Two processes under `accelerate launch` give what one gives."""

import json
import os
import subprocess
import sys

import torch

from clipnotes.prompts import fit
from clipnotes.prompts.training.processes import Processes
from few_pictures import RECIPE, fruits, small_learner

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
        timeout=120,
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
