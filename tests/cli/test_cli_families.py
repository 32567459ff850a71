"""The commands that look at a model, on the directories of other families than CLIP."""

import pytest

from clipnotes import annotate, doctor
from clipnotes.checkpoints import EMBEDDED
from clipnotes.cli import terminal
from command_line import refused, run
from families import LENGTH, save, tiny_clip


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
