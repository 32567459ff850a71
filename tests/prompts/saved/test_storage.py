"""A saved prompt: it comes back as it was, a kill loses nothing, another model is refused."""

import copy
import json
import math
import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import clipnotes
from clipnotes.compat import text_tower, vision_tower
from clipnotes.prompts import METHODS, PromptLearner, load_prompt
from clipnotes.prompts.saved import storage
from clipnotes.prompts.saved.card import FIELDS, model_name
from clipnotes.prompts.saved.identity import text_tower_digest
from few_pictures import CLASSES, small_learner
from reference import agree
from saved_prompts import changed, rewrite

# There and back


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_what_comes_back_is_what_was_saved(clip, tmp_path, per_class, position):
    arguments = {"position": position, "per_class": per_class, "template": "{} here.", "seed": 3}
    learner = small_learner(clip, **arguments)
    learner.save(tmp_path / "a" / "prompt", shots=16, seed=3, scores={"test": 0.75})
    back = PromptLearner.load(tmp_path / "a" / "prompt", clip)
    assert torch.equal(back.ctx, learner.ctx) and back.ctx.requires_grad
    assert agree(back(), learner())
    names = ("classnames", "n_ctx", "position", "per_class", "template")
    assert [getattr(back, name) for name in names] == [getattr(learner, name) for name in names]


def test_the_card_says_everything(clip, tmp_path):
    small_learner(clip).save(tmp_path, shots=2, seed=1, scores={"test": torch.tensor(0.5)})
    card = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))
    assert "copy" in card.pop("note")
    assert set(card) == set(FIELDS)
    assert card == storage.read_prompt(tmp_path)[1]
    options = {"n_ctx": 2, "position": "end", "per_class": False, "template": "{}."}
    assert (card["method"], card["options"], card["vision_tower"]) == ("coop", options, None)
    assert card["versions"].keys() == {"clipnotes", "python", "torch", "transformers"}
    assert card["versions"]["torch"] == torch.__version__
    assert len(card["text_tower"]) == 64
    facts = {"model": "Emoji-CLIP", "width": 128, "classnames": CLASSES, "shots": 2, "seed": 1}
    assert {name: card[name] for name in facts} == facts
    assert card["scores"] == {"test": 0.5}


def test_a_shared_context_takes_other_classes(clip, tmp_path):
    learner = small_learner(clip, seed=2)
    learner.save(tmp_path)
    others = ["beetle", "sports car", CLASSES[0]]
    back = PromptLearner.load(tmp_path, clip, others)
    twin = PromptLearner(clip, others, n_ctx=2)
    with torch.no_grad():
        twin.ctx.copy_(learner.ctx)
    assert agree(back(), twin())
    assert torch.allclose(back()[2], learner()[0], atol=1e-5)


def test_a_context_per_class_does_not(clip, tmp_path):
    learner = small_learner(clip, per_class=True)
    learner.save(tmp_path)
    for names in (CLASSES[::-1], CLASSES[:-1], ["a", "b", "c", "d", "e"]):
        with pytest.raises(ValueError, match=r"each of its 5 classes by itself \(grapes, "):
            PromptLearner.load(tmp_path, clip, names)
    assert agree(PromptLearner.load(tmp_path, clip, tuple(CLASSES))(), learner())


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (CLASSES, r"\(grapes, melon, banana, cherries, tomato\)"),
        ([*CLASSES, "kiwi"], r"\(grapes, melon, banana, cherries, tomato, \.\.\.\)"),
    ],
)
def test_the_classes_that_it_was_learned_for_are_said_up_to_five(clip, tmp_path, names, said):
    PromptLearner(clip, names, n_ctx=2, per_class=True).save(tmp_path)
    with pytest.raises(ValueError, match=f"its {len(names)} classes by itself {said}"):
        PromptLearner.load(tmp_path, clip, ["a", "b"])


def test_a_half_precision_model_saves_float32(clip, tmp_path):
    half = changed(clip, lambda model: model.bfloat16())
    learner = small_learner(half)
    learner.save(tmp_path)
    assert load_file(tmp_path / "prompt.safetensors")["ctx"].dtype == torch.float32
    assert torch.equal(PromptLearner.load(tmp_path, half).ctx, learner.ctx)
    with pytest.raises(ValueError, match="half precision counts as another"):
        PromptLearner.load(tmp_path, clip)


# Which model


def rename(model):
    mlp = text_tower(model).encoder.layers[-1].mlp
    mlp.fc3 = mlp.fc2  # the same numbers in the same order
    del mlp.fc2


