"""Lay out prompts as tokens: where the context, the class name and the end stand. No model here.

A placeholder token keeps the place of each context vector until the vector replaces it. It is an
ordinary word. A new token would have a larger id than the end token, and models with
``eos_token_id=2`` take the largest id for the end of a text.

What stands around a text depends on the tokenizer, and what fills it up on the model. CLIP reads a
text out at its end and looks at nothing behind it. BERT reads at the first place, with a mask over
the padding. SigLIP reads at the last place of all, and the padding is a part of the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from clipnotes.classnames import check_classnames, token_ids
from clipnotes.compat.families.base import Reads
from clipnotes.prompts.reading import Around, around

Position = Literal["end", "middle", "front"]


@dataclass(frozen=True, eq=False)  # tensors have no single answer to ==
class Layout:
    """The prompts of all classes as tokens, as long as the longest prompt.

    In CLIP no token looks ahead, so what stands behind the end of a text never matters. Shorter
    prompts are filled up with the end token, but only to the longest prompt, not to the model's
    limit. For a model that reads at the last place, all are filled up to that limit.

    Attributes:
        input_ids: (n_classes, length) int64, with placeholders for the context vectors.
        ctx_positions: (n_classes, n_ctx) int64, where these stand, in the order of the vectors.
        eos: (n_classes,) int64, where each prompt is read out: in CLIP its end, in a BERT place 0,
            in SigLIP the last place of all.
        attention_mask: (n_classes, length) int64, 0 for padding; None where none is needed.
    """

    input_ids: Tensor
    ctx_positions: Tensor
    eos: Tensor
    attention_mask: Tensor | None = None

    @classmethod
    def build(
        cls,
        tokenizer: Any,
        classnames: Sequence[str],
        n_ctx: int,
        *,
        limit: int,
        position: Position = "end",
        template: str = "{}.",
        reads: Reads = "end",
    ) -> "Layout":
        """Lay out the prompts of CoOp (https://arxiv.org/abs/2109.01134, section 3.2).

        With four context tokens and the template ``"{}."``:

        - ``"end"``, the name at the end: ``start x x x x name . end``
        - ``"middle"``, the name in the middle: ``start x x name x x . end``
        - ``"front"``, the name in front: ``start name x x x x . end``

        Start and end are what the tokenizer puts around every text; SigLIP's has no start.

        If the number is odd, the larger half goes behind the name. Words of the template in front
        of ``{}`` stay with the name, and so does a full stop that shares a token with the last
        sign of the name, as in "kite (bird of prey).".

        Args:
            tokenizer: The model's, of transformers.
            classnames: One name per class. No two may be equal, as text or as tokens.
            n_ctx: Number of context tokens.
            limit: How many positions the model has.
            position: Where the name stands.
            template: The words around a name, with one ``{}``.
            reads: Where the model reads a text out: ``family_of(model).reads(model)``.

        Raises:
            TypeError: A name or the template is no string, or one string stands for all names.
            ValueError: The names, template, ``n_ctx`` or position are wrong, or do not fit; the
                tokenizer does not put there what the model reads.

        Example:
            >>> import clipnotes
            >>> tokenizer = clipnotes.load().tokenizer
            >>> layout = Layout.build(tokenizer, ["dog", "tulip"], 2, limit=32)
            >>> tokenizer.convert_ids_to_tokens(layout.input_ids[1].tolist())[1:-1]
            ['x</w>', 'x</w>', 'tu', 'lip</w>', '.</w>']
            >>> layout.ctx_positions.tolist(), layout.eos.tolist()
            ([[1, 2], [1, 2]], [5, 6])
        """
        names = check_classnames(classnames, tokenizer)
        check_n_ctx(n_ctx)
        _check_form(template, position)
        outside = around(tokenizer, reads)
        prompts = token_ids(tokenizer, [template.replace("{}", name) for name in names])
        _check_tokens(tokenizer, names, prompts, outside)
        _check_room(names, prompts, n_ctx, limit, outside)

        upto_name = [0] * len(names)  # a name at the end is behind the whole context
        if position != "end":
            upto_name = _count_upto_name(tokenizer, names, prompts, template)
        rows = [_row(*pair, n_ctx, position) for pair in zip(prompts, upto_name, strict=True)]
        first, last = len(outside.before), limit - 1
        places = [[i for i, token in enumerate(row, first) if token is None] for row in rows]
        ends = [{"end": first + len(row), "first": 0, "last": last}[reads] for row in rows]
        texts = [_whole(row, outside) for row in rows]
        length = limit if reads == "last" else max(map(len, texts))
        filled = [text + [outside.filler] * (length - len(text)) for text in texts]
        mask = [[1] * len(text) + [0] * (length - len(text)) for text in texts]
        return cls(
            input_ids=torch.tensor(filled, device="cpu"),
            ctx_positions=torch.tensor(places, device="cpu"),
            eos=torch.tensor(ends, device="cpu"),
            attention_mask=torch.tensor(mask, device="cpu") if reads == "first" else None,
        )


def _whole(row: list[int | None], outside: Around) -> list[int]:
    """Put start and end around a row, and placeholders for ``None``."""
    inside = [outside.placeholder if token is None else token for token in row]
    return [*outside.before, *inside, *outside.behind]


def _row(prompt: list[int], upto_name: int, n_ctx: int, position: Position) -> list[int | None]:
    """Insert the context, as ``None``, between the tokens of a prompt."""
    head, tail = prompt[:upto_name], prompt[upto_name:]
    half = [None] * (n_ctx // 2)
    rest = [None] * (n_ctx - n_ctx // 2)
    if position == "middle":
        return [*half, *head, *rest, *tail]
    return [*head, *half, *rest, *tail]  # for position "end", the head is empty


def check_n_ctx(n_ctx: int) -> None:
    """Raise unless the number of context tokens is a positive integer."""
    if not isinstance(n_ctx, int) or isinstance(n_ctx, bool):
        raise TypeError(f"n_ctx is {n_ctx!r}: give an integer, the number of context tokens")
    if n_ctx < 1:
        raise ValueError(f"n_ctx is {n_ctx}: at least one context token is needed")


def _check_form(template: str, position: Position) -> None:
    if not isinstance(template, str):
        raise TypeError(
            f"the template is a {type(template).__name__}: give a string with one '{{}}'"
        )
    if template.count("{}") != 1:
        raise ValueError(
            f"the template {template!r} has {template.count('{}')} places '{{}}': "
            "it needs exactly one, for the class name"
        )
    if position not in get_args(Position):
        allowed = ", ".join(map(repr, get_args(Position)))
        raise ValueError(f"position is {position!r}: choose one of {allowed}")


def _check_tokens(
    tokenizer: Any, names: list[str], prompts: list[list[int]], outside: Around
) -> None:
    name_ids = token_ids(tokenizer, names)
    for name, ids, prompt in zip(names, name_ids, prompts, strict=True):
        if not ids:
            raise ValueError(f"class {name!r} has no token: give a name that the tokenizer reads")
        if outside.special.intersection(prompt):
            raise ValueError(
                f"the prompt of class {name!r} holds a start or end token, or padding, which stand "
                "around a text: leave special tokens out of names and template"
            )


def _check_room(
    names: list[str], prompts: list[list[int]], n_ctx: int, limit: int, outside: Around
) -> None:
    name, prompt = max(zip(names, prompts, strict=True), key=lambda pair: len(pair[1]))
    # Without an end token, padding must still stand at the last place, where SigLIP reads.
    n_outside = len(outside.before) + max(1, len(outside.behind))
    room = limit - n_outside - len(prompt)
    if n_ctx > room:
        raise ValueError(
            f"class {name!r} takes {len(prompt)} tokens with its template, leaving room for "
            f"{max(room, 0)} context tokens of the {limit} positions ({n_outside} are for what the "
            f"tokenizer puts around a text); n_ctx is {n_ctx}: take fewer, or shorten the name"
        )


def _count_upto_name(
    tokenizer: Any, names: list[str], prompts: list[list[int]], template: str
) -> list[int]:
    """Count the tokens of each prompt up to the end of the name, as CoOp does.

    CoOp counts the tokens of these words alone. A sign at the end of the name may share a token
    with the sign behind it, as in "kite (bird of prey).": that token stays with the name.
    """
    before, after = template.split("{}")
    heads = token_ids(tokenizer, [before + name for name in names])
    for name, head, prompt in zip(names, heads, prompts, strict=True):
        in_a_word = after[:1].isalnum() and prompt[: len(head)] != head
        if in_a_word or len(prompt) < len(head):
            raise ValueError(
                f"in the template {template!r}, {after!r} becomes one token with the end of class "
                f"{name!r}, and the context should stand between: put a space behind the '{{}}', "
                "or take position='end'"
            )
    return [len(head) for head in heads]
