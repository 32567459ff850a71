"""Draw texts as tokens: which token looks at which, and what stands where in a prompt."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from clipnotes.plots.fonts import as_text
from clipnotes.plots.theme import ACCENT, HEAT, bare


def token_map(
    values: Tensor, tokens: Sequence[str], mark: int | None = None, ax: Axes | None = None
) -> Axes:
    """Draw an amount for each pair of tokens: each row is a token that looks at the columns.

    Args:
        values: (L, L), attention weights, or a mask of what is allowed.
        tokens: The L tokens, written along both sides.
        mark: The row to frame.
        ax: The Axes to draw in; ``None`` makes a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: The values do not fit the tokens.

    Example:
        >>> import torch
        >>> from clipnotes import plots
        >>> ax = plots.token_map(torch.eye(3), ["start", "tulip", "end"], mark=2)
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['start', 'tulip', 'end']
    """
    n = len(tokens)
    if values.shape != (n, n):
        raise ValueError(f"values is {tuple(values.shape)}; {n} tokens need ({n}, {n})")
    if ax is None:
        side = max(2.2, 0.36 * n)
        _, ax = plt.subplots(figsize=(side, side))
    ax.imshow(values.detach().float().cpu().numpy(), cmap=HEAT, vmin=0)
    text = {"fontsize": 8, **as_text(tokens)}
    ax.set_xticks(range(n), tokens, rotation=60, ha="right", rotation_mode="anchor", **text)
    ax.set_yticks(range(n), tokens, **text)
    ax.tick_params(length=0)
    ax.set(xlabel="looks at", ylabel="this token")
    ax.spines[:].set_visible(False)
    if mark is not None:
        frame = Rectangle((-0.5, mark - 0.5), n, 1, fill=False, edgecolor=ACCENT, linewidth=2)
        ax.add_patch(frame).set_clip_on(False)
    return ax


def prompt_layout(
    tokens: Sequence[Sequence[str]], ctx_positions: Tensor, eos: Tensor, ax: Axes | None = None
) -> Axes:
    """Draw prompts as rows of cells, one cell per token, to show context, name and end.

    Args:
        tokens: n_classes lists of L tokens, written into the cells of the names.
        ctx_positions: (n_classes, n_ctx), the places of the context vectors, written v1, v2, ...
        eos: (n_classes,), the places of the ends. The padding behind them is left white.
        ax: The Axes to draw in; ``None`` makes a new figure.

    Returns:
        The Axes.

    Example:
        >>> import torch
        >>> from clipnotes import plots
        >>> places, ends = torch.tensor([[1, 2]]), torch.tensor([4])
        >>> ax = plots.prompt_layout([["<s>", "x", "x", "rose", "</s>"]], places, ends)
        >>> [text.get_text() for text in ax.texts]
        ['start', 'v1', 'v2', 'rose', 'end']
    """
    rows, columns = len(tokens), max(map(len, tokens))
    if ax is None:
        ax = plt.subplots(figsize=(0.6 * columns, 0.35 * rows))[1]
    bare(ax)
    font = as_text([token for row in tokens for token in row])
    for y, (row, places, end) in enumerate(
        zip(tokens, ctx_positions.tolist(), eos.tolist(), strict=True)
    ):
        for x, token in enumerate(row[: end + 1]):
            text, colour = token.removesuffix("</w>"), "#bfdbfe"
            if x in places:
                text, colour = f"v{places.index(x) + 1}", "#fdba74"
            elif x in (0, end):
                text, colour = "end" if x else "start", "#d1d5db"
            ax.add_patch(Rectangle((x + 0.03, y + 0.06), 0.94, 0.88, facecolor=colour))
            ax.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=7, **font)
    ax.set(xlim=(0, columns), ylim=(rows, 0))
    return ax
