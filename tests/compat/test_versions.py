"""What has different names in different versions of transformers, and where its source stands."""

import json
import subprocess
import sys
import urllib.parse
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from packaging.version import Version
from PIL import Image
from torch import nn
from transformers import (
    CLIPModel,
    CLIPVisionModel,
)

from clipnotes import compat
from clipnotes.compat import (
    changes_nothing,
    checkpoint_layers,
    image_processor_class,
    read_image_processor,
    recorded,
    source_url,
    vision_tower,
)
from every_class import images
from reference import tiny_clip


def test_checkpointed_layers_run_twice_and_learn_above_frozen_embeddings():
    clip = tiny_clip(0).train()
    vision, starts = vision_tower(clip), []
    vision.embeddings.requires_grad_(False)
    vision.pre_layrnorm.requires_grad_(False)
    for layer in vision.encoder.layers:
        layer.layer_norm1.register_forward_pre_hook(lambda *_: starts.append(1))
    checkpoint_layers(clip, use_reentrant=False)
    vision(images(clip))[1].sum().backward()
    assert all(weight.grad is not None for weight in vision.encoder.parameters())
    assert len(starts) == 2 * len(vision.encoder.layers)


def test_checkpointing_takes_the_name_that_is_there_and_the_version_s_default():
    heard = []
    old = SimpleNamespace(gradient_checkpointing_enable=heard.append)
    checkpoint_layers(old)
    checkpoint_layers(old, use_reentrant=True)
    both = SimpleNamespace(activation_checkpointing_enable=heard.append, **vars(old))
    both.gradient_checkpointing_enable = lambda how: pytest.fail("the deprecated name was called")
    checkpoint_layers(both, use_reentrant=False)
    assert heard == [None, {"use_reentrant": True}, {"use_reentrant": False}]


def test_only_transformers_own_hooks_change_nothing():
    def hook(*_):
        pass

    assert not changes_nothing(hook)
    assert not changes_nothing("".__len__)  # of no module
    for module in ("transformers.utils.output_capturing", "transformers.modeling_utils"):
        hook.__module__ = module
        assert changes_nothing(hook)


def test_the_image_processor_is_the_one_for_pil_pictures(monkeypatch):
    found = image_processor_class()
    given = found(size=4, crop_size=4)(Image.new("RGB", (8, 4)), return_tensors="np")
    assert given["pixel_values"].shape == (1, 3, 4, 4)
    both = SimpleNamespace(CLIPImageProcessor=list, CLIPImageProcessorPil=dict)
    monkeypatch.setitem(sys.modules, "transformers", both)
    assert image_processor_class() is dict
    del both.CLIPImageProcessorPil  # as in older versions
    assert image_processor_class() is list


@pytest.mark.parametrize("end", ["ImageProcessor", "ImageProcessorFast", "FeatureExtractor"])
def test_an_image_processor_has_several_names(end):
    assert image_processor_class(f"ViT{end}").__name__ in (
        "ViTImageProcessor",
        "ViTImageProcessorPil",
    )


@pytest.mark.parametrize("name", ["NoSuchImageProcessor", "pipeline", 3])
def test_a_name_of_no_image_processor(name):
    with pytest.raises(ValueError, match=rf"has no image processor {name!r}: give the name"):
        image_processor_class(name)


def test_what_kind_an_image_processor_is_is_read_from_its_file(tmp_path):
    for key in ("image_processor_type", "feature_extractor_type", "nothing"):
        words = {key: "ViTFeatureExtractor", "size": {"height": 4, "width": 6}}
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(words))
        found = read_image_processor(str(tmp_path), default="SiglipImageProcessor")
        made = found(Image.new("RGB", (8, 4)), return_tensors="np")["pixel_values"]
        assert made.shape == (1, 3, 4, 6)
        named = "Siglip" if key == "nothing" else "ViT"
        assert type(found).__name__ in (f"{named}ImageProcessor", f"{named}ImageProcessorPil")


def test_the_records_are_read_oldest_first():
    found = recorded()
    assert list(found) == sorted(found, key=Version) and "4.49.0" in found
    assert all(facts["transformers"] == version for version, facts in found.items())


@pytest.mark.parametrize(
    ("obj", "start"),
    [
        (CLIPModel, "class CLIPModel("),
        (CLIPVisionModel, "class CLIPVisionModel("),
        (CLIPModel.get_image_features, "def get_image_features("),  # behind decorators
        (CLIPModel.forward, "def forward("),
        (transformers.CLIPConfig, "class CLIPConfig("),
        (type(vision_tower(tiny_clip(0)).embeddings), "class CLIPVisionEmbeddings("),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_source_url_points_at_the_definition(obj, start):
    url = urllib.parse.urlsplit(source_url(obj))
    prefix = f"/huggingface/transformers/blob/v{transformers.__version__}/src/"
    assert (url.scheme, url.netloc) == ("https", "github.com")
    assert url.path.startswith(f"{prefix}transformers/models/clip/")
    file = Path(transformers.__file__).parents[1] / url.path.removeprefix(prefix)
    number = int(url.fragment.removeprefix("L"))
    assert file.read_text(encoding="utf-8").splitlines()[number - 1].lstrip().startswith(start)


@pytest.mark.parametrize(
    "obj", [nn.Linear, torch.softmax, len, "CLIPModel", 3, transformers, tiny_clip(0)]
)
def test_source_url_refuses_what_transformers_does_not_define(obj):
    with pytest.raises(TypeError, match="is not a class or function of transformers"):
        source_url(obj)


def test_importing_compat_does_not_import_transformers():
    code = "import sys, clipnotes.compat, clipnotes.model; sys.exit('transformers' in sys.modules)"
    root = Path(compat.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
