"""The fast path beside the plain one."""

import torch

from clipnotes.compat import text_tower
from clipnotes.prompts.encode import encode
from clipnotes.prompts.substitute import random_ctx
from reference import assert_close


def gradients_and_features(model, layout, ctx, **kwargs):
    ctx = ctx.detach().clone().requires_grad_(True)
    features = encode(model, layout, ctx, **kwargs)
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((features * weights.to(features)).sum(), ctx)
    return features, gradient


def assert_same_paths(model, layout, ctx, tolerance=1e-5, **kwargs):
    features, gradient = gradients_and_features(model, layout, ctx, **kwargs)
    expected, wanted = gradients_and_features(model, layout, ctx, fast=False)
    assert features.dtype == expected.dtype
    assert gradient.dtype == wanted.dtype
    for name, ours, theirs in (("features", features, expected), ("gradient", gradient, wanted)):
        scale = theirs.abs().max()
        assert scale > 1e-6
        assert_close(name, ours / scale, theirs / scale, tolerance)
    with torch.no_grad():
        assert_close("without", encode(model, layout, ctx, **kwargs), expected, 10 * tolerance)


def draw_ctx(clip, layout, per_class, seed=0, scale=20):
    width = text_tower(clip.model).embeddings.token_embedding.embedding_dim
    shape = [layout.ctx_positions.shape[1], width]
    return scale * random_ctx(*([len(layout.eos)] * per_class), *shape, seed=seed)
