"""The program for graphics processors, on the CPU: it runs whole and tells what is wrong."""

import json

import pytest
import torch
from PIL import Image

import equality
import on_gpu
import setting
from clipnotes.prompts.methods import PUBLISHED


@pytest.fixture
def settings():
    """The program sets torch for itself; other tests want it as it was."""
    precision = torch.get_float32_matmul_precision()
    tf32 = torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = tf32


def test_everything_runs_and_is_written_with_the_name_of_the_device(settings, tmp_path, capsys):
    file = tmp_path / "on_gpu.json"
    assert on_gpu.main(["--device", "cpu", "--small", "--out", str(file)]) == 0, capsys.readouterr()
    found = json.loads(file.read_text())
    assert found["about"]["device"] == "cpu"
    assert found["about"]["torch"] == torch.__version__
    rows = found["rows"]
    parts = {"text path", "method", "fit", "learn", "states", "step"}
    assert {row["what"] for row in rows} == parts
    compared = [row for row in rows if row["what"] == "method"]
    dtypes = ["float32", "float16", "bfloat16"]
    assert [(row["dtype"], row["method"]) for row in compared] == [
        (dtype, method) for dtype in dtypes for method in PUBLISHED
    ]
    assert [row["method"] for row in rows if row["what"] == "learn"] == list(PUBLISHED)
    for row in compared[len(PUBLISHED) :]:  # in half precision something has to differ
        assert row["difference"]["logits"] > 0
    for row in rows:
        if row["what"] == "step":
            assert row["times_faster"] == pytest.approx(
                row["seconds"]["reference"] / row["seconds"]["fast"]
            )
            assert row["bytes"] == {"fast": None, "reference": None}


def test_a_difference_that_is_too_large_is_wrong_and_so_is_nan():
    row = on_gpu.judged("x", torch.float32, {"a": 2e-4, "a: gradient": 2e-4, "b": float("nan")})
    assert row["wrong"] == ["a", "b"]
    assert "wrong" not in on_gpu.judged("x", torch.bfloat16, {"a": 2e-4, "a: gradient": 0.1})


def test_a_part_that_fails_is_a_row_and_the_others_go_on(settings, tmp_path, monkeypatch, capsys):
    def broken(device, plan):
        yield {"what": "first"}
        raise RuntimeError("no such kernel")

    def well(device, plan):
        yield {"what": "second"}

    monkeypatch.setattr(on_gpu, "PARTS", (broken, well))
    file = tmp_path / "out.json"
    assert on_gpu.main(["--device", "cpu", "--out", str(file)]) == 1
    first, error, second = json.loads(file.read_text())["rows"]
    assert (first, second) == ({"what": "first"}, {"what": "second"})
    assert error["wrong"] == ["RuntimeError: no such kernel"]
    assert "in broken" in error["traceback"]
    assert "no such kernel" in capsys.readouterr().err


def test_a_wrong_number_of_a_method_is_found(monkeypatch):
    before = equality.logits_and_gradients
    calls = []

    def off(*given):
        calls.append(given)
        found = before(*given)
        return found if len(calls) % 2 else {k: 1.01 * v for k, v in found.items()}

    monkeypatch.setattr(equality, "logits_and_gradients", off)
    cpu = torch.device("cpu")
    method, found = next(equality.of_learners("Emoji-CLIP", cpu, torch.float32, 3))
    assert "wrong" in on_gpu.judged("method", torch.float32, found, method=method)


def test_without_a_device_it_says_what_to_do(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert on_gpu.main([]) == 2
    assert "--device cpu --small" in capsys.readouterr().out


def test_the_larger_tower_is_a_whole_clip_of_that_size():
    clip = equality.of_tower("ViT-B/32")
    model = clip.model
    assert clip.preprocess([Image.new("RGB", (80, 60))]).shape == (1, 3, 224, 224)
    assert 150e6 < sum(weight.numel() for weight in model.parameters()) < 152e6
    tower = setting.make_setting("ViT-B/32", 2, 4).model
    assert tower.config.hidden_size == model.config.text_config.hidden_size