def reshape(model):
    weight = model.text_projection.weight
    weight.data = weight.data.reshape(weight.shape[0] // 2, -1)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.text_projection.weight[0, 0].add_(1e-3),
        lambda model: next(text_tower(model).parameters())[5, 5].add_(1e-3),
        rename,
        reshape,
    ],
)
def test_the_digest_is_of_names_shapes_and_values(clip, change):
    other = changed(clip, change).model
    assert text_tower_digest(other) != text_tower_digest(clip.model)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.double(),
        lambda model: vision_tower(model).post_layernorm.weight.mul_(2),
    ],
)
def test_dtype_and_vision_tower_are_not_in_the_digest(clip, change):
    other = changed(clip, change).model
    assert text_tower_digest(other) == text_tower_digest(clip.model)


def test_the_name_opens_the_model_from_anywhere(clip, tmp_path, monkeypatch):
    named = clipnotes.Clip(copy.deepcopy(clip.model), clip.tokenizer, clip.image_processor)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name, expected in (
        ("mine", str(tmp_path / "mine")),
        ("openai/clip-vit-base-patch32", "openai/clip-vit-base-patch32"),
        ("", ""),
    ):
        named.model.config._name_or_path = name
        assert model_name(named) == expected
    assert model_name(clip) == "Emoji-CLIP"


def test_another_tower_is_refused_with_both(clip, tmp_path):
    small_learner(clip).save(tmp_path)
    other = changed(clip, lambda model: model.text_projection.weight.neg_())
    other.model.config._name_or_path = "somebody/else"
    mine, theirs = text_tower_digest(clip.model)[:12], text_tower_digest(other.model)[:12]
    words = f"text tower {mine} of Emoji-CLIP; that of somebody/else is {theirs}"
    with pytest.raises(ValueError, match=words):
        PromptLearner.load(tmp_path, other)


def test_another_width_is_refused_with_both(clip, tmp_path):
    from transformers import CLIPConfig, CLIPModel

    small_learner(clip).save(tmp_path)
    text = {**clip.model.config.text_config.to_dict(), "hidden_size": 32, "num_hidden_layers": 1}
    vision = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)
    narrow = clipnotes.Clip(CLIPModel(config), clip.tokenizer, clip.image_processor)
    with pytest.raises(ValueError, match=r"vectors of 128 numbers .*Emoji-CLIP.* have 32"):
        PromptLearner.load(tmp_path, narrow)


# What cannot be loaded or saved


def test_no_prompt(clip, tmp_path):
    with pytest.raises(ValueError, match=r"no folder .*nowhere"):
        PromptLearner.load(tmp_path / "nowhere", clip)
    with pytest.raises(ValueError, match=r"no prompt in .*prompt.safetensors is missing"):
        PromptLearner.load(tmp_path, clip)


def test_a_damaged_prompt(clip, tmp_path):
    file = tmp_path / "prompt.safetensors"
    small_learner(clip).save(tmp_path)
    good, ctx = file.read_bytes(), load_file(file)
    for bad in (b"", b"text", good[:-5], good[:20]):
        file.write_bytes(bad)
        with pytest.raises(ValueError, match="is no prompt of clipnotes, or is damaged"):
            PromptLearner.load(tmp_path, clip)
    save_file(ctx, file)  # no card
    with pytest.raises(ValueError, match="is no prompt of clipnotes"):
        PromptLearner.load(tmp_path, clip)


OPTIONS = {"n_ctx": 2, "position": "end", "per_class": False, "template": "{}."}


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"format": 1}, "has the format 1, and this clipnotes reads 2; open it with"),
        ({"format": 3}, "has the format 3, and this clipnotes reads 2; open it with"),
        ({"format": None}, "says no format"),
        ({"width": "128"}, "says width '128'"),
        ({"classnames": "rose"}, "says classnames 'rose'"),
        ({"classnames": ["rose", 3]}, "a class name on its card is no text"),
        ({"options": {}}, "says options {}"),
        ({"options": {**OPTIONS, "n_ctx": 2.0}}, "says options .*2.0"),
        ({"options": {**OPTIONS, "more": 1}}, "says options .*more"),
        ({"options": {**OPTIONS, "position": "top"}}, "position is 'top'"),
        ({"options": {**OPTIONS, "n_ctx": 3}}, r"\(2, 128\)}, and by its card .*\(3, 128\)}"),
        ({"options": {**OPTIONS, "per_class": True}}, r"by its card .*\(5, 2, 128\)}"),
        ({"method": "other"}, "by the method 'other', and PromptLearner loads 'coop'"),
        ({"classnames": [], "tokens": None}, "no class was given"),
        ({"classnames": ["x " * 40], "tokens": None}, "leaving room for 0 context tokens"),
    ],
)
def test_a_card_that_is_wrong(clip, tmp_path, card, words):
    small_learner(clip).save(tmp_path)
    rewrite(tmp_path, **card)
    with pytest.raises(ValueError, match=words):
        PromptLearner.load(tmp_path, clip)


