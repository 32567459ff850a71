"""The commands that look at a model, on the directories of other families than CLIP."""

import json

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from clipnotes import annotate, compat, doctor
from clipnotes.checkpoints import EMBEDDED
from clipnotes.cli import terminal
from clipnotes.prompts import PromptLearner, fit, load_prompt
from clipnotes.teach.folder import Folder
from command_line import refused, run
from families import LENGTH, save, tiny_clip
from reference import agree


@pytest.fixture(scope="module", params=["Siglip", "ChineseCLIP"])
def directory(request, tmp_path_factory):
    return request.param, save(tiny_clip(request.param), tmp_path_factory.mktemp("model"))


def test_trace_says_what_each_family_is_called_with(directory):
    name, folder = directory
    result = run("trace", folder, "--text", "a red fox")
    assert result.exit_code == 0, result.output
    n_tokens = LENGTH if name == "Siglip" else 5
    assert f"{name}Model" in result.stdout and f"int64[1, {n_tokens}]" in result.stdout
    assert f"{name}VisionEmbeddings" in result.stdout


def test_annotate_shows_a_part_of_each_family(directory):
    name, folder = directory
    result = run("annotate", folder, "--module", "text_model", "--deep", "--text", "a red fox")
    assert result.exit_code == 0, result.output
    assert f"{name}TextEmbeddings.forward" in result.stdout


def test_annotate_in_python_takes_the_whole_model(directory):
    name, folder = directory
    clip = terminal.load_model(str(folder))
    notes = str(annotate(clip.model, **terminal.example(clip, "a red fox", 2)))
    assert f"{name}Model.forward" in notes and "logit_scale" in notes


def test_a_model_that_is_not_opened_is_refused_by_every_command(directory, tmp_path):
    _, folder = directory
    config = (folder / "config.json").read_text(encoding="utf-8")
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    other = config.replace('"model_type": "siglip"', '"model_type": "siglip2"')
    other = other.replace('"model_type": "chinese_clip"', '"model_type": "siglip2"')
    (tmp_path / "config.json").write_text(other)
    for command in ("trace", "annotate"):
        refused("a model of type 'siglip2': .*NaFlex", command, tmp_path)


def test_a_prompt_of_an_embedded_model_is_used_with_it(directory, monkeypatch, clip):
    name, folder = directory
    monkeypatch.setitem(EMBEDDED, "emoji-siglip", folder)
    monkeypatch.setenv("CLIPNOTES_MODEL", "nowhere")
    found = terminal.load_model_of({"model": "Emoji-SigLIP"})
    assert type(found.model).__name__ == f"{name}Model"
    assert type(terminal.load_model_of({"model": "Emoji-CLIP"}).model) is type(clip.model)


@pytest.fixture
def things(tmp_path):
    """Images of two classes whose names these models' tokenizers know."""
    for colour, name in (("red", "rose"), ("black", "bear")):
        (tmp_path / "things" / name).mkdir(parents=True)
        for i in range(4):
            image = Image.new("RGB", (20, 20), colour)
            image.paste("white", (i, 2 * i, i + 4, 2 * i + 5))
            image.save(tmp_path / "things" / name / f"{i}.png")
    return tmp_path / "things"


def test_learn_then_predict(directory, things, tmp_path):
    _, folder = directory
    quick = ["--shots", 2, "--epochs", 2, "--n-ctx", 2, "--model", folder]
    result = run("learn", things, "--out", tmp_path / "prompt", *quick)
    assert result.exit_code == 0, result.output
    images = sorted(things.rglob("*.png"))
    said = run("predict", tmp_path / "prompt", *images, "--json")  # the card names the model
    assert said.exit_code == 0, said.output
    answer = json.loads(said.stdout)
    assert answer["model"] == str(folder.resolve())
    clip = terminal.load_model(str(folder))
    learner = load_prompt(tmp_path / "prompt", clip)
    pixels = clip.preprocess([Image.open(path) for path in images])
    with torch.no_grad():
        own = normalize(compat.image_features(clip.model, pixels), dim=-1)
        expected = compat.logits(clip.model, own @ learner().T).softmax(-1)
    for row, one in zip(expected, answer["pictures"], strict=True):
        found = {entry["name"]: entry["probability"] for entry in one["classes"]}
        assert [found[c] for c in learner.classnames] == pytest.approx(row.tolist(), abs=2e-5)


def test_learn_by_the_loss_of_siglip(directory, things, tmp_path):
    name, folder = directory
    quick = ["--shots", 2, "--epochs", 6, "--n-ctx", 2, "--lr", 0.1, "--loss", "sigmoid"]
    quick += ["--model", folder]
    out = tmp_path / "prompt"
    if name != "Siglip":
        refused(f"coop: .* this {name}Model have no bias", "learn", things, "--out", out, *quick)
        assert not out.exists()
        return
    result = run("learn", things, "--out", out, *quick)
    assert result.exit_code == 0, result.output
    card = json.loads((out / "card.json").read_text(encoding="utf-8"))
    assert card["recipe"]["loss"] == "sigmoid"
    assert "loss 'sigmoid'." in result.stdout
    # The same by hand, and not what the softmax makes of it.
    clip = terminal.load_model(str(folder))
    found = load_prompt(out, clip)
    images = Folder(things).read(clip).draw(2, 0)[0]
    made = {}
    for loss in ("sigmoid", "softmax"):
        learner = PromptLearner(clip, found.classnames, 2)
        how = {"epochs": 6, "lr": 0.1, "loss": loss, "progress": False}
        fit(learner, images.features, images.labels, **how)
        made[loss] = learner.ctx.detach()
    assert agree(found.ctx, made["sigmoid"], 1e-4)
    assert not agree(made["softmax"], made["sigmoid"], 1e-3)


def test_compare_lists_zero_shot_and_what_learns(directory, things):
    _, folder = directory
    result = run(
        "compare", things, "--model", folder, "--shots", 2, "--methods", "tip", "--seeds", 1
    )
    assert result.exit_code == 0, result.output
    assert "zero-shot" in result.stdout and "tip" in result.stdout.lower()


def test_doctor_looks_at_both_embedded_models(directory, monkeypatch, tmp_path):
    _, folder = directory
    monkeypatch.setattr("clipnotes.checkpoints.EMOJI_SIGLIP", folder)
    monkeypatch.setenv("CLIPNOTES_MODEL", str(folder))
    found = {one.what: one for one in doctor.examine()}
    assert "checksums agree" in found["Emoji-SigLIP"].found
    assert "8 pixels in patches of 4" in found["model"].found and not found["model"].problem
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr("clipnotes.checkpoints.EMOJI_SIGLIP", tmp_path)  # there, but not whole
    found = {one.what: one for one in doctor.examine()}
    assert "lacks model.safetensors" in found["Emoji-SigLIP"].problem
    monkeypatch.setattr("clipnotes.checkpoints.EMOJI_SIGLIP", tmp_path / "nowhere")
    assert "Emoji-SigLIP" not in {one.what for one in doctor.examine()}
