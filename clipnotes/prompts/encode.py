"""Encode prompts with learnable context to class features, with a model's own text tower."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clipnotes.compat import family_of, text_projection, text_tower
from clipnotes.compat.carried import check_here
from clipnotes.compat.weights import token_table
from clipnotes.model import unit_length
from clipnotes.prompts.chunks import check_checkpointing, encode_in_chunks
from clipnotes.prompts.embeddings import inject
from clipnotes.prompts.known import why_not
from clipnotes.prompts.layout import Layout
from clipnotes.prompts.packed import bytes_per_token, run_chunk
from clipnotes.prompts.packing import pack
from clipnotes.prompts.substitute import check_ctx, places

MEMORY = 2**30  # bytes

_told: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()


def encode(
    model: nn.Module,
    layout: Layout,
    ctx: Tensor,
    *,
    fast: bool = True,
    memory: int | None = None,
) -> Tensor:
    """Encode the prompts of all classes.

    Two paths lead to the same numbers. The plain one puts the context into the model's own tower
    and runs all prompts through it, filled up to the longest. The fast one leaves out the tokens
    that do not matter and computes common ones once; ``packing`` says which, and ``packed`` how.
    If memory does not suffice, it computes the classes in chunks, and each chunk once more for its
    gradient. A tower that is not as transformers builds it takes the plain path, with a warning.

    A tower in which tokens look ahead, as in SigLIP and in every BERT, always takes the plain path,
    without a warning: what is common cannot be shared there, since every state depends on all
    tokens. Such classes are computed in chunks, too, if memory asks for it; and where padding is
    masked, as in a BERT, the fast path computes prompts of one length together, without padding.

    Args:
        model: ``CLIPModel`` or ``CLIPTextModelWithProjection``; a model of another family in
            ``compat.FAMILIES``. Its parameters get no gradient.
        layout: The prompts.
        ctx: (n_ctx, D) for all classes, or (n_classes, n_ctx, D).
        fast: Take the fast path if the tower allows it.
        memory: About how many bytes may be needed on top of the weights; 1 GiB unless given. At
            least one class is computed at once, whatever that needs. The plain path of CLIP itself
            computes all classes at once.

    Returns:
        (n_classes, P), unit length, differentiable in ``ctx``. The tower computes in the model's
        dtype. The features have the wider dtype of model and ``ctx``, so that their length is not
        rounded to half precision.

    Raises:
        TypeError: The model has no text tower or projection, or ``memory`` is no integer.
        ValueError: The context does not fit the layout or the tower, ``memory`` is not positive, or
            the model is offloaded. On the plain path also: the model is compiled, or its gradient
            checkpointing would reach weights that are not frozen.

    Example:
        >>> import clipnotes
        >>> clip = clipnotes.load()
        >>> layout = Layout.build(clip.tokenizer, ["rose", "tulip"], 4, limit=32)
        >>> features = encode(clip.model, layout, torch.zeros(4, 128))
        >>> plain = encode(clip.model, layout, torch.zeros(4, 128), fast=False)
        >>> features.shape, torch.allclose(features, plain, atol=1e-5)
        (torch.Size([2, 128]), True)
    """
    budget = check_memory(memory)
    if family_of(model).reads(model) != "end":
        features = encode_in_chunks(model, layout, ctx, each=False, budget=budget, fast=fast)
        return unit_length(features.to(torch.promote_types(features.dtype, ctx.dtype)))
    tower: Any = text_tower(model)
    project = text_projection(model)
    check_here(tower)
    if fast and _may_be_fast(tower, project):
        _check_places(tower, layout, ctx)
        vectors = ctx.flatten(0, -2).unsqueeze(1)  # (n_vectors, 1, D)
        features = _fast(tower, project, layout, vectors, ctx.dim() == 3, budget).squeeze(1)
    else:
        features = _plain(model, tower, project, layout, ctx)
    return unit_length(features.to(torch.promote_types(features.dtype, ctx.dtype)))


def encode_each(
    model: nn.Module,
    layout: Layout,
    ctxs: Tensor,
    *,
    fast: bool = True,
    memory: int | None = None,
) -> Tensor:
    """Encode the prompts of all classes with each of several contexts, such as one per image.

    ``ctxs`` is (n_contexts, n_ctx, D), and the result (n_contexts, n_classes, P). It is what
    ``encode`` would return for one context after the other, but as many are taken at once as memory
    allows, unless a CLIP takes the plain path.
    """
    budget = check_memory(memory)
    check_ctx(ctxs, token_table(model).embedding_dim)
    if family_of(model).reads(model) != "end":
        features = encode_in_chunks(model, layout, ctxs, each=True, budget=budget)
        features = features.unflatten(0, (len(ctxs), -1))  # (n_contexts, n_classes, P)
        return unit_length(features.to(torch.promote_types(features.dtype, ctxs.dtype)))
    tower: Any = text_tower(model)
    project = text_projection(model)
    check_here(tower)
    if fast and _may_be_fast(tower, project):
        _check_places(tower, layout, ctxs[0])
        vectors = ctxs.transpose(0, 1)  # (n_ctx, n_contexts, D)
        features = _fast(tower, project, layout, vectors, False, budget).transpose(0, 1)
    else:
        features = torch.stack([_plain(model, tower, project, layout, ctx) for ctx in ctxs])
    return unit_length(features.to(torch.promote_types(features.dtype, ctxs.dtype)))


def _plain(model: nn.Module, tower: Any, project: nn.Module, layout: Layout, ctx: Tensor) -> Tensor:
    check_checkpointing(tower)
    device = token_table(tower).weight.device
    with inject(model, ctx, layout.ctx_positions):
        # The pooled output may be at a wrong token, because old configs take the largest id for the
        # end. The layout knows where each prompt ends.
        states = tower(input_ids=layout.input_ids.to(device))[0]  # (n_classes, L, D)
        rows = torch.arange(len(states), device=device)
        return project(states[rows, layout.eos.to(device)])  # (n_classes, P)


def _check_places(tower: Any, layout: Layout, ctx: Tensor) -> None:
    check_ctx(ctx, token_table(tower).embedding_dim)
    limit = tower.embeddings.position_embedding.num_embeddings
    places(layout.ctx_positions, ctx, limit)
    if int(layout.eos.max()) >= limit:
        raise ValueError(
            f"the longest prompt has {int(layout.eos.max()) + 1} tokens and the model positions "
            f"for {limit}: build the layout for this model"
        )


def _fast(
    tower: Any, project: nn.Linear, layout: Layout, vectors: Tensor, per_class: bool, budget: int
) -> Tensor:
    """Encode with each context; vectors are (n_vectors, n_contexts, D), as for ``run_chunk``."""
    device = tower.embeddings.token_embedding.weight.device
    vectors = vectors.to(device)
    keeps = torch.is_grad_enabled() and vectors.requires_grad
    max_tokens = budget // bytes_per_token(tower, int(layout.eos.max()) + 1, keeps)
    packing = pack(layout, per_class, max_tokens, device)
    longest = max(len(chunk.rest.ids) for chunk in packing.chunks)
    groups = vectors.split(max(1, max_tokens // longest), dim=1)  # as many contexts as fit
    run: Callable[..., Tensor] = run_chunk
    if keeps and len(packing.chunks) * len(groups) > 1:
        # Keep nothing of a chunk, and compute it once more when its gradient is needed.
        run = partial(checkpoint, run_chunk, use_reentrant=False, preserve_rng_state=False)
    rows = [
        torch.cat([run(tower, chunk, group) for group in groups], dim=1)  # (n, n_contexts, D)
        for chunk in packing.chunks
    ]
    states = torch.cat(rows).index_select(0, packing.rank)  # (n_classes, n_contexts, D)
    bias = None if project.bias is None else project.bias.detach()
    return nn.functional.linear(states, project.weight.detach(), bias)  # (n_classes, n_contexts, P)


def _may_be_fast(tower: nn.Module, project: nn.Module) -> bool:
    reason = why_not(tower, project)
    if reason is None:
        return True
    warned = _told.setdefault(tower, set())
    if reason not in warned:  # warn once, not in each step of a training
        warned.add(reason)
        warnings.warn(
            f"prompts take the plain path, exact and slow, because {reason}. With fast=False it "
            "is taken without this warning.",
            stacklevel=3,
        )
    return False


def check_memory(memory: int | None) -> int:
    """Check a budget in bytes, and fill in the default."""
    if memory is None:
        return MEMORY
    if not isinstance(memory, int) or isinstance(memory, bool):
        raise TypeError(f"memory is {memory!r}: give an integer, a number of bytes")
    if memory < 1:
        raise ValueError(f"memory is {memory}: give a positive number of bytes")
    return memory
