"""SigLIP's loss in chunks is SigLIP's loss: in one process, and in two of `accelerate launch`."""

import json
import os
import subprocess
import sys

import pytest
import torch

from clipnotes.model import sigmoid_loss, sigmoid_loss_chunked
from pairs_of_features import Towers, largest, pairs
from reference import assert_close

NAMES = ("images", "texts", "scale", "bias")


def assert_equal(ours, theirs, given, tolerance=1e-5):
    """Compare two losses and their gradients, behind a factor as a scaler of gradients has one."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    assert_close("loss", ours, theirs, tolerance)
    gradients = [torch.autograd.grad(3 * loss, given) for loss in (ours, theirs)]
    for name, a, b in zip(NAMES, *gradients, strict=True):
        assert b.abs().max() > 1e-3, "there is something to compare"
        assert_close(f"gradient of the {name}", a, b, tolerance)


# One process


@pytest.mark.parametrize("chunk_size", [None, 1, 3, 7, 100])
@pytest.mark.parametrize("n", [1, 7, 12])
def test_in_chunks_it_is_the_same(n, chunk_size):
    given = pairs(n)
    assert_equal(sigmoid_loss_chunked(*given, chunk_size=chunk_size), sigmoid_loss(*given), given)


def test_in_float64_it_is_the_same_to_more_places():
    given = pairs(12, dtype=torch.float64)
    assert_equal(sigmoid_loss_chunked(*given, chunk_size=5), sigmoid_loss(*given), given, 1e-12)


def test_numbers_for_scale_and_bias():
    images, texts, *_ = pairs(5)
    loss = sigmoid_loss_chunked(images, texts, 8.0, -3.0, chunk_size=2)
    assert_close("loss", loss, sigmoid_loss(images, texts, 8.0, -3.0))
    loss.backward()
    assert images.grad is not None and texts.grad is not None


def test_half_precision_is_added_up_in_float32():
    half = [x.detach().bfloat16().requires_grad_() for x in pairs(300)]
    whole = [x.detach().float().requires_grad_() for x in half]
    loss = sigmoid_loss_chunked(*half, chunk_size=1)
    assert_close("loss", loss, sigmoid_loss(*whole))
    expected = torch.autograd.grad(sigmoid_loss(*whole), whole)
    for name, x, ours, theirs in zip(
        NAMES, half, torch.autograd.grad(loss, half), expected, strict=True
    ):
        assert ours.dtype == x.dtype == torch.bfloat16
        assert_close(f"gradient of the {name}", ours, theirs.bfloat16(), 0.01, scale=0.0)


def test_no_tensor_is_larger_than_a_chunk_of_logits():
    assert largest(sigmoid_loss, *pairs(64)) == 64 * 64
    assert largest(sigmoid_loss_chunked, *pairs(64), chunk_size=10) == 64 * 10


def test_a_gradient_of_a_gradient_is_refused():
    images, *others = pairs(3)
    loss = sigmoid_loss_chunked(images, *others)
    with pytest.raises(RuntimeError, match="has no gradient of its gradient: leave out"):
        torch.autograd.grad(loss, images, create_graph=True)


def test_what_cannot_be_is_refused():
    features = torch.zeros(3, 4)
    with pytest.raises(ValueError, match="chunk_size is 0: it must be at least 1"):
        sigmoid_loss_chunked(features, features, 1.0, 0.0, chunk_size=0)
    with pytest.raises(ValueError, match="the image features have shape"):
        sigmoid_loss_chunked(features, features[:2], 1.0, 0.0)


# Several processes

BOTH = """
import json, os, sys
import torch
from accelerate import Accelerator
from clipnotes.model import sigmoid_loss_chunked
from pairs_of_features import Towers, largest, pairs

accelerator = Accelerator(cpu=True)
rank, count = accelerator.process_index, accelerator.num_processes
images, texts, scale, bias = pairs(12)
images, texts = (x.detach().chunk(count)[rank].requires_grad_() for x in (images, texts))
given = (images, texts, scale, bias)
result = {"world": count, "largest": largest(sigmoid_loss_chunked, *given, chunk_size=2)}

result["features"] = []
for chunk_size in (None, 2, 5):
    loss = sigmoid_loss_chunked(*given, chunk_size=chunk_size)
    gradients = torch.autograd.grad(loss, given)
    result["features"].append([x.tolist() for x in (loss, *gradients)])

model = accelerator.prepare(Towers())
loss = model(images.detach(), texts.detach(), sigmoid_loss_chunked)
accelerator.backward(loss)
result["prepared"] = {
    name.removeprefix("module."): weight.grad.tolist() for name, weight in model.named_parameters()
}
result["loss"] = accelerator.reduce(loss.detach(), "mean").item()

result["refused"] = []
for odd in (images[rank:], images.double() if rank else images):
    try:
        sigmoid_loss_chunked(odd, odd, 1.0, 0.0)
    except ValueError as error:
        result["refused"].append(str(error))
with open(f"{sys.argv[1]}/{rank}.json", "w") as file:
    json.dump(result, file)
accelerator.end_training()
"""


def launch(count, folder, root):
    """Run the script above in so many processes, and return what each of them found."""
    script = folder / "both.py"
    folders = f"import sys; sys.path[:0] = [{str(root)!r}, {str(root / 'tests' / 'helpers')!r}]"
    script.write_text(folders + BOTH)
    # --multi_gpu is accelerate's name for several processes that it starts itself; with --cpu it
    # needs MPI, and without MPI it starts a single one.
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_processes", str(count), "--num_machines", "1", "--main_process_port", "0"]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    done = subprocess.run(
        [*command, str(script), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,  # a machine that is busy needs minutes
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text("utf-8")) for rank in range(count)]


# In a ring of two, the next process is the one before, so only three show which way it goes.
@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_give_what_one_gives(count, tmp_path, root):
    given = pairs(12)
    whole = sigmoid_loss(*given)
    expected = [whole, *torch.autograd.grad(whole, given)]
    towers = Towers()
    loss = towers(*(x.detach() for x in given[:2]), sigmoid_loss)
    loss.backward()
    results = launch(count, tmp_path, root)

    assert [result["world"] for result in results] == [count] * count
    for said in zip(*(result["features"] for result in results), strict=True):
        losses, images, texts, *numbers = (torch.tensor(x) for x in zip(*said, strict=True))
        # The gradients are those of the sum over the processes, the loss is the mean.
        found = [
            losses.sum(),
            images.flatten(0, 1),
            texts.flatten(0, 1),
            *(x.sum(0) for x in numbers),
        ]
        for name, a, b in zip(("loss", *NAMES), found, expected, strict=True):
            assert_close(f"{name} of {count} processes", a / count, b)

    for result in results:
        assert result["loss"] == pytest.approx(loss.item(), abs=1e-5)
        assert result["prepared"].keys() == dict(towers.named_parameters()).keys()
        for name, weight in towers.named_parameters():
            assert_close(f"gradient of {name}", torch.tensor(result["prepared"][name]), weight.grad)
        # The bag with our texts and their gradient; all texts, or all pairs of ours, are more.
        assert result["largest"] == 2 * 4 * (12 // count)
        shapes, dtypes = result["refused"]
        assert "pass the same number of pairs in all" in shapes
        assert f"({12 // count}, 4) with 4 bytes each and ({12 // count - 1}, 4) with" in shapes
        assert "with 4 bytes each and" in dtypes and "with 8 bytes each" in dtypes
