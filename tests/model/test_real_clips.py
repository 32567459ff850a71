"""The sizes of OpenAI's CLIPs agree with what is known of them from elsewhere."""

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from clipnotes.model import REAL_CLIPS, real_config

#: Millions of parameters, as open_clip's docs/model_profile.csv has them.
MILLIONS = {"ViT-B/32": 151.3, "ViT-B/16": 149.6, "ViT-L/14": 427.6, "ViT-L/14-336": 427.9}


def on_meta(name):
    with torch.device("meta"):
        return CLIPModel(real_config(name))


@pytest.mark.parametrize("name", REAL_CLIPS)
def test_it_has_as_many_parameters_as_the_real_one(name):
    model = on_meta(name)
    counted = sum(p.numel() for p in model.parameters())
    assert round(counted / 1e6, 1) == MILLIONS[name]
    assert all(p.is_meta for p in model.parameters())


def test_vit_b_32_is_what_transformers_takes_unless_told_otherwise():
    ours, theirs = real_config("ViT-B/32").to_dict(), CLIPConfig().to_dict()
    for tower in ("text_config", "vision_config"):
        differ = {key for key in theirs[tower] if ours[tower][key] != theirs[tower][key]}
        assert differ <= {"eos_token_id"}
    assert ours["projection_dim"] == theirs["projection_dim"]


def test_a_configuration_is_new_each_time():
    first = real_config("ViT-B/16")
    first.vision_config.patch_size = 1
    assert real_config("ViT-B/16").vision_config.patch_size == 16


def test_every_text_tower_is_openais():
    for name in REAL_CLIPS:
        text = real_config(name).text_config
        assert (text.vocab_size, text.max_position_embeddings, text.eos_token_id) == (49408, 77, 2)
        assert text.hidden_size / text.num_attention_heads == 64


def test_a_name_that_no_clip_has():
    with pytest.raises(ValueError, match=r"no CLIP 'ViT-H/14'; there are ViT-B/32, ViT-B/16"):
        real_config("ViT-H/14")
