"""A save that a kill or a full disk stops: the old prompt is there, or the new one."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from clipnotes.prompts import PromptLearner
from few_pictures import small_learner

KILLS = """
import os, random, signal, sys, time
import torch
import clipnotes
from clipnotes import files as atomic
from clipnotes.prompts import PromptLearner

folder = sys.argv[1]
clip = clipnotes.load()

def numbered(i):
    learner = PromptLearner(clip, ["rose", "tulip"], n_ctx=2)
    with torch.no_grad():
        learner.ctx.fill_(i)
    return learner

def save(i):
    numbered(i).save(folder, seed=i, force=True)

def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def loaded():
    learner = PromptLearner.load(folder, clip)
    (value,) = learner.ctx.unique().tolist()  # a mixture of two would have two
    return int(value)

# 1. At every step that touches the disk: before it and after it.
save(0)
steps = 0
class Watched:
    def __init__(self, name, limit):
        self.inner, self.limit = getattr(os, name), limit
    def __call__(self, *args):
        global steps
        for action in (lambda: None, lambda: self.inner(*args)):
            result = action()
            steps += 1
            if steps == self.limit:
                os.kill(os.getpid(), signal.SIGKILL)
        return result

def watched_save(i, limit):
    for name in ("fsync", "replace"):
        setattr(atomic.os, name, Watched(name, limit))
    save(i)

codes, seen, limit = [], [], 0
while not codes or codes[-1] != 0:
    limit += 1
    codes.append(ended(child(lambda: watched_save(limit, limit))))
    seen.append(loaded())
print("codes", *codes)
print("seen", *seen)

# 2. At any moment of 50 saves.
def fifty():
    for i in range(100, 150):
        save(i)
found, file = [], os.path.join(folder, "prompt.safetensors")
for k in range(8):
    before = os.stat(file).st_mtime_ns
    pid = child(fifty)
    while os.stat(file).st_mtime_ns == before:  # a busy machine takes long to begin
        time.sleep(0.001)
    time.sleep(random.Random(k).uniform(0, 0.4))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    found.append(loaded())
    assert found[-1] == seen[-1] or 100 <= found[-1] < 150, found
assert sum(100 <= last < 149 for last in found) > 3, found  # most kills hit
save(7)
assert loaded() == 7
print("left", *sorted(os.listdir(folder)))
"""


def test_a_kill_at_any_moment_leaves_the_old_prompt_or_the_new_one(tmp_path, root):
    done = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path / "prompt")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line}
    # fsync and replace, before and after, for each of the two files; then nobody is killed.
    assert lines["codes"] == [str(-signal.SIGKILL)] * 8 + ["0"]
    # Up to the first rename the old one, from then on the new one.
    assert lines["seen"] == ["0", "0", "0", "4", "5", "6", "7", "8", "9"]
    assert lines["left"] == ["card.json", "prompt.safetensors"], "no strays"


def test_a_full_disk_leaves_the_old_prompt(clip, tmp_path, monkeypatch):
    small_learner(clip, seed=1).save(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            small_learner(clip, seed=2).save(tmp_path, force=True)
    assert torch.equal(PromptLearner.load(tmp_path, clip).ctx, small_learner(clip, seed=1).ctx)
    assert sorted(os.listdir(tmp_path)) == ["card.json", "prompt.safetensors"]


def test_strays_of_the_dead_go_and_those_of_the_living_stay(clip, tmp_path):
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    names = [f".card.json.{int(dead.stdout)}.tmp", f".prompt.safetensors.{os.getppid()}.tmp"]
    for name in [*names, ".other.tmp"]:
        (tmp_path / name).write_text("x")
    small_learner(clip).save(tmp_path)
    assert sorted(os.listdir(tmp_path))[:2] == [".other.tmp", names[1]]
    assert not (tmp_path / names[0]).exists()
