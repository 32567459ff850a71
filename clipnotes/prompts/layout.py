"""Lay out prompts as tokens: where the context, the class name and the end stand. No model here.

A placeholder token keeps the place of each context vector until the vector replaces it. It is an
ordinary word. A new token would have a larger id than the end token, and models with
``eos_token_id=2`` take the largest id for the end of a text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from clipnotes.classnames import check_classnames, token_ids

Position = Literal["end", "middle", "front"]


@dataclass(frozen=True, eq=False)  # tensors have no single answer to ==
class Layout:
    """The prompts of all classes as tokens, as long as the longest prompt.

    No token looks ahead, so what stands behind the end of a text never matters. Shorter prompts
    are filled up with the end token, but only to the longest prompt, not to the model's limit.

    Attributes:
        input_ids: (n_classes, length) int64, with placeholders for the context vectors.
        ctx_positions: (n_classes, n_ctx) int64, where these stand, in the order of the vectors.
        eos: (n_classes,) int64, where each prompt ends and is read out.
    """

    input_ids: Tensor
    ctx_positions: Tensor
    eos: Tensor

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
    ) -> "Layout":
        """Lay out the prompts of CoOp (https://arxiv.org/abs/2109.01134, section 3.2).

        With four context tokens and the template ``"{}."``:

        - ``"end"``, the name at the end: ``start x x x x name . end``
        - ``"middle"``, the name in the middle: ``start x x name x x . end``
        - ``"front"``, the name in front: ``start name x x x x . end``

        If the number is odd, the larger half goes behind the name. Words of the template in front
        of ``{}`` stay with the name, and so does a full stop that shares a token with the last
        sign of the name, as in "kite (bird of prey).".

        Args:
            tokenizer: A CLIP tokenizer of transformers.
            classnames: One name per class. No two may be equal, as text or as tokens.
            n_ctx: Number of context tokens.
            limit: How many positions the model has.
            position: Where the name stands.
            template: The words around a name, with one ``{}``.

        Raises:
            TypeError: A name or the template is no string, or one string stands for all names.
            ValueError: The names, template, ``n_ctx`` or position are wrong, or do not fit.

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
        prompts = token_ids(tokenizer, [template.replace("{}", name) for name in names])
        _check_tokens(tokenizer, names, prompts)
        _check_room(names, prompts, n_ctx, limit)

        upto_name = [0] * len(names)  # a name at the end is behind the whole context
        if position != "end":
            upto_name = _count_upto_name(tokenizer, names, prompts, template)
        rows = [_row(*pair, n_ctx, position) for pair in zip(prompts, upto_name, strict=True)]
        places = [[i for i, token in enumerate(row, 1) if token is None] for row in rows]
        return cls(
            input_ids=torch.tensor(_fill_up(tokenizer, rows), device="cpu"),
            ctx_positions=torch.tensor(places, device="cpu"),
            eos=torch.tensor([1 + len(row) for row in rows], device="cpu"),
        )


def _fill_up(tokenizer: Any, rows: list[list[int | None]]) -> list[list[int]]:
    """Put start and end around rows, fill them up with the end, and placeholders for ``None``."""
    ((placeholder,),) = token_ids(tokenizer, ["x"])
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    longest = max(map(len, rows))
    return [
        [start, *(placeholder if token is None else token for token in row)]
        + [end] * (longest + 1 - len(row))
        for row in rows
    ]


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


def _check_tokens(tokenizer: Any, names: list[str], prompts: list[list[int]]) -> None:
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id}
    name_ids = token_ids(tokenizer, names)
    for name, ids, prompt in zip(names, name_ids, prompts, strict=True):
        if not ids:
            raise ValueError(f"class {name!r} has no token: give a name that the tokenizer reads")
        if special.intersection(prompt):
            raise ValueError(
                f"the prompt of class {name!r} holds a start or end token, where the text would "
                "be taken to end: leave special tokens out of names and template"
            )


def _check_room(names: list[str], prompts: list[list[int]], n_ctx: int, limit: int) -> None:
    name, prompt = max(zip(names, prompts, strict=True), key=lambda pair: len(pair[1]))
    room = limit - 2 - len(prompt)  # start and end
    if n_ctx > room:
        raise ValueError(
            f"class {name!r} takes {len(prompt)} tokens with its template, leaving room for "
            f"{max(room, 0)} context tokens of the {limit} positions (start and end take two); "
            f"n_ctx is {n_ctx}: take fewer, or shorten the name"
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
