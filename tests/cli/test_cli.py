"""The commands, as a stranger types them."""

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint

import matplotlib as mpl
import pytest
import torch

from clipnotes import cli
from clipnotes.checkpoints import EMOJI_CLIP
from clipnotes.cli import terminal
from clipnotes.pictures.folders import list_files
from clipnotes.pictures.reading import encode_files, read_picture
from clipnotes.prompts import VPT, PromptLearner
from clipnotes.prompts.saved.storage import read_prompt
from command_line import command, refused, run
from some_folders import make_folders

QUICK = ["--shots", "4", "--epochs", "3", "--n-ctx", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folders(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def prompt(tmp_path_factory, folder):
    """A prompt that the command has learned, and what it said."""
    out = tmp_path_factory.mktemp("learned") / "my prompt"
    result = run("learn", folder, "--out", out, *QUICK)
    assert result.exit_code == 0, result.output
    return out, result


# Two real processes


def test_learn_then_predict(folder, tmp_path, root, clip):
    shutil.copytree(folder, tmp_path / "pictures")
    (tmp_path / "pictures" / "fruit" / "broken.jpg").write_bytes(b"text")
    out = tmp_path / "prompt"
    # Predicting needs the model of the card, whatever the environment says.
    done = command("learn", tmp_path / "pictures", "--out", out, *QUICK, root=root)
    assert done.returncode == 0, done.stderr
    assert "broken.jpg: not an image" in done.stderr
    one = folder / "fruit" / "0.png"
    arguments = ["predict", out, one, "nowhere.png", "--json", "--top", 2]
    done = command(*arguments, root=root, CLIPNOTES_MODEL="nowhere")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["model"] == "Emoji-CLIP"
    assert answer["skipped"] == [{"path": "nowhere.png", "reason": "No such file or directory"}]
    (picture,) = answer["pictures"]
    learner = PromptLearner.load(out, clip)
    features, _, _ = encode_files(clip, [str(one)])
    values, indices = learner.logits(features)[0].softmax(dim=-1).topk(2)
    assert picture["path"] == str(one)
    assert [c["name"] for c in picture["classes"]] == [learner.classnames[i] for i in indices]
    said = torch.tensor([c["probability"] for c in picture["classes"]])
    assert torch.allclose(said, values, atol=1e-4)


def test_help_is_light(root):
    code = (
        "import sys; from clipnotes.cli import app; app(['learn', '--help'], standalone_mode=False)"
        "; print({'torch', 'transformers', 'datasets', 'matplotlib'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert "--method" in done.stdout and done.stdout.endswith("set()\n"), done.stdout + done.stderr


# learn


def test_learn_prints_four_numbers_and_what_to_do_next(prompt):
    out, result = prompt
    reading, read, *rest = result.stderr.splitlines()
    assert reading == "reading 18 files of 3 classes"
    assert re.fullmatch(r"read 18 files of 3 classes: \d+(\.\d)? images per second", read)
    assert rest == ["seed 0: learning from 12 images, testing on 6"]
    first, head, *lines = result.stdout.splitlines()
    assert first == "Accuracy on 6 images that were not learnt from:"
    assert head.split() == ["accuracy", "ECE"]
    scores = json.loads((out / "card.json").read_text(encoding="utf-8"))["scores"]
    found = [re.fullmatch(r"  (\S.*?) +(\d+\.\d %) +\d+\.\d %", line) for line in lines[:4]]
    expected = [(name, f"{100 * value:.1f} %") for name, value in scores.items()]
    assert [line.groups() for line in found] == expected
    recipe = "epochs 3, batch_size 32, lr 0.002"
    assert lines[4] == f"Learned by CoOp (arXiv 2109.01134): {recipe}."
    assert lines[-1] == f"  clipnotes predict '{out}' IMAGE"


def test_learn_hands_every_option_on(folder, tmp_path, monkeypatch):
    import clipnotes.teach

    seen = []
    monkeypatch.setattr(clipnotes.teach, "learn", lambda *a, **k: seen.append((a, k)) or 1 / 0)
    options = "--shots 3 --seed 4 --seeds 2 --init hello --position front --per-class --epochs 7 "
    options += "--lr 0.5 --method coop --loss sigmoid --calibrate"
    run(
        "learn",
        folder,
        "--out",
        "o",
        "--test",
        "t",
        "--nested",
        "--force",
        *options.split(),
        "--template",
        "one {}",
        "--n-ctx",
        1,
    )
    (((_, *where), keywords),) = seen
    assert [str(path) for path in where[:2]] == [str(folder), "o"]
    assert vars(where[2]) == {
        "method": "coop",
        "shots": 3,
        "seeds": range(4, 6),
        "template": "one {}",
        "n_ctx": 1,
        "init": "hello",
        "position": "front",
        "per_class": True,
        "epochs": 7,
        "lr": 0.5,
        "loss": "sigmoid",
        "brief": False,
        "calibrate": True,
    }
    assert (str(keywords["test"]), keywords["nested"], keywords["force"]) == ("t", True, True)


def test_learn_says_the_spread_and_the_notes(folder, tmp_path):
    mpl.use("svg")
    arguments = ["--shots", 6, "--epochs", 1, "--n-ctx", 1, "--seeds", 2]
    result = run("learn", folder, "--out", tmp_path / "o", *arguments)
    assert "mean ± standard deviation of 2 seeds:" in result.stdout
    assert len(re.findall(r"±\s+\d+\.\d %", result.stdout)) == 8  # accuracy and ECE
    assert "note: too few images for 6 shots" in result.stderr
    assert mpl.get_backend().lower() == "agg", "a screen is not needed"


def test_learn_refuses(folder, prompt, tmp_path):
    out, _ = prompt
    refused("no folder", "learn", tmp_path / "nowhere", "--out", tmp_path / "o")
    refused("has no sub-folders", "learn", folder / "fruit", "--out", tmp_path / "o")
    refused("already holds prompt.safetensors", "learn", folder, "--out", out)
    refused("is a file", "learn", folder, "--out", out / "card.json")
    refused("position is 'top'", "learn", folder, "--out", tmp_path / "o", "--position", "top")
    refused("no CLIP model 'nope'", "learn", folder, "--out", tmp_path / "o", "--model", "nope")
    assert not (tmp_path / "o").exists()
    assert run("learn", folder, "--out", tmp_path / "o", "--shots", 0).exit_code == 2
    assert run("learn", folder).exit_code == 2


# predict


def test_predict_prints_a_table(folder, prompt):
    out, _ = prompt
    result = run("predict", out, folder / "fruit", folder / "small_bird" / "1.jpg", "--top", 9)
    assert result.exit_code == 0 and result.stderr == ""
    lines = result.stdout.splitlines()
    assert len(lines) == 7
    assert lines[6].startswith(f"{folder / 'small_bird' / '1.jpg'}  ")
    for line in lines:
        percent = [float(number) for number in re.findall(r"([\d.]+)%", line)]
        assert len(percent) == 3 and sum(percent) == pytest.approx(100, abs=0.2)
        assert percent == sorted(percent, reverse=True)


def test_predict_with_a_learner_that_encodes_pictures_itself(folder, tmp_path, clip, monkeypatch):
    vpt = VPT(clip, ["apple", "pear", "bird"], 2, 1)
    vpt.save(tmp_path / "vpt")
    files = list_files(folder / "fruit")
    monkeypatch.setattr("clipnotes.pictures.reading.at_once", lambda model, size: 2)
    result = run("predict", tmp_path / "vpt", *files, "--json", "--top", 3)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)["pictures"]
    expected = vpt.logits(vpt.inputs([read_picture(file) for file in files])).softmax(dim=-1)
    assert len(said) == len(files) > 2
    for one, probabilities in zip(said, expected.tolist(), strict=True):
        found = {entry["name"]: entry["probability"] for entry in one["classes"]}
        assert [found[name] for name in vpt.classnames] == pytest.approx(probabilities, abs=1e-5)


def test_predict_refuses(folder, prompt, tmp_path, monkeypatch):
    out, _ = prompt
    picture = folder / "fruit" / "0.png"
    result = refused("none of 1 files", "predict", out, "nowhere.png")
    assert "nowhere.png: No such file" in result.stderr
    (tmp_path / "empty").mkdir()
    refused("no file in .*empty; give images", "predict", out, tmp_path / "empty")
    refused("no folder", "predict", tmp_path / "nowhere", picture)
    refused("prompt.safetensors is missing", "predict", folder, picture)
    other = tmp_path / "other"
    shutil.copytree(out, other)
    from saved_prompts import rewrite

    rewrite(other, model=str(tmp_path / "gone"))
    refused(r"gone is not there\): say which, with --model", "predict", other, picture)
    rewrite(other, model="")
    refused("its card names none", "predict", other, picture)
    model = ["--model", str(EMOJI_CLIP)]
    assert run("predict", other, picture, *model).exit_code == 0
    computed = read_prompt(other)[1]["probe"]["text"]
    changed = {"dtype": "float32", "text": [2 * number for number in computed]}
    rewrite(other, text_tower="0" * 64, probe=changed)
    refused("text tower 000000000000", "predict", other, picture, *model)


# trace and doctor


def test_trace_prints_the_chain():
    result = run("trace", "--text", "two red foxes")
    assert result.exit_code == 0
    for part in ("CLIPTextEmbeddings", "CLIPVisionEmbeddings", "inputs_embeds"):
        assert part in result.stdout
    short = run("trace").stdout
    assert short != result.stdout, "the text counts"


def test_trace_writes_a_page(tmp_path):
    page = tmp_path / "a.html"
    result = run("trace", "--html", page)
    assert result.exit_code == 0 and result.stdout == ""
    assert "CLIPTextEmbeddings" in page.read_text(encoding="utf-8")
    page.write_text("mine")
    refused("is there already", "trace", "--html", page)
    assert page.read_text(encoding="utf-8") == "mine"
    assert run("trace", "--html", page, "--force").exit_code == 0
    refused("is a folder; give a file", "trace", "--html", tmp_path)
    refused("no folder .*nowhere; make it", "trace", "--html", tmp_path / "nowhere" / "a.html")
    refused("no CLIP model", "trace", "nowhere")


def test_doctor(monkeypatch):
    monkeypatch.delenv("CLIPNOTES_MODEL", raising=False)
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert all(line.startswith("ok  ") for line in result.stdout.splitlines())
    monkeypatch.setenv("CLIPNOTES_MODEL", "nowhere")
    result = run("doctor")
    assert result.exit_code == 1
    *_, problem, mend = result.stdout.splitlines()
    assert problem.startswith("!!  model") and mend.strip() == "-> unset CLIPNOTES_MODEL"


@pytest.mark.parametrize(("given", "expected"), [(None, [1]), ("4", [])])
def test_a_small_model_computes_on_one_thread(monkeypatch, given, expected):
    seen = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    run("trace")
    assert seen == expected
    monkeypatch.setattr(terminal, "SMALL", 10)
    run("trace")
    assert seen == expected


def test_the_command_is_installed_under_its_name():
    from repository import pyproject

    scripts = pyproject()["project"]["scripts"]
    assert {name: EntryPoint(name, value, "").load() for name, value in scripts.items()} == {
        "clipnotes": cli.app
    }
