"""A small random model of every kind of two-tower model that transformers has."""

import torch
import transformers
from packaging.version import Version
from transformers.utils import logging

from reference import randomise

HERE = Version(transformers.__version__)
#: The version in which transformers first had the model, of those that came after 4.49.
SINCE = {"MetaClip2": "4.56", "Aimv2": "4.54", "Siglip2": "4.50"}
SIZES = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 32,
}
TEXT = SIZES | {
    "vocab_size": 40,
    "max_position_embeddings": 16,
    "bos_token_id": 1,
    "eos_token_id": 3,
    "pad_token_id": 0,
}
VISION = SIZES | {"hidden_size": 24, "image_size": 16, "patch_size": 8}
SCALARS = {"logit_scale": 2.0, "logit_scale_a": 2.0, "temperature": 0.25, "logit_bias": -3.0}
SAMPLES = {  # what these need besides
    "Align": ({}, {}, {"projection_dim": 32}),  # as wide as its vision tower, which has none
    "AltCLIP": ({"project_dim": 14}, {}, {}),
    "Blip": ({"sep_token_id": 3}, {}, {}),
    "GroupViT": (
        {},
        {"depths": [1, 1, 1], "num_group_tokens": [4, 2, 0], "num_output_groups": [4, 2, 0]},
        {},
    ),
    "Siglip": ({"hidden_size": 24}, {}, {}),
    "Siglip2": ({"hidden_size": 24}, {"num_patches": 16}, {}),
    "XCLIP": (
        {},
        {"mit_hidden_size": 12, "mit_num_attention_heads": 2, "num_frames": 2},
        {"prompt_num_attention_heads": 2},
    ),
}
EFFICIENT = {
    "image_size": 32,
    "hidden_dim": 16,
    "depthwise_padding": [],
    "kernel_sizes": [3],
    "in_channels": [32],
    "out_channels": [16],
    "strides": [1],
    "num_block_repeats": [1],
    "expand_ratios": [1],
}
AUDIO = {
    "spec_size": 64,
    "num_mel_bins": 16,
    "window_size": 2,
    "depths": [1, 1],
    "num_hidden_layers": 2,
    "num_attention_heads": [2, 2],
    "patch_embeds_hidden_size": 8,
    "hidden_size": 16,
    "projection_dim": 12,
}


def two_towers(name, seed=0, **text):
    """Build a small model; ``Dual+BERT`` and ``Dual+CLIP`` are VisionTextDualEncoderModel."""
    torch.manual_seed(seed)
    if name.startswith("Dual"):
        of = transformers.CLIPTextConfig if name == "Dual+CLIP" else transformers.BertConfig
        config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
            transformers.ViTConfig(**VISION), of(**TEXT | text), projection_dim=12
        )
        return set_scalars(transformers.VisionTextDualEncoderModel(config))
    more_text, more_vision, more = SAMPLES.get(name, ({}, {}, {}))
    parts = {"vision_config": VISION | more_vision}
    if name == "Align":
        parts = {"vision_config": EFFICIENT}
    if name == "Clap":
        parts = {"audio_config": AUDIO}
    config = getattr(transformers, f"{name}Config")(
        text_config=TEXT | more_text | text, **{"projection_dim": 12, **parts, **more}
    )
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # BlipModel is going to be dropped, and we know
    try:
        return set_scalars(getattr(transformers, f"{name}Model")(config))
    finally:
        logging.set_verbosity(verbosity)


def set_scalars(model):
    """Set weights at random, and the scale and the bias to numbers that no other weight has."""
    for name, weight in randomise(model, 1).named_parameters():
        if name in SCALARS:
            weight.data.fill_(SCALARS[name])
    return model.eval()
