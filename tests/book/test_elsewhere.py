"""The runs as other machines compute: each mode does what it says, and no more."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from _tools import elsewhere
from repository import ROOT


@pytest.fixture(autouse=True)
def no_mode(monkeypatch):
    """These tests also run in each mode, and choose their own."""
    for name in {name for settings in elsewhere.MODES.values() for name in settings}:
        monkeypatch.delenv(name, raising=False)


@cache
def usual_capability():
    """What torch says of this processor without a mode; somebody's own setting stands, as below."""
    return lines_of(STATE)[0].split()[0]


def lines_of(program, mode=None):
    """Run a program as a mode would, or without one, and return the lines that it prints."""
    changes = {**elsewhere.MODES.get(mode, {}), "PYTHONPATH": elsewhere.HOOKS}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **changes}
    environment = {name: value for name, value in environment.items() if value is not None}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


LOADS = """
import copy, pickle, sys
assert "torch" not in sys.modules, "nothing is imported for the sake of this"
import clipnotes, torch
from transformers import CLIPModel
from clipnotes.checkpoints import EMOJI_CLIP
from clipnotes.model import VisionTower
from clipnotes.prompts import LearnableTextEmbeddings, PromptLearner

clip = clipnotes.load()
fresh = CLIPModel(clip.model.config)
same = CLIPModel(clip.model.config)
same.load_state_dict(clip.model.state_dict())
assigned = CLIPModel(clip.model.config)
assigned.load_state_dict({k: v.clone() for k, v in clip.model.state_dict().items()}, assign=True)
with torch.device("meta"):
    empty = torch.nn.Linear(8, 8)
tied = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
tied[1].weight = tied[0].weight
assert tied[1].weight is tied[0].weight
shared = torch.nn.Linear(8, 8).share_memory()
assert shared.weight.is_shared() and shared.weight.data_ptr() % 64 == 0
found = {
    "load": clip.model,
    "from_pretrained": CLIPModel.from_pretrained(EMOJI_CLIP, attn_implementation="eager"),
    "from a configuration": fresh,
    "load_state_dict": same,
    "assign": assigned,
    "deep copy": copy.deepcopy(clip.model),
    "pickle": pickle.loads(pickle.dumps(tied)),
    "tied": tied,
    "double": copy.deepcopy(clip.model).double(),
    "half": copy.deepcopy(clip.model).to(torch.bfloat16),
    "to_empty": empty.to_empty(device="cpu"),
    "ours": VisionTower.from_transformers(clip.model),
    "prompt": PromptLearner(clip, ["a", "b"], n_ctx=4),
    "replaced": LearnableTextEmbeddings.replace(copy.deepcopy(clip.model), n_ctx=4),
}
for name, module in found.items():
    for parameter in module.parameters():
        assert parameter.is_contiguous() and parameter.storage_offset() == 0
        size = parameter.element_size()
        print(name, parameter.data_ptr() % 64 // size, parameter.data_ptr() % size, sep="|")
weights = clip.model.state_dict()
for name in ("from_pretrained", "load_state_dict", "assign", "deep copy"):
    for key, value in found[name].state_dict().items():
        assert torch.equal(value, weights[key]), key  # moved, so the same to the last bit
"""


@pytest.mark.parametrize("mode", ["offsets", "all"])
def test_every_parameter_of_every_model_lies_at_an_odd_place(mode):
    places = [line.split("|") for line in lines_of(LOADS, mode)]
    assert len({name for name, *_ in places}) == 14
    wrong = {name for name, place, rest in places if int(place) % 2 == 0 or int(rest)}
    assert wrong == set()
    loads = [[p for name, p, _ in places if name == load] for load in ("load", "from_pretrained")]
    assert len(loads[0]) == len(loads[1]) > 100
    assert loads[0] != loads[1], "two loads lie differently, as on a stranger's machine"


STATE = """
import os, torch
print(torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())
print(torch.nn.Linear(8, 8).weight.data_ptr() % 64 == 0, os.environ.get("MKL_CBWR"))
"""


@pytest.mark.parametrize("mode", elsewhere.MODES)
def test_a_mode_changes_what_it_says(mode, monkeypatch):
    monkeypatch.setenv("MKL_CBWR", "AVX2")  # somebody's own
    computing, memory = lines_of(STATE, mode)
    capability, threads = computing.split()
    usual, cbwr = memory.split()
    assert threads == ("4" if mode in ("four-threads", "all") else "1")
    assert usual == str(mode not in ("offsets", "all"))
    assert cbwr == {"kernels": "COMPATIBLE", "offsets": "None", "all": "None"}.get(mode, "AVX2")
    assert capability == ("DEFAULT" if mode in ("kernels", "all") else usual_capability())


def test_without_a_mode_nothing_is_moved():
    program = f"import sys; sys.path.insert(0, {elsewhere.HOOKS!r}); import sitecustomize" + STATE
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[0].split()[1] == "2"
    assert done.stdout.splitlines()[1].split()[0] == "True"


BITS = """
import copy, torch
from torch.testing import assert_close
torch.manual_seed(0)
layer, x = torch.nn.Linear(128, 128), torch.randn(1, 128)
with torch.no_grad():
    first, *others = (copy.deepcopy(layer)(x) for _ in range(16))
for other in others:
    assert_close(first, other)
    print(torch.equal(first, other))
"""


@pytest.mark.parametrize("mode", ["offsets", "all"])
def test_the_last_bits_differ_where_the_same_weights_lie_elsewhere(mode):
    """A comparison bit for bit would be red. This has been seen on processors by Intel."""
    processor = Path("/proc/cpuinfo")
    if not processor.exists() or "GenuineIntel" not in processor.read_text(encoding="utf-8"):
        pytest.skip("another maker's processor gets MKL kernels of another kind")
    assert set(lines_of(BITS, mode)) == {"True", "False"}
