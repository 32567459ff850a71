"""The commands on what strangers' disks hold: odd names, linked folders, disks that are full."""

import json
import os
import shutil
import subprocess
import sys
import unicodedata

import pytest
from PIL import Image

from clipnotes.cli.terminal import shown
from clipnotes.data import composite, load_emoji
from clipnotes.prompts import VPT, CoCoOp, LPPlusPlus, MaPLe, PromptLearner, TipAdapter
from clipnotes.teach import Plan, learn
from clipnotes.teach.output import check_outside
from command_line import command, commands, refused, run
from some_folders import make_folders

QUICK = ["--shots", "2", "--epochs", "1", "--n-ctx", "1"]


@pytest.fixture
def folder(tmp_path):
    return make_folders(tmp_path / "pictures", 3)


# Names


def messy(top):
    """Two classes whose files have names that are no text, or hold a line break."""
    for i, (row, name) in enumerate(zip(load_emoji(style="noto"), "abcdefgh", strict=False)):
        inner = top / ("$5 or $_{10" if i % 2 else "茶 🍇")
        inner.mkdir(parents=True, exist_ok=True)
        odd = ("caf\udce9.png", "two\nlines.png", "plain é.png", "ends in a dot.")[i // 2]
        composite(row["image"]).save(inner / f"{name} {odd}", format="png")
    (top / "茶 🍇" / "lost \udcff.png").symlink_to(top / "gone")
    return top


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text there")
def test_any_name_works_or_is_listed(tmp_path, root):
    folder, out = messy(tmp_path / "pictures"), tmp_path / "prompt"
    narrow = {"PYTHONIOENCODING": "ascii", "LANG": "C", "LC_ALL": "C"}
    learning, predicting = ("learn", folder, "--out", out, *QUICK), ("predict", out, folder)
    done, wrote = commands(learning, predicting, (*predicting, "--json"), root=root, **narrow)
    assert done.returncode == 0, done.stderr
    learned, predicted, as_json = wrote
    assert r"lost \udcff.png: No such file" in done.stderr
    assert "learned" in learned and f"clipnotes predict {out} IMAGE" in learned

    assert len(predicted.splitlines()) == 8, "a line for each image"
    assert r"caf\udce9.png" in predicted and r"two\nlines.png" in predicted
    assert "$5 or $" in predicted

    paths = [picture["path"] for picture in json.loads(as_json)["pictures"]]
    assert sum(os.path.exists(path) for path in paths) == 8, "the very names, also the odd ones"
    done = command("predict", out, folder, "--json", root=root, PYTHONIOENCODING="utf-8")
    assert [one["path"] for one in json.loads(done.stdout)["pictures"]] == paths
    assert "茶 🍇" not in done.stdout, "the lost name is no text, so this list is in ascii"
    text = [path for path in paths if path.isprintable()]
    assert text, "some names are"
    done = command("predict", out, *text, "--json", root=root, PYTHONIOENCODING="utf-8")
    assert [one["path"] for one in json.loads(done.stdout)["pictures"]] == text
    assert "茶 🍇" in done.stdout


def test_what_is_shown_stays_in_its_line():
    assert (
        shown("a\nb\tc\u2028d\udce9 é 茶 👩\u200d🚀") == "a\\nb\\tc\\u2028d\\udce9 é 茶 👩\u200d🚀"
    )


def test_class_names_that_the_tokenizer_cannot_tell_apart(folder, tmp_path):
    shutil.copytree(folder / "fruit", folder / "Fruit")
    words = "'Fruit', and class 1, 'fruit', are the same tokens"
    refused(words, "learn", folder, "--out", tmp_path / "o", *QUICK)
    refused(words, "compare", folder)
    assert not (tmp_path / "o").exists()


def test_a_folder_to_test_on_may_be_in_the_other_unicode_form(clip, folder, tmp_path):
    (folder / "fruit").rename(folder / unicodedata.normalize("NFC", "café"))
    test = make_folders(tmp_path / "test", 2, skip=3)
    (test / "fruit").rename(test / unicodedata.normalize("NFD", "café"))
    report = learn(clip, folder, tmp_path / "o", Plan(shots=1, epochs=1, n_ctx=1), test=test)
    assert report.n_test == 6
    assert PromptLearner.load(tmp_path / "o", clip).classnames[0] == "café"


# Where the prompt goes


def test_a_prompt_does_not_go_among_the_pictures(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    elsewhere = make_folders(tmp_path / "elsewhere", 2)
    (folder / "linked").symlink_to(elsewhere / "fruit")
    for out in (
        folder,
        folder / "prompt",
        folder / "fruit" / "deep" / "prompt",
        tmp_path / "link" / "prompt",
        elsewhere / "fruit" / "prompt",
    ):
        before = sorted(tmp_path.rglob("*"))
        refused("lies among the images", "learn", folder, "--out", out, *QUICK)
        assert sorted(tmp_path.rglob("*")) == before
    test = make_folders(tmp_path / "test", 2)
    words = "test/prompt lies among the images in .*test"
    refused(words, "learn", folder, "--test", test, "--out", test / "prompt")
    check_outside(tmp_path, folder)  # above them it harms nobody
    check_outside(tmp_path / "pictures2", folder)


def test_a_saved_prompt_is_no_class(clip, folder, tmp_path):
    PromptLearner(clip, ["rose", "tulip"], n_ctx=1).save(folder / "prompt")
    (folder / "prompt" / "confusion.png").write_bytes(b"")
    refused("prompt is a prompt that was saved", "learn", folder, "--out", tmp_path / "o")


def test_an_output_that_cannot_be_written_is_found_before_a_picture_is_read(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "clipnotes.teach.folder.encode_files", lambda *_, **__: pytest.fail("too late")
    )
    (tmp_path / "file").write_text("mine")
    for out, words in (
        (tmp_path / "file" / "o", "file/o: Not a directory; nothing has been learned"),
        ("/proc/nowhere/o", "/proc/nowhere/o: No such file .*; nothing has been learned"),
    ):
        refused(words, "learn", folder, "--out", out, *QUICK)
    (tmp_path / "lost").symlink_to(tmp_path / "gone")
    refused("lost is a file", "learn", folder, "--out", tmp_path / "lost", *QUICK)


@pytest.mark.skipif(sys.platform == "win32", reason="bash sets the limit")
def test_a_disk_without_room_is_found_before_a_picture_is_read(folder, tmp_path, root):
    python = f"{sys.executable} -m clipnotes learn {folder} --out {tmp_path / 'o'} --epochs 1"
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    limited = ["bash", "-c", f"ulimit -f 500; exec {python}"]  # as if no more than that had room
    done = subprocess.run(limited, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and done.stdout == ""
    assert f"{tmp_path / 'o'}: File too large; nothing has been learned yet" in done.stderr
    assert "reading" not in done.stderr and not (tmp_path / "o").exists()


# Numbers first


def test_a_figure_that_fails_is_a_note(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("clipnotes.plots.confusion", lambda *_: 1 / 0)
    result = run("learn", folder, "--out", tmp_path / "o", *QUICK)
    assert result.exit_code == 0, result.output
    assert "confusion.png could not be drawn: division by zero" in result.stderr
    assert "learned" in result.stdout and "confusion.png" not in result.stdout
    assert (tmp_path / "o" / "prompt.safetensors").is_file()


def test_numbers_are_printed_before_saving_can_fail(folder, tmp_path, monkeypatch):
    tries = []

    def full(*_, **__):
        tries.append(1)
        raise OSError(28, "No space left on device", "o/prompt.safetensors")

    monkeypatch.setattr("clipnotes.prompts.learner.write_prompt", full)
    result = run("learn", folder, "--out", tmp_path / "o", *QUICK, "--seeds", 2)
    assert result.exit_code == 1 and len(tries) == 2
    assert "  learned  " in result.stdout and "seed 1: learning" in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last == "clipnotes: o/prompt.safetensors: No space left on device"


def test_a_prompt_that_could_be_saved_at_the_end_is_saved(clip, folder, tmp_path, monkeypatch):
    import clipnotes.prompts.learner as base

    write, tries = base.write_prompt, []

    def once_full(*arguments, **keywords):
        tries.append(1)
        if len(tries) == 1:
            raise OSError(28, "No space left on device")
        write(*arguments, **keywords)

    monkeypatch.setattr(base, "write_prompt", once_full)
    learn(clip, folder, tmp_path / "o", Plan(shots=1, epochs=1, n_ctx=1))
    assert PromptLearner.load(tmp_path / "o", clip).n_ctx == 1 and len(tries) == 2


# predict --classes


def test_predict_takes_other_classes(clip, folder, tmp_path):
    picture = folder / "fruit" / "0.png"
    names = ["tulip", "salt, pepper", "steam locomotive"]
    given = 'tulip, "salt, pepper" ,steam locomotive'
    for learner in (
        PromptLearner(clip, ["rose", "fox"], n_ctx=2),
        CoCoOp(clip, ["rose", "fox"], n_ctx=1, init=None),
        VPT(clip, ["rose", "fox"], 1, 1),
        MaPLe(clip, ["rose", "fox"], depth=1),
    ):
        out = tmp_path / learner.method
        learner.save(out)
        result = run("predict", out, picture, "--classes", given, "--json")
        assert result.exit_code == 0, result.output
        ((one,),) = [json.loads(result.stdout)["pictures"]]
        other = type(learner).load(out, clip, names)
        with Image.open(picture) as image:
            encode = getattr(other, "inputs", clip.encode_image)
            expected = other.logits(encode([composite(image)]))[0].softmax(dim=-1).tolist()
        said = {entry["name"]: entry["probability"] for entry in one["classes"]}
        assert [said[name] for name in names] == pytest.approx(expected, abs=1e-5)
    out = tmp_path / "coop"
    refused("class 1 is ''", "predict", out, picture, "--classes", "tulip,,rose")
    refused("are the same tokens", "predict", out, picture, "--classes", "tulip,Tulip")


def test_predict_with_what_belongs_to_its_classes_refuses_others(clip, folder, tmp_path):
    import torch

    names = ["rose", "fox"]
    PromptLearner(clip, names, n_ctx=1, per_class=True).save(tmp_path / "csc")
    TipAdapter(clip, names, torch.eye(128)[:2], [0, 1]).save(tmp_path / "tip")
    LPPlusPlus(clip, names, torch.eye(128)[:2], [0, 1]).save(tmp_path / "lp++")
    for out in ("csc", "tip", "lp++"):
        words = r"for each of its 2 classes by itself \(rose, fox\).*: leave the classes out"
        refused(words, "predict", tmp_path / out, folder / "fruit", "--classes", "tulip,rose")
