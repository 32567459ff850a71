"""Which tokens of a text may look at which: not ahead, and not at padding."""

import torch
from torch import Tensor


def causal_mask(
    length: int,
    attention_mask: Tensor | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> Tensor:
    """Build what is added to the scores so that no token looks ahead, nor at padding.

    Where a token may not look stands the lowest number of the dtype: added to any score it leaves
    nothing after the softmax. With ``-inf``, a token that may look nowhere, as padding in front of
    a text, would be NaN, and its gradient with it. Here it looks everywhere, and its output is not
    used.

    Args:
        length: The number of tokens, L.
        attention_mask: (B, L), 1 or ``True`` for tokens, 0 for padding; ``None`` for all tokens.
        dtype: That of the scores.
        device: That of the scores.

    Returns:
        (1, 1, L, L), or (B, 1, L, L) with an ``attention_mask``: one for all heads.

    Example:
        >>> causal_mask(3, torch.tensor([[1, 1, 0]]))[0, 0] == 0
        tensor([[ True, False, False],
                [ True,  True, False],
                [ True,  True, False]])
    """
    visible = torch.ones(length, length, dtype=torch.bool, device=device).tril()[None, None]
    if attention_mask is not None:
        visible = visible & attention_mask.bool()[:, None, None, :]  # (B, 1, L, L)
    zeros = torch.zeros(visible.shape, dtype=dtype, device=device)
    return zeros.masked_fill(~visible, torch.finfo(dtype).min)