def test_integers_stay_integers(clip, tmp_path):
    small_learner(clip).save(tmp_path)
    card = storage.read_prompt(tmp_path)[1]
    tensors = {"a": torch.tensor([2**40, 3]), "b": torch.ones(2).half()}
    storage.write_prompt(tmp_path, tensors, card, force=True)
    back = storage.read_prompt(tmp_path)[0]
    assert torch.equal(back["a"], tensors["a"]) and torch.equal(back["b"], torch.ones(2))


def test_a_context_that_is_not_finite_is_neither_saved_nor_loaded(clip, tmp_path):
    learner = small_learner(clip)
    learner.save(tmp_path / "a")
    with torch.no_grad():
        learner.ctx[0, 0] = float("nan")
    with pytest.raises(ValueError, match="ctx is not finite, so nothing is saved"):
        learner.save(tmp_path / "a", force=True)
    assert PromptLearner.load(tmp_path / "a", clip).ctx.isfinite().all()
    file = tmp_path / "a" / "prompt.safetensors"
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    save_file({"ctx": learner.ctx.detach()}, file, metadata=metadata)
    with pytest.raises(ValueError, match="must be float32 and finite"):
        PromptLearner.load(tmp_path / "a", clip)


@pytest.mark.parametrize(
    ("facts", "error", "words"),
    [
        ({"shots": 1.5}, TypeError, "shots is 1.5"),
        ({"seed": True}, TypeError, "seed is True"),
        ({"scores": {"a": "good"}}, TypeError, "the score 'a' is 'good'"),
        ({"scores": {"a": float("nan")}}, ValueError, "the score 'a' is nan"),
    ],
)
def test_facts_that_cannot_be_on_a_card(clip, tmp_path, facts, error, words):
    with pytest.raises(error, match=words):
        small_learner(clip).save(tmp_path / "p", **facts)
    assert not (tmp_path / "p").exists()


def test_nothing_is_overwritten_unless_asked(clip, tmp_path):
    small_learner(clip, seed=1).save(tmp_path)
    before = (tmp_path / "prompt.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"already holds prompt\.safetensors"):
        small_learner(clip, seed=2).save(tmp_path)
    assert (tmp_path / "prompt.safetensors").read_bytes() == before
    small_learner(clip, seed=2).save(tmp_path, force=True)
    assert torch.equal(PromptLearner.load(tmp_path, clip).ctx, small_learner(clip, seed=2).ctx)
    with pytest.raises(ValueError, match="is a file"):
        small_learner(clip).save(tmp_path / "card.json", force=True)


# A kill

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


# What a file is refused for, and what is not written


@pytest.mark.parametrize("card", [{"method": "other"}, {"format": 3}, {"shots": "two"}])
def test_the_file_is_named(clip, tmp_path, card):
    small_learner(clip).save(tmp_path)
    rewrite(tmp_path, **card)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        load_prompt(tmp_path, clip)
    assert str(error.value).startswith(str(tmp_path / storage.FILE))


def test_the_methods_that_are_known_are_named(clip, tmp_path):
    small_learner(clip).save(tmp_path)
    rewrite(tmp_path, method="other")
    with pytest.raises(ValueError, match=f"there are {', '.join(sorted(METHODS))};"):
        load_prompt(tmp_path, clip)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_numbers_of_another_precision_are_refused(clip, tmp_path, dtype):
    learner = small_learner(clip)
    learner.save(tmp_path)
    file = tmp_path / storage.FILE
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    save_file({"ctx": learner.ctx.detach().to(dtype)}, file, metadata=metadata)
    with pytest.raises(ValueError, match=f"ctx is {dtype} and must be float32"):
        PromptLearner.load(tmp_path, clip)


def test_write_prompt_replaces_nothing_unless_asked(clip, tmp_path):
    small_learner(clip).save(tmp_path)
    tensors, card = storage.read_prompt(tmp_path)
    with pytest.raises(ValueError, match="already holds"):
        storage.write_prompt(tmp_path, {"ctx": tensors["ctx"] + 1}, card)
    assert torch.equal(storage.read_prompt(tmp_path)[0]["ctx"], tensors["ctx"])


def test_a_number_that_json_does_not_know_is_not_written(clip, tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        small_learner(clip).save(tmp_path / "p", recipe={"lr": math.inf})
    assert not (tmp_path / "p").exists()


def test_the_copy_of_the_card_has_a_line_for_each_entry(clip, tmp_path):
    """It is there to be read."""
    small_learner(clip).save(tmp_path)
    text = (tmp_path / storage.COPY).read_text(encoding="utf-8")
    for name in json.loads(text):
        assert any(line.strip().startswith(f'"{name}": ') for line in text.splitlines()), name
