"""A classifier taken home as safetensors: numpy says the same, and what cannot go is refused."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

import clipnotes
from clipnotes.prompts import PromptLearner, ZeroShot
from clipnotes.prompts.classifier import Classifier
from clipnotes.prompts.methods import PUBLISHED
from clipnotes.prompts.methods.published import Settings
from clipnotes.prompts.saved import export, onnx_file
from clipnotes.prompts.saved.head import Head, read_off
from clipnotes.prompts.saved.home import classify, serve
from clipnotes.prompts.saved.preprocessing import written_down
from families import tiny_clip
from saved_prompts import changed
from taken_home import SENTENCE, assert_same, bare, classifiers, emoji, probabilities, read

OF_FEATURES = ["coop", "csc", "zero_shot", "nearest_mean", "linear_probe", "tip"]


@pytest.fixture(scope="module")
def pictures(clip):
    images, names = emoji()
    return clip.encode_image(images), names


@pytest.fixture(scope="module")
def every(clip, pictures):
    return classifiers(clip, *pictures)


@pytest.mark.parametrize("name", OF_FEATURES)
def test_numpy_alone_names_two_hundred_pictures_alike(every, pictures, tmp_path, name):
    classifier, (features, _) = every[name], pictures
    classifier.export(tmp_path / "home", to="safetensors")
    np.save(tmp_path / "features.npy", 7 * features.numpy())  # of any length
    lines = bare(tmp_path / "home" / "classify.py", tmp_path / "features.npy")
    wanted = probabilities(classifier, features)
    assert_same(lines, wanted, classifier.classnames)
    tensors = load_file(tmp_path / "home" / "classifier.safetensors")
    found = classify.softmax(classify.logits_of(features.numpy(), tensors))
    assert np.abs(found - wanted).max() < 1e-5
    card = read(tmp_path / "home")
    assert card["tensors"] == {key: list(tensor.shape) for key, tensor in tensors.items()}
    assert card["inputs"]["features"]["shape"] == ["batch", 128]
    assert ("keys" in card["logits"]) is (name == "tip") is ("keys" in tensors)


@pytest.mark.parametrize("name", ["coop", "csc", "zero_shot", "nearest_mean", "tip"])
def test_a_class_is_a_vector_of_length_one_and_the_scale_is_the_model_s(clip, every, name):
    head = every[name].head()
    assert torch.allclose(head.class_vectors.norm(dim=-1), torch.ones(len(head.bias)), atol=1e-5)
    assert head.scale.item() == pytest.approx(clip.model.logit_scale.exp().item(), rel=1e-5)
    assert head.bias.abs().max() < 1e-5


def test_a_probe_keeps_its_own_lengths(every):
    head = every["linear_probe"].head()
    assert head.scale == 1 and torch.allclose(head.bias, every["linear_probe"].bias, atol=1e-4)


def test_siglip_s_bias_goes_along():
    siglip = tiny_clip("Siglip")
    head = ZeroShot(siglip, ["rose", "tulip"], "a photo of a {}").head()
    bias = siglip.model.logit_bias.detach()
    assert torch.allclose(head.bias, bias.expand(2), atol=1e-4)


def test_the_card_says_what_a_program_has_to_know(clip, every, tmp_path):
    every["zero_shot"].export(tmp_path / "home", to="safetensors")
    card, content = read(tmp_path / "home"), (tmp_path / "home" / "classifier.safetensors")
    assert card["labels"] == every["zero_shot"].classnames
    assert card["method"] == "zero_shot"
    assert card["options"] == {"templates": [SENTENCE, "a drawing of a {}"]}
    assert card["file"] == content.name and card["bytes"] == content.stat().st_size
    assert card["sha256"] == hashlib.sha256(content.read_bytes()).hexdigest()
    assert card["model"]["name"] == "Emoji-CLIP" and len(card["model"]["vision_tower"]) == 64
    assert card["scale"] == pytest.approx(clip.model.logit_scale.exp().item(), rel=1e-5)
    assert len(card["bias"]) == len(card["labels"])
    assert card["versions"].keys() >= {"clipnotes", "torch", "transformers", "safetensors"}
    assert sorted(os.listdir(tmp_path / "home")) == [
        "classifier.json",
        "classifier.safetensors",
        "classify.py",
    ]


# Which classifiers can go


@pytest.mark.parametrize("to", ["onnx", "safetensors"])
def test_classes_that_change_with_the_image_cannot_be_taken_along(every, tmp_path, to):
    pytest.importorskip("onnxruntime")
    with pytest.raises(ValueError, match=r"CoCoOp cannot be exported.*text tower would have to"):
        every["cocoop"].export(tmp_path / "home", to)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["vpt", "maple", "lora", "prolip"])
def test_features_from_anywhere_are_not_those_of_a_changed_tower(every, tmp_path, name):
    with pytest.raises(ValueError, match=r"changes the vision tower.*export it to 'onnx'"):
        every[name].export(tmp_path / "home", to="safetensors")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_method_says_what_is_left_of_it_or_why_nothing_is(clip, name):
    learner = PUBLISHED[name].make(clip, ["rose", "tulip", "fox"], Settings(SENTENCE))
    if name == "cocoop":
        with pytest.raises(ValueError, match="not linear"):
            learner.head()
    else:
        assert learner.head()(torch.eye(128)[:4]).shape == (4, 3)


def test_a_method_of_one_s_own_needs_nothing_for_it(clip, tmp_path):
    class Own(Classifier):
        def __init__(self):
            self.clip, self.classnames = clip, ["a", "b"]

        def logits(self, features):
            return features[:, :2] * 3 + torch.tensor([0.5, -1])

    Own().export(tmp_path / "home", to="safetensors")
    tensors = load_file(tmp_path / "home" / "classifier.safetensors")
    assert np.allclose(tensors["class_vectors"], np.eye(128)[:2], atol=1e-5)
    assert np.isclose(tensors["scale"], 3) and np.allclose(tensors["bias"], [0.5, -1], atol=1e-5)
    assert read(tmp_path / "home")["method"] == "Own"


def test_what_is_not_linear_is_noticed():
    with pytest.raises(ValueError, match="not linear in the features"):
        read_off(lambda features: features[:, :2] ** 2, 8, torch.device("cpu"))


def test_vectors_that_are_not_the_classifier_s_are_not_written(clip, tmp_path, monkeypatch):
    learner = PromptLearner(clip, ["rose", "tulip"], n_ctx=2)
    wrong = Head(torch.eye(128)[:2], 16.0, torch.zeros(2))
    monkeypatch.setattr(learner, "head", lambda: wrong)
    with pytest.raises(ValueError, match="what was read off gives other probabilities"):
        learner.export(tmp_path / "home", to="safetensors")
    assert os.listdir(tmp_path) == []


def test_half_precision_is_refused(clip, tmp_path):
    half = changed(clip, lambda model: model.bfloat16())
    with pytest.raises(ValueError, match=r"bfloat16.*clip\.model\.float\(\)"):
        ZeroShot(half, ["rose", "tulip"]).export(tmp_path / "home", to="safetensors")


def test_a_model_in_training_is_exported_as_it_is_used_and_left_in_training(clip, tmp_path):
    training = changed(clip, lambda model: model.train())
    ZeroShot(training, ["rose", "tulip"]).export(tmp_path / "home", to="safetensors")
    assert training.model.training


# The folder


def test_what_is_there_is_only_replaced_when_told(clip, tmp_path):
    home, learner = tmp_path / "deep" / "home", ZeroShot(clip, ["rose", "tulip"])
    learner.export(home, to="safetensors")
    with pytest.raises(ValueError, match=r"already holds classifier\.json.*force"):
        learner.export(home, to="safetensors")
    ZeroShot(clip, ["bear", "fox"]).export(home, to="safetensors", force=True)
    assert read(home)["labels"] == ["bear", "fox"]
    assert os.listdir(home.parent) == ["home"]


def test_what_is_no_export_is_never_deleted(clip, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    for force, words in (
        (False, r"already holds thesis\.txt"),
        (True, r"holds thesis\.txt, which"),
    ):
        with pytest.raises(ValueError, match=words):
            ZeroShot(clip, ["rose", "tulip"]).export(tmp_path, to="safetensors", force=force)
    with pytest.raises(ValueError, match="is a file"):
        ZeroShot(clip, ["rose"]).export(tmp_path / "thesis.txt", to="safetensors", force=True)
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_an_empty_folder_is_nobody_s(clip, tmp_path):
    ZeroShot(clip, ["rose", "tulip"]).export(tmp_path, to="safetensors")
    assert read(tmp_path)["labels"] == ["rose", "tulip"]


def test_nothing_is_computed_before_it_may_be_written(clip, tmp_path, monkeypatch):
    learner = ZeroShot(clip, ["rose", "tulip"])
    monkeypatch.setattr(export, "written_down", lambda clip: pytest.fail("it has begun"))
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="already holds"):
        learner.export(tmp_path, to="safetensors")
    with pytest.raises(ValueError, match="to is 'tflite'; give 'onnx' or 'safetensors'"):
        learner.export(tmp_path / "home", to="tflite")
    monkeypatch.setattr(onnx_file.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'onnxscript.*pip install "clipnotes-book\[export\]"'):
        learner.export(tmp_path / "home")
    monkeypatch.setattr(onnx_file.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(onnx_file, "version", lambda name: "2.8.1+cpu")
    with pytest.raises(ValueError, match=r"needs torch 2\.9 or later, and 2\.8\.1"):
        learner.export(tmp_path / "home")


def test_nobody_pays_for_it_who_does_not_use_it():
    code = "import sys, clipnotes, clipnotes.prompts as p; clipnotes.load(); p.ZeroShot.export\n"
    code += "print([name for name in sys.modules if name.startswith('onnx')])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert json.loads(done.stdout) == [], done.stdout
    assert clipnotes.__file__


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_more_than_eight_bits_are_refused_and_not_made_white(clip, mode):
    with pytest.raises(ValueError, match=f"an image of mode {mode}, .*save it in 8 bits"):
        serve.preprocess(Image.new(mode, (64, 64)), written_down(clip))
