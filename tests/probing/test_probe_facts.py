"""What a probe measures is what the sources of these models say, fact by fact."""

import pytest
import transformers
from packaging.version import Version

import clipnotes
from two_towers import HERE, SINCE, two_towers

SCALE = 7.38905609893065  # exp(2)
TEXT = (
    "causal",
    "pooled_at",
    "end_token",
    "padding_matters",
    "padding_matters_with_mask",
    "cut_is_exact",
    "eager_equals_sdpa",
    "inputs_embeds",
    "text_width",
    "text_projection",
)
OTHER = (
    "image_input",
    "class_token",
    "image_pooling",
    "image_width",
    "image_projection",
    "shared_width",
    "features_are_unit",
    "unit_length",
    "scale",
    "bias",
    "loss",
)
END, LARGEST, FIRST, LAST = "first end token", "largest id", "position 0", "last position"
ABOVE, FORWARD = "embeddings only", "forward"
# Written by hand from each model's source: its text tower, and all the rest.
TEXTS = {
    "CLIP": (True, END, 3, False, False, True, True, ABOVE, 16, "matrix"),
    "CLIPSeg": (True, END, 3, False, False, True, True, ABOVE, 16, "matrix"),
    "MetaClip2": (True, END, 3, False, False, True, True, ABOVE, 16, "matrix"),
    "GroupViT": (True, END, 3, False, False, True, None, ABOVE, 16, "more than a matrix"),
    "XCLIP": (True, LARGEST, None, False, False, True, True, ABOVE, 16, "matrix"),
    "OwlViT": (True, LARGEST, None, False, False, True, True, ABOVE, 16, "matrix"),
    "Siglip": (False, LAST, None, True, True, False, True, ABOVE, 24, "matrix and bias"),
    "Siglip2": (False, LAST, None, True, True, False, True, ABOVE, 24, "matrix and bias"),
    "ChineseCLIP": (False, FIRST, None, True, False, False, True, FORWARD, 16, "matrix"),
    # Its states are those behind the matrix that takes 16 numbers to 14.
    "AltCLIP": (False, FIRST, None, True, False, False, True, FORWARD, 14, "matrix"),
    "Blip": (False, FIRST, None, True, False, False, None, FORWARD, 16, "more than a matrix"),
    "Align": (False, FIRST, None, True, False, False, None, FORWARD, 16, "matrix and bias"),
    "Clap": (False, FIRST, None, True, False, False, None, FORWARD, 16, "more than a matrix"),
    "Dual+BERT": (False, FIRST, None, True, False, False, True, FORWARD, 16, "more than a matrix"),
    "Dual+CLIP": (True, END, 3, False, False, True, True, ABOVE, 16, "matrix"),
    # It makes a causal mask only where it is given one, and SDPA drops that if it is all ones.
    "Aimv2": (None, END, 3, True, True, False, False, ABOVE, 16, "matrix"),
}
MATRIX, TOKEN, HEAD, MORE = "matrix", "class token", "attention head", "more than a matrix"
SOFTMAX = (12, False, True, SCALE, 0.0, "softmax")
SIGMOID = (24, False, True, SCALE, -3.0, "sigmoid")
OTHERS = {
    "CLIP": ("pixels", True, TOKEN, 24, MATRIX, *SOFTMAX),
    "CLIPSeg": ("pixels", True, TOKEN, 24, MATRIX, *SOFTMAX),
    "MetaClip2": ("pixels", True, TOKEN, 24, MATRIX, *SOFTMAX),
    "GroupViT": ("pixels", False, "mean", 24, MORE, *SOFTMAX),
    "XCLIP": ("frames", True, TOKEN, 24, MORE, *SOFTMAX),
    "OwlViT": ("pixels", True, TOKEN, 24, MATRIX, *SOFTMAX),
    "Siglip": ("pixels", False, HEAD, 24, "none", *SIGMOID),
    "Siglip2": ("patches", False, HEAD, 24, "none", *SIGMOID),
    "ChineseCLIP": ("pixels", True, TOKEN, 24, MATRIX, *SOFTMAX),
    "AltCLIP": ("pixels", True, TOKEN, 24, MATRIX, *SOFTMAX),
    "Blip": ("pixels", True, TOKEN, 24, MATRIX, *SOFTMAX),
    "Align": ("pixels", False, "mean", 32, "none", 32, False, True, 4.0, 0.0, "softmax"),
    "Clap": ("audio", None, None, None, None, 12, True, True, SCALE, 0.0, "softmax"),
    "Dual+BERT": ("pixels", True, TOKEN, 24, MATRIX, *SOFTMAX),
    "Dual+CLIP": ("pixels", True, TOKEN, 24, MATRIX, *SOFTMAX),
    "Aimv2": ("pixels", False, HEAD, 24, MATRIX, 12, False, True, SCALE, 0.0, None),
}
# In 4.x VisionTextDualEncoderModel gives a CLIP text tower an argument that it does not take.
WORKS_SINCE = SINCE | {"Dual+CLIP": "5.0"}
# Where transformers' own get_text_features or get_video_features fails, there is no fact.
FAILS = {("4.57.6", "ChineseCLIP"), ("4.57.6", "XCLIP")}
NAMES = [
    pytest.param(
        name,
        marks=[
            pytest.mark.skipif(
                Version(since := WORKS_SINCE.get(name, "4.49")) > HERE,
                reason=f"transformers has it since {since}",
            ),
            pytest.mark.skipif(
                (str(HERE), name) in FAILS, reason="it fails in this version of transformers"
            ),
        ],
    )
    for name in TEXTS
]
# These learnt to attend in one fused call between 4.49 and the newest version.
FUSED_LATER = ("CLIPSeg", "XCLIP", "OwlViT", "ChineseCLIP", "AltCLIP")


@pytest.mark.parametrize("name", NAMES)
def test_the_facts_of_a_class(name):
    found = clipnotes.probe(two_towers(name)).to_dict()
    wanted = dict(zip(TEXT, TEXTS[name], strict=True)) | dict(zip(OTHER, OTHERS[name], strict=True))
    if name in FUSED_LATER and Version("5.24") > HERE and found["eager_equals_sdpa"] is None:
        assert "says that it does not support SDPA" in found["how"]["eager_equals_sdpa"]
        wanted["eager_equals_sdpa"] = None
    for fact in ("scale", "bias"):
        assert found[fact] == pytest.approx(wanted.pop(fact), rel=1e-4), found["how"][fact]
    differ = {
        fact: (found[fact], found["how"][fact]) for fact in wanted if found[fact] != wanted[fact]
    }
    assert differ == {}
    parameter = {"Align": "1 / temperature", "Clap": "exp of logit_scale_a"}
    assert found["how"]["scale"] == parameter.get(name, "exp of logit_scale")
    assert all(found["how"].get(fact) for fact in (*TEXT, *OTHER)), "each says how"
    assert not any("not measured" in how for how in found["how"].values())


def test_versions_have_the_classes_that_they_are_said_to_have():
    for name, version in SINCE.items():
        assert hasattr(transformers, f"{name}Model") == (Version(version) <= HERE)
