"""Break each stage of the vision tower on purpose: the comparison must notice, and say where.

A comparison that also passes on a broken tower proves nothing about a whole one.
"""

from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clipnotes.model import VisionTower
from reference import assert_same_stages, pixels, tiny_vision

# Several heads, patches and layers, so that every order matters, and an epsilon that shows.
CONFIG = {
    "hidden_size": 12,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "image_size": 9,
    "patch_size": 3,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-3,
}


def check(mutate=None, *, seed=0, interpolate=False):
    theirs = tiny_vision(seed, **CONFIG)
    ours = VisionTower.from_transformers(theirs)
    if mutate is not None:
        mutate(ours)
    images = pixels(theirs.config, seed, size=(12, 19) if interpolate else None)
    assert_same_stages(ours, theirs, images, interpolate=interpolate)


def after(module, change):
    """Change what a module returns."""
    original = module.forward
    module.forward = lambda *args, **kwargs: change(original(*args, **kwargs))


def skip(module):
    """Let a module return what it is given."""
    module.forward = lambda x: x


@pytest.mark.parametrize("interpolate", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_unbroken_control(seed, interpolate):
    check(seed=seed, interpolate=interpolate)


def patches_with_a_bias(tower):
    tower.embeddings.patch_embedding.bias = nn.Parameter(torch.full((12,), 0.01))


def patches_column_by_column(tower):
    after(tower.embeddings.patch_embedding, lambda x: x.transpose(2, 3))


def no_class_token(tower):
    after(tower.embeddings, lambda tokens: tokens[:, 1:])


def class_token_at_the_end(tower):
    after(tower.embeddings, lambda tokens: tokens.roll(-1, dims=1))


def class_token_of_zeros(tower):
    tower.embeddings.class_embedding.data.zero_()


def no_positions(tower):
    after(tower.embeddings.position_embedding, torch.zeros_like)


def no_positions_on_patches(tower):
    after(tower.embeddings.position_embedding, lambda x: x * (torch.arange(10) == 0)[:, None])


def positions_off_by_one(tower):
    tower.embeddings.position_ids = tower.embeddings.position_ids.roll(1)


def no_pre_norm(tower):
    skip(tower.pre_layrnorm)


def other_eps_in_pre_norm(tower):
    tower.pre_layrnorm.eps = 1e-5


def other_eps_in_first_norm(tower):
    tower.encoder.layers[0].layer_norm1.eps = 1e-5


def other_eps_in_second_norm(tower):
    tower.encoder.layers[1].layer_norm2.eps = 1e-5


def other_eps_in_post_norm(tower):
    tower.post_layernorm.eps = 1e-5


def heads_interleaved(tower):
    attention = tower.encoder.layers[0].self_attn
    attention._split_heads = lambda x: x.unflatten(-1, (-1, 3)).movedim(-1, 1)


def heads_merged_in_another_order(tower):
    attention = tower.encoder.layers[0].self_attn
    original = attention.out_proj.forward
    attention.out_proj.forward = lambda x: original(x.unflatten(-1, (3, 4)).mT.flatten(-2))


def number_of_heads(tower):
    attention = tower.encoder.layers[1].self_attn
    attention.num_heads, attention.head_dim = 2, 6


def no_scale(tower):
    tower.encoder.layers[0].self_attn.scale = 1.0


def query_and_key_swapped(tower):
    attention = tower.encoder.layers[1].self_attn
    attention.q_proj, attention.k_proj = attention.k_proj, attention.q_proj


def causal_mask(tower):
    attention, mask = tower.encoder.layers[0].self_attn, torch.full((10, 10), -torch.inf).triu(1)
    original = attention.forward
    attention.forward = lambda x, _, **kwargs: original(x, mask, **kwargs)


def causal_mask_on_the_fused_path_only(tower):
    attention, mask = tower.encoder.layers[0].self_attn, torch.full((10, 10), -torch.inf).triu(1)
    original = attention.forward
    attention.forward = lambda x, _, output_attentions: original(
        x, None if output_attentions else mask, output_attentions=output_attentions
    )


def gelu_for_quick_gelu(tower):
    tower.encoder.layers[0].mlp.activation = F.gelu


def no_second_norm(tower):
    skip(tower.encoder.layers[0].layer_norm2)


def no_residual_around_attention(tower):
    layer = tower.encoder.layers[0]

    def forward(x, mask, **kwargs):
        mixed, weights = layer.self_attn(layer.layer_norm1(x), mask, **kwargs)
        return mixed + layer.mlp(layer.layer_norm2(mixed)), weights

    layer.forward = forward


def no_residual_around_mlp(tower):
    layer = tower.encoder.layers[0]

    def forward(x, mask, **kwargs):
        mixed, weights = layer.self_attn(layer.layer_norm1(x), mask, **kwargs)
        return layer.mlp(layer.layer_norm2(x + mixed)), weights

    layer.forward = forward


def norm_after_the_branch(tower):
    layer = tower.encoder.layers[0]

    def forward(x, mask, **kwargs):
        mixed, weights = layer.self_attn(x, mask, **kwargs)
        x = layer.layer_norm1(x + mixed)
        return layer.layer_norm2(x + layer.mlp(x)), weights

    layer.forward = forward


def layers_in_reverse(tower):
    tower.encoder.layers = tower.encoder.layers[::-1]


def one_layer_less(tower):
    tower.encoder.layers = tower.encoder.layers[:1]


def post_norm_on_all_tokens(tower):
    norm = tower.post_layernorm
    after(tower, lambda out: out._replace(last_hidden_state=norm(out.last_hidden_state)))


def no_post_norm(tower):
    skip(tower.post_layernorm)


def pooled_from_the_last_token(tower):
    norm = tower.post_layernorm
    after(tower, lambda out: out._replace(pooler_output=norm(out.last_hidden_state[:, -1])))


def detached_tokens(tower):
    after(tower.embeddings, torch.Tensor.detach)


def detached_mlp(tower):
    after(tower.encoder.layers[1].mlp, torch.Tensor.detach)


def doubled_gradient(tower):
    after(tower.pre_layrnorm, lambda x: x + (x - x.detach()))


@pytest.mark.parametrize(
    ("mutate", "stage"),
    [
        (patches_with_a_bias, "patches"),
        (patches_column_by_column, "patches"),
        (no_class_token, "class token"),
        (class_token_at_the_end, "class token"),
        (class_token_of_zeros, "class token"),
        (no_positions, "class token"),  # it has a position, too
        (no_positions_on_patches, "positions"),
        (positions_off_by_one, "class token"),
        (no_pre_norm, "pre_layrnorm"),
        (other_eps_in_pre_norm, "pre_layrnorm"),
        (other_eps_in_first_norm, "attention weights 0"),
        (other_eps_in_second_norm, "layer 1"),
        (other_eps_in_post_norm, "pooler_output"),
        (heads_interleaved, "attention weights 0"),
        (heads_merged_in_another_order, "layer 0"),
        (number_of_heads, "attention weights 1"),
        (no_scale, "attention weights 0"),
        (query_and_key_swapped, "attention weights 1"),
        (causal_mask, "attention weights 0"),
        (causal_mask_on_the_fused_path_only, "last_hidden_state"),
        (gelu_for_quick_gelu, "layer 0"),
        (no_second_norm, "layer 0"),
        (no_residual_around_attention, "layer 0"),
        (no_residual_around_mlp, "layer 0"),
        (norm_after_the_branch, "attention weights 0"),
        (layers_in_reverse, "attention weights 0"),
        (one_layer_less, "number of hidden states"),
        (post_norm_on_all_tokens, "last_hidden_state"),
        (no_post_norm, "pooler_output"),
        (pooled_from_the_last_token, "pooler_output"),
        (detached_tokens, "gradient of pixel_values"),
        (detached_mlp, "gradient of "),
        (doubled_gradient, "gradient of "),
    ],
)
def test_broken_towers_are_noticed(mutate, stage):
    with pytest.raises(AssertionError, match=f"^{stage}"):
        check(mutate)


def interpolate_with(tower, **other):
    """Let our tower, and not the reference, stretch its positions in another way."""
    embeddings, original = tower.embeddings, F.interpolate
    whole = embeddings.interpolate_pos_encoding

    def broken(height, width):
        with patch.object(F, "interpolate", lambda x, **kwargs: original(x, **{**kwargs, **other})):
            return whole(height, width)

    embeddings.interpolate_pos_encoding = broken


def bilinear(tower):
    interpolate_with(tower, mode="bilinear")


def aligned_corners(tower):
    interpolate_with(tower, align_corners=True)


def antialiased(tower):
    interpolate_with(tower, antialias=True)


def rows_and_columns_swapped(tower):
    whole = tower.embeddings.interpolate_pos_encoding
    tower.embeddings.interpolate_pos_encoding = lambda height, width: whole(width, height)


@pytest.mark.parametrize(
    "mutate", [bilinear, aligned_corners, antialiased, rows_and_columns_swapped]
)
def test_broken_interpolation_is_noticed(mutate):
    with pytest.raises(AssertionError, match=r"^positions"):
        check(mutate, interpolate=True)
