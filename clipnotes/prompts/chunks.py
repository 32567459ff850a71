"""Encode prompts with a model's own text tower, a few at a time, whatever its family.

In a tower where every token looks at every other, nothing can be shared. What can be done is to
keep to a budget of memory: prompts are computed in chunks, and where there are several, each chunk
once more for its gradient. Where padding is masked, prompts of one length go together, without it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clipnotes.compat import family_of
from clipnotes.compat.carried import check_here
from clipnotes.compat.weights import token_table
from clipnotes.prompts.embeddings import inject
from clipnotes.prompts.layout import Layout
from clipnotes.prompts.substitute import check_ctx


def encode_in_chunks(
    model: nn.Module, layout: Layout, ctx: Tensor, *, each: bool, budget: int, fast: bool = True
) -> Tensor:
    """Encode the prompts of all classes, not normalised, in about ``budget`` bytes.

    Args:
        model: A model of any family.
        layout: The prompts, laid out for this model.
        ctx: (n_ctx, D) for all classes, or (n_classes, n_ctx, D); with ``each``, (n, n_ctx, D).
        each: Every class gets every one of the n contexts.
        budget: In bytes, on top of the weights. At least one prompt is computed at once.
        fast: Where padding is masked, leave it out: prompts of one length go together.

    Returns:
        (n_classes, P), or (n * n_classes, P) with ``each``, the classes of the first context first.
    """
    check_here(model)
    check_ctx(ctx, token_table(model).embedding_dim)
    check_checkpointing(family_of(model).text_tower(model))
    n_classes = len(layout.eos)
    classes = torch.arange(n_classes, device="cpu")
    contexts = classes if ctx.dim() == 3 else torch.zeros_like(classes)
    if each:
        contexts = torch.arange(len(ctx), device="cpu").repeat_interleave(n_classes)
        classes = classes.repeat(len(ctx))
    elif ctx.dim() == 3 and len(ctx) != n_classes:
        raise ValueError(
            f"ctx is for {len(ctx)} classes and the layout for {n_classes}: give as many, or one "
            "without the first dimension, for all classes"
        )
    ctx = ctx.unsqueeze(0) if ctx.dim() == 2 else ctx  # (n, n_ctx, D)
    keeps = torch.is_grad_enabled() and ctx.requires_grad
    several = max(1, budget // bytes_per_prompt(model, layout.input_ids.shape[1], keeps))
    lengths = torch.full_like(classes, layout.input_ids.shape[1])
    if fast and layout.attention_mask is not None:
        lengths = layout.attention_mask.sum(1).cpu()[classes]
    order = lengths.argsort(stable=True)
    same = lengths[order].unique_consecutive(return_counts=True)[1].tolist()
    rows = [part for group in order.split(same) for part in group.split(several)]
    parts = [(classes[row], contexts[row], int(lengths[row[0]])) for row in rows]
    if keeps and len(classes) > several:
        # Keep nothing of a chunk. Its context is put in once more when its gradient is needed.
        chunks = [checkpoint(_run, model, layout, ctx, *p, use_reentrant=False) for p in parts]
    else:
        chunks = [_run(model, layout, ctx, *part) for part in parts]
    return torch.cat(chunks)[order.argsort().to(chunks[0].device)]


def _run(
    model: nn.Module, layout: Layout, ctx: Tensor, classes: Tensor, contexts: Tensor, length: int
) -> Tensor:
    """Encode the first tokens of some classes (n,), each with one of the contexts (n,): (n, P)."""
    device = token_table(model).weight.device
    mask = layout.attention_mask
    vectors = ctx.index_select(0, contexts.to(ctx.device))  # (n, n_ctx, D)
    with inject(model, vectors, layout.ctx_positions[classes]):
        return family_of(model).text_features(
            model,
            layout.input_ids[classes, :length].to(device),
            None if mask is None else mask[classes, :length].to(device),
        )


def bytes_per_prompt(model: nn.Module, length: int, keeps: bool) -> int:
    """Estimate what a tower of any family needs for a prompt, with all layers kept or not."""
    family, table = family_of(model), token_table(model)
    config: Any = family.text_tower(model).config
    width, wide = config.hidden_size, config.intermediate_size
    # Per token: what norms, attention and MLP take and give, and the shares of attention.
    layer = 12 * width + 3 * wide + 2 * config.num_attention_heads * length
    n_layers = len(family.text_layers(model)) if keeps else 1
    return (n_layers + 1) * layer * length * table.weight.element_size()


def check_checkpointing(tower: nn.Module) -> None:
    """Raise if backward would compute layers again and reach weights that are not frozen."""
    if not torch.is_grad_enabled():
        return
    again = any(getattr(m, "gradient_checkpointing", False) and m.training for m in tower.modules())
    if again and any(weight.requires_grad for weight in tower.parameters()):
        raise ValueError(
            "the text tower is in training mode with gradient checkpointing, so backward would "
            "compute its layers again and give their weights gradients: freeze the model "
            "(model.requires_grad_(False)), or set model.eval()"
        )
