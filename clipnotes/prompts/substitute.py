"""Put vectors in the place of tokens, and check where they may go."""

import torch
from torch import Tensor

INITIAL_STD = 0.02  # close to the standard deviation of CLIP's token embeddings


def substitute(embeddings: Tensor, ctx: Tensor, positions: Tensor) -> Tensor:
    """Replace rows of token embeddings by context vectors, in a new tensor.

    ``embeddings`` itself stays as it is: it may be a leaf that needs a gradient, or a tensor that
    the caller still needs.

    Args:
        embeddings: (B, L, D).
        ctx: (n_ctx, D) for all texts, or (B, n_ctx, D); cast to the dtype and device of the rest.
        positions: (n_ctx,) for all texts, or (B, n_ctx), integers, different within a text.

    Returns:
        (B, L, D).

    Raises:
        ValueError: The context is for another number of texts, or a text is too short for it.

    Example:
        >>> tokens, ctx = torch.zeros(1, 4, 2), torch.ones(2, 2)
        >>> substitute(tokens, ctx, torch.tensor([1, 2]))[0, :, 0]
        tensor([0., 1., 1., 0.])
    """
    batch_size, length, _ = embeddings.shape
    for name, tensor, dims in (("ctx", ctx, 3), ("positions", positions, 2)):
        if tensor.dim() == dims and len(tensor) != batch_size:
            raise ValueError(
                f"{name} is for {len(tensor)} texts and {batch_size} are encoded: "
                "give as many, or one without the first dimension, for all texts"
            )
    if not positions.is_meta and int(positions.max()) >= length:
        raise ValueError(
            f"the text has {length} tokens, and the context stands at places "
            f"{int(positions.min())} to {int(positions.max())} (counted from 0): put placeholder "
            "tokens there, between what the tokenizer puts around a text"
        )
    return put(embeddings, ctx, positions)


def put(embeddings: Tensor, ctx: Tensor, positions: Tensor) -> Tensor:
    """Replace rows without looking at the places: a graph that is being recorded cannot."""
    batch_size, _, width = embeddings.shape
    ctx = ctx.to(embeddings).expand(batch_size, -1, -1)  # (B, n_ctx, D)
    places = positions.to(embeddings.device).expand(batch_size, -1)  # (B, n_ctx)
    return embeddings.scatter(1, places.unsqueeze(-1).expand(-1, -1, width), ctx)  # (B, L, D)


def check_ctx(ctx: Tensor, width: int) -> None:
    """Raise unless context vectors have a shape and dtype that a tower of this width takes."""
    wanted = f"(n_ctx, {width}), or (B, n_ctx, {width}) with one context a text"
    if not isinstance(ctx, Tensor):
        raise TypeError(f"ctx is a {type(ctx).__name__}: give a tensor of shape {wanted}")
    if ctx.dim() not in (2, 3) or ctx.shape[-1] != width or 0 in ctx.shape:
        raise ValueError(f"ctx has shape {tuple(ctx.shape)}: give {wanted}")
    if not ctx.is_floating_point():
        raise ValueError(f"ctx has dtype {ctx.dtype}: give floating point")


def places(start: int | Tensor, ctx: Tensor, limit: int) -> Tensor:
    """Return the place of each context vector, (n_ctx,) or (B, n_ctx); raise if it cannot be there.

    ``start`` is the first place of an unbroken context, or already all places. ``limit`` is the
    number of positions that the tower has.
    """
    n_ctx = ctx.shape[-2]
    if isinstance(start, int) and not isinstance(start, bool):
        start = torch.arange(start, start + n_ctx)
    if not isinstance(start, Tensor):
        raise TypeError(
            f"start is a {type(start).__name__}: give an integer, or a tensor of places"
        )
    shape = tuple(start.shape)
    allowed = [(n_ctx,), (ctx.shape[0] if ctx.dim() == 3 else shape[0] if shape else 1, n_ctx)]
    if shape not in allowed:
        raise ValueError(
            f"the places have shape {shape} and ctx has shape {tuple(ctx.shape)}: "
            f"give {n_ctx} places, for all texts or for each"
        )
    if start.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"the places have dtype {start.dtype}: give int64 or int32")
    first, last = int(start.min()), int(start.max())
    if first < 0 or last >= limit:
        raise ValueError(
            f"the context's {n_ctx} vectors would stand at places {first} to {last}: "
            f"the model has positions 0 to {limit - 1}"
        )
    if n_ctx > 1 and int(start.sort(dim=-1).values.diff(dim=-1).min()) == 0:
        raise ValueError("the places name one twice: each vector needs its own")
    return start.long()


def check_end(positions: Tensor, ends: Tensor) -> None:
    """Raise if a context vector stands where a text is read out, at its ``ends`` (B,)."""
    if positions.is_meta or ends.is_meta:
        return
    hit = (positions.to(ends.device) == ends.unsqueeze(-1)).any(dim=-1)  # (B,)
    if hit.any():
        text = int(hit.nonzero()[0])
        raise ValueError(
            f"text {text} is read out at place {int(ends[text])}, where a context vector would "
            "cover it: put a placeholder token into the text for each of the context's vectors, "
            "and say where the first one stands"
        )


def random_ctx(*shape: int, seed: int) -> Tensor:
    """Draw context vectors as CoOp does; torch's own generator is left alone."""
    generator = torch.Generator().manual_seed(seed)  # the CPU's, whatever the default device is
    return torch.randn(*shape, generator=generator, device="cpu") * INITIAL_STD
