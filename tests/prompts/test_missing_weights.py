"""Towers without one weight or bias: the fast path still gives the numbers of the plain one."""

import copy

import pytest

from both_paths import assert_same_paths, draw_ctx
from clipnotes.compat import text_tower
from clipnotes.prompts.layout import Layout
from reference_prompts import NAMES


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("mlp.fc1", "bias"),
        ("mlp.fc2", "bias"),
        ("self_attn.k_proj", "bias"),
        ("layer_norm1", "bias"),
        ("layer_norm2", "weight"),
    ],
)
@pytest.mark.filterwarnings("error")  # the fast path says when it is not taken: here it must be
def test_equals_the_plain_path(clip, module, name):
    model = copy.deepcopy(clip.model)
    setattr(text_tower(model).encoder.layers[1].get_submodule(module), name, None)
    layout = Layout.build(clip.tokenizer, NAMES, 4, limit=32)
    assert_same_paths(model, layout, draw_ctx(clip, layout, False, scale=1))
