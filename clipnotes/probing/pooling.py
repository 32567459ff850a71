"""Where a text is read out, and what is between that vector and the features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clipnotes.probing.texts import L, Texts, vectors_of
from clipnotes.probing.watch import gradient, how_read, projection, replaced

Found = dict[str, tuple[Any, str]]


def read(texts: Texts, ids: Tensor, mask: Tensor | None = None) -> list[tuple[str, int]]:
    """Say for each text which of its last states the features are made of."""

    def run() -> Tensor:
        return texts.features(ids, mask)

    found = gradient(texts.place(), vectors_of(ids), run)
    if found is None:
        raise ValueError("the features do not depend on the last states")
    return [how_read(row) for row in found.norm(dim=-1)]  # (B, L, D) -> (B, L)


def pool(texts: Texts) -> Found:
    """Find the place by putting the end, and the largest id, here and there."""
    w = texts.words  # the largest of them is the first
    plain = texts.rows(
        [w[1], w[2], w[0], w[3], w[4], w[5], w[1], w[2]],
        [w[1], w[2], w[3], w[4], w[5], w[0], w[1], w[2]],
    )
    kinds = read(texts, plain)
    if kinds[0][0] != "one":
        name = "mean" if kinds[0][0] == "all" else "attention head"
        return _found(name, None, "the features move with the states of all tokens")
    where = [place for _, place in kinds]
    if where == [2, 5]:
        texts.end = texts.largest
        return _found("largest id", None, "moving the largest id moved the place")
    for end in texts.ends:
        ends = texts.rows([w[1], w[2], w[3], end, w[4], end, w[5], w[1]])
        if end != texts.largest:  # then it shows too that the largest id counts for nothing
            ends[0, 6] = texts.largest
        kind, place = read(texts, ends)[0]
        if kind == "one" and place in (3, 5) and place not in where:
            texts.end = end
            which = "first" if place == 3 else "last"
            how = f"of ends at 3 and 5, only the state at {place} moves the features"
            return _found(f"{which} end token", end, f"{how}; without one, position {where[0]}")
    mask = torch.ones_like(plain)
    mask[:, 5:] = 0
    hidden = read(texts, plain, mask)[0]
    how = f"only the state at {where[0]} of {L} moves the features"
    if where[0] == L - 1 and hidden == ("one", 4):
        return _found("last position of the mask", None, f"{how}, and 4 if a mask ends there")
    name = "last position" if where[0] == L - 1 else f"position {where[0]}"
    return _found(name, None, f"{how}, wherever end, largest id and mask are")


def _found(name: str, end: int | None, how: str) -> Found:
    said = "the end that it looks for" if end is not None else "it looks for none"
    return {"pooled_at": (name, how), "end_token": (end, said)}


def tokenized(texts: Texts, words: str = "a tulip") -> Found:
    """Name the token that is at that place in a real text."""
    if texts.tokenizer is None:
        return {"reads_out": (None, "no tokenizer was given")}
    ids = texts.tokenizer([words])["input_ids"][0]
    ((kind, place),) = read(texts, texts.rows(ids))
    if kind != "one":
        return {"reads_out": ("all", f"of {words!r}")}
    token = texts.tokenizer.convert_ids_to_tokens(ids[place])
    return {"reads_out": (token, f"token {place + 1} of the {len(ids)} of {words!r}")}


def widths(texts: Texts) -> Found:
    """Measure the width of the states and the map from them to the features."""
    w = texts.words
    ids = texts.rows([w[1], w[2], w[3], w[4], w[5], w[0], w[3], texts.end])
    kind, at = read(texts, ids)[0]
    last = texts.states(ids)
    width = (last.shape[-1], "of the last states")
    if kind != "one":
        said = "no single state is read out"
        return {"text_width": width, "text_projection": (None, said)}

    def of(pooled: Tensor) -> Tensor:
        def new(tensor: Tensor) -> Tensor:
            return tensor.index_copy(1, torch.tensor([at], device=tensor.device), pooled[:, None])

        with replaced(texts.place(), vectors_of(ids), new):
            return texts.features(ids)

    return {"text_width": width, "text_projection": projection(of, last[:, at])}
