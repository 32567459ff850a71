"""A classifier taken home as ONNX: onnxruntime, numpy and pillow alone name pictures alike."""

import logging
import os
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from clipnotes.pictures.composite import composite
from clipnotes.prompts import VPT
from clipnotes.prompts.saved import onnx_file
from families import tiny_clip
from reference import agree
from taken_home import SAME, assert_same, bare, classifiers, emoji, probabilities, read

onnxruntime = pytest.importorskip(
    "onnxruntime", reason='not installed: pip install -e ".[export]"', exc_type=ImportError
)
onnx = pytest.importorskip("onnx", exc_type=ImportError)

KINDS = ["coop", "tip", "vpt", "maple", "lora", "prolip"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two hundred pictures, in files too: transparent, and two of other sizes and shapes."""
    folder = tmp_path_factory.mktemp("pictures")
    images, names = emoji()
    images[0] = images[0].resize((301, 120))
    images[1] = images[1].resize((40, 77))
    assert sum(image.mode == "RGBA" for image in images) > 100
    paths = [folder / f"{i}.png" for i in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        image.save(path)
    return images, names, paths


@pytest.fixture(scope="module")
def every(clip, pictures):
    return classifiers(clip, clip.encode_image(pictures[0]), pictures[1])


@pytest.fixture(scope="module")
def homes(every, tmp_path_factory):
    """Each of these exported once, without a word."""
    folder = tmp_path_factory.mktemp("homes")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in KINDS:
            every[name].export(folder / name)
    return folder


def session_of(home):
    path = str(home / "classifier.onnx")
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", KINDS)
def test_the_program_in_the_folder_names_two_hundred_pictures_alike(every, pictures, homes, name):
    images, _, paths = pictures
    lines = bare(homes / name / "serve.py", *paths)
    assert [line[0] for line in lines] == [str(path) for path in paths]
    wanted = probabilities(every[name], images)
    assert_same([line[1:] for line in lines], wanted, every[name].classnames)


@pytest.mark.parametrize("name", KINDS)
def test_pixels_go_in_and_logits_come_out_for_any_number_of_images(every, homes, name):
    session, classifier, card = session_of(homes / name), every[name], read(homes / name)
    for n in (1, 2, 17):
        pixels = torch.randn(n, 3, 64, 64)
        with torch.no_grad():
            own = classifier.takes_pixels
            given = classifier.inputs_of(pixels) if own else _features(classifier.clip, pixels)
            wanted = classifier.logits(given) / classifier.temperature
        values = session.run(list(card["outputs"]), {"pixel_values": pixels.numpy()})
        found = dict(zip(card["outputs"], values, strict=True))
        assert agree(torch.from_numpy(found["logits"]), wanted, 1e-4)
        assert np.abs(found["probabilities"] - wanted.softmax(-1).numpy()).max() < SAME
        assert np.allclose(found["probabilities"].sum(-1), 1, atol=1e-5)


@torch.no_grad()
def _features(clip, pixels):
    features = clip.model.get_image_features(pixel_values=pixels)
    features = getattr(features, "pooler_output", features)
    return torch.nn.functional.normalize(features, dim=-1)


def test_the_card_tells_what_the_file_has(homes):
    card, session = read(homes / "coop"), session_of(homes / "coop")
    kinds = {"tensor(float)": "float32"}
    for said, there in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        found = {one.name: {"shape": one.shape, "dtype": kinds[one.type]} for one in there}
        assert card[said] == found
    assert card["inputs"] == {"pixel_values": {"shape": ["batch", 3, 64, 64], "dtype": "float32"}}
    model = onnx.load(homes / "coop" / "classifier.onnx")
    assert card["opset"] == next(one.version for one in model.opset_import if not one.domain)
    assert card["versions"].keys() >= {"torch", "transformers", "onnx", "onnxscript", "onnxruntime"}
    assert sorted(os.listdir(homes / "coop")) == ["classifier.json", "classifier.onnx", "serve.py"]


def test_the_file_holds_one_tower_and_nothing_of_the_machine_that_made_it(clip, homes):
    size = sum(weight.numel() * 4 for weight in clip.model.vision_model.parameters())
    content = (homes / "vpt" / "classifier.onnx").read_bytes()
    assert size < len(content) < 1.05 * size + 200_000
    assert b"modeling_clip" not in content and b".py" not in content
    assert not onnx.load_from_string(content).graph.initializer[0].HasField("data_location")


def test_a_deep_prompt_is_in_the_tower_that_was_exported(clip, homes, every):
    pixels = torch.randn(3, 3, 64, 64)
    ((logits), _) = session_of(homes / "vpt").run(None, {"pixel_values": pixels.numpy()})
    without = every["vpt"].head()(_features(clip, pixels))
    assert not agree(torch.from_numpy(logits), without, 1e-2)


def test_a_siglip_goes_home_too(tmp_path):
    clip, names = tiny_clip("Siglip"), ["rose", "tulip", "fox"]
    made = VPT(clip, names, n_ctx=2, templates="a photo of a {}")
    made.export(tmp_path / "home")
    images = [Image.new("RGB", (9, 8), colour) for colour in ("red", "teal", "gold")]
    for i, image in enumerate(images):
        image.save(tmp_path / f"{i}.png")
    lines = bare(tmp_path / "home" / "serve.py", *(tmp_path / f"{i}.png" for i in range(3)))
    assert_same([line[1:] for line in lines], probabilities(made, images), names)
    bias = clip.model.logit_bias.item()
    assert np.allclose(read(tmp_path / "home")["bias"], bias, atol=1e-4)


def test_a_file_that_computes_something_else_is_not_written(every, homes, tmp_path, monkeypatch):
    content, run, seen = (homes / "coop" / "classifier.onnx").read_bytes(), onnx_file._run, []
    monkeypatch.setattr(onnx_file, "_exported", lambda *_: content)
    every["coop"].export(tmp_path / "right")

    def off_by_a_little(content, pixels):
        logits, probabilities = run(content, pixels)
        seen.append(len(pixels))
        return logits, probabilities + 2e-4 * (len(pixels) == 3)

    monkeypatch.setattr(onnx_file, "_run", off_by_a_little)
    with pytest.raises(ValueError, match=r"on 3 images, gives other probabilities.*by 0\.0002"):
        every["coop"].export(tmp_path / "deep" / "home")
    assert seen == [1, 3] and os.listdir(tmp_path) == ["right"]


def test_hooks_and_logs_are_as_before(clip, every, tmp_path):
    from clipnotes.compat import vision_tower

    modules = list(vision_tower(clip.model).modules())
    # Other tests may have left some, as transformers does where it is asked for attentions.
    hooks = [(dict(m._forward_pre_hooks), dict(m._forward_hooks)) for m in modules]
    every["vpt"].export(tmp_path / "home")
    assert hooks == [(dict(m._forward_pre_hooks), dict(m._forward_hooks)) for m in modules]
    assert logging.getLogger("torch.onnx").level != logging.ERROR


def test_a_tower_that_is_too_large_is_refused_before_it_is_exported():
    onnx_file.check_size([torch.empty(2**28, device="meta")])
    with pytest.raises(ValueError, match=r"have 2\.0 GiB.*export to 'safetensors'"):
        onnx_file.check_size([torch.empty(2**29, device="meta")])


def test_the_picture_is_laid_on_white_at_home(every, pictures, homes, tmp_path):
    """The same picture, flat and transparent, gets the same probability."""
    image = pictures[0][5]
    image.save(tmp_path / "clear.png")
    composite(image).save(tmp_path / "flat.png")
    clear, flat = bare(homes / "coop" / "serve.py", tmp_path / "clear.png", tmp_path / "flat.png")
    assert clear[1] == flat[1] and abs(float(clear[2]) - float(flat[2])) < 1e-5
