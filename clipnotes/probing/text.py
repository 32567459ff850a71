"""What the text tower does when one thing about a text is changed."""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from clipnotes.compat.implementations import attention_as, says_it_has_sdpa
from clipnotes.probing.pooling import Found
from clipnotes.probing.texts import Texts, vectors_of
from clipnotes.probing.watch import ROUNDING, Place, difference, gradient, head, replaced

SAME = 1e-4  # of the largest number: two kernels may round this differently
WAYS = ("eager", "sdpa")
MASKS = ("no mask", "a mask of ones")


class Fused(TorchFunctionMode):
    """Counts how often attention is computed in one fused call."""

    calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += func is torch.nn.functional.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


def ways(texts: Texts) -> tuple[tuple[str, ...], str]:
    """Say in which ways the text tower can attend, and why not in both."""
    tower = next((m for _, m in texts.chain if hasattr(type(m), "_supports_sdpa")), None)
    if tower is not None and not says_it_has_sdpa(tower):
        return (), f"{type(tower).__name__} says that it does not support SDPA"
    ids = texts.rows(texts.words)
    counts = {}
    for way in WAYS:
        with torch.no_grad(), attention_as(texts.model, way), Fused() as fused:
            texts.features(ids)
        counts[way] = fused.calls
    if counts["eager"] or not counts["sdpa"]:
        return (), f"it cannot be switched: fused calls when told eager and SDPA {counts}"
    return WAYS, ""


def attends(texts: Texts) -> Found:
    """Ask whether early states move with later tokens, with each mask and way of attending."""
    w = texts.words
    ids = texts.rows([w[1], w[2], w[3], w[4], w[5], w[0], w[3], texts.end])
    both, why_not = ways(texts)
    moved: dict[tuple[str, str], float] = {}
    seen: dict[tuple[str, str], Tensor] = {}
    for way in both or ("",):
        for name, mask in zip(MASKS, (None, torch.ones_like(ids)), strict=True):
            with attention_as(texts.model, way) if way else nullcontext():
                seen[way, name] = texts.states(ids, mask)
                moved[way, name] = _from_later(texts, ids, mask)
    # What a mask hides has a gradient of exactly zero, however small the weights are.
    answers = {key: amount < 1e-7 for key, amount in moved.items()}
    if len(set(answers.values())) == 1:
        causal = answers.popitem()[1]
        how = f"gradient of states 0 to 3 at tokens 4 to 7: {max(moved.values()):.1g} of their own"
    else:
        causal = None
        how = "it depends: " + "; ".join(
            f"{way or 'attention'} with {name} {'is' if answers[way, name] else 'is not'} causal"
            for way, name in answers
        )
    found: Found = {"causal": (causal, how), "eager_equals_sdpa": (None, why_not)}
    if both:
        apart = {name: difference(seen["eager", name], seen["sdpa", name]) for name in MASKS}
        numbers = ", ".join(f"{amount:.1g} with {name}" for name, amount in apart.items())
        equal = max(apart.values()) < SAME
        found["eager_equals_sdpa"] = (equal, f"the states differ by {numbers}")
    return found


def _from_later(texts: Texts, ids: Tensor, mask: Tensor | None) -> float:
    """How much the first four states move with later tokens, where with their own it is one."""
    want = vectors_of(ids)
    table = Place(texts.table, 0, ids)
    early: list[Tensor] = []

    def run() -> Tensor:
        def keep(tensor: Tensor) -> Tensor:
            early.append(tensor[:, :4])
            return tensor

        with replaced(texts.place(), want, keep):
            texts.features(ids, mask)
        return early[-1]

    found = gradient(table, want, run)
    if found is None:
        raise ValueError("the states do not depend on the tokens")
    size = found.abs().amax(dim=(0, 2))  # (1, L, D) -> (L,)
    return float(size[4:].max() / size[:4].max())


def padding(texts: Texts) -> Found:
    """Put padding behind a text, with and without a mask over it."""
    w = texts.words
    text = [w[1], w[2], w[3], w[4], texts.end]
    short, long = texts.rows(text), texts.rows([*text, *[texts.pad] * 3])
    mask = torch.ones_like(long)
    mask[:, len(text) :] = 0
    with torch.no_grad():
        alone = texts.features(short)
        plain = difference(texts.features(long), alone)
        masked = difference(texts.features(long, mask), alone)
    how = f"three more of id {texts.pad} move the features by"
    return {
        "padding_matters": (plain > ROUNDING, f"{how} {plain:.1g} of their size"),
        "padding_matters_with_mask": (masked > ROUNDING, f"{how} {masked:.1g}"),
    }


def cut(texts: Texts) -> Found:
    """Take away all that is behind the end of a text."""
    w = texts.words
    whole = texts.rows([w[1], w[2], w[3], texts.end, w[4], w[5], w[2], w[3]])
    with torch.no_grad():
        moved = difference(texts.features(whole[:, :4]), texts.features(whole))
    how = f"taking four tokens away behind it moves the features by {moved:.1g}"
    return {"cut_is_exact": (moved < ROUNDING, how)}


def vectors(texts: Texts) -> Found:
    """Give vectors instead of ids to all that holds the token table, and compare."""
    ids = texts.rows(texts.words)
    with torch.no_grad():
        given = texts.table(ids)  # (1, L, D)
    embeddings = texts.chain[1]
    last = texts.place().module
    # What holds the table and the layers too is a tower, however near the table it is.
    direct = "forward" if last in list(embeddings[1].modules()) else "embeddings only"
    result, said = "no", []
    for path, module in texts.chain[1:-1]:
        name = type(module).__name__
        if "inputs_embeds" not in inspect.signature(module.forward).parameters:
            said.append(f"{name} has no such argument")
            continue
        mine = given.clone()
        try:
            with torch.no_grad():
                by_id = _states(module(input_ids=ids))
                by_vector = _states(module(inputs_embeds=mine))
            moved = difference(by_id, by_vector)
        except Exception as error:  # a model may fail in any way
            said.append(f"{name} raised {type(error).__name__}")
            continue
        name += " (it writes into them)" * (not torch.equal(mine, given))
        if moved > ROUNDING:
            said.append(f"{name} gives other states, by {moved:.1g}")
            continue
        said.append(f"{name} gives the same")
        result = direct if path == embeddings[0] else "forward"
    method = inspect.signature(texts.model.get_text_features).parameters
    has = "has it too" if "inputs_embeds" in method else "has not"
    return {"inputs_embeds": (result, f"{'; '.join(said)}; get_text_features {has}")}


def _states(output: Any) -> Tensor:
    found = head(output)
    return output[0] if found is None else found
