"""Read the checkpoints of CoOp's own program and of CoCoOp's: https://github.com/KaiyangZhou/CoOp."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipnotes.checkpoints import Clip
from clipnotes.compat import family_of, shared_width
from clipnotes.compat.weights import token_table
from clipnotes.prompts.layout import token_ids

SHRINK = 16  # CoCoOp's hidden layer is so many times narrower than the features
# What CoOp's program saves: what it learned, and what stands before and behind it.
COOP = {"ctx", "token_prefix", "token_suffix"}
# What CoCoOp's saves besides, and how it is called here.
NETWORK = {
    f"meta_net.linear{theirs}.{kind}": f"meta_net.{ours}.{kind}"
    for theirs, ours in ((1, 0), (2, 2))
    for kind in ("weight", "bias")
}


def read_coop(path: str | os.PathLike[str], clip: Clip, classnames: Sequence[str]) -> Tensor:
    """Read the context of a CoOp checkpoint, (n_ctx, D) or (n_classes, n_ctx, D), in float32."""
    state = _read(path, clip)
    _check_keys(path, state, COOP)
    ctx: Tensor = state["ctx"]
    if ctx.dim() == 3:
        _check_classes(path, clip, classnames, ctx, state.get("token_suffix"))
    return ctx.detach().float()


def read_cocoop(path: str | os.PathLike[str], clip: Clip) -> dict[str, Tensor]:
    """Read what ``CoCoOp.load_state_dict`` takes out of a CoCoOp checkpoint."""
    state = _read(path, clip)
    _check_keys(path, state, COOP | set(NETWORK))
    whole = all(isinstance(state.get(name), Tensor) for name in NETWORK)
    if not whole or state["ctx"].dim() != 2:
        raise ValueError(
            f"{path} is no checkpoint of CoCoOp, which has one context and {', '.join(NETWORK)}; "
            "one of CoOp is opened by PromptLearner.from_coop"
        )
    weights = {"ctx": state["ctx"]} | {ours: state[theirs] for theirs, ours in NETWORK.items()}
    wide, width = shared_width(clip.model), weights["ctx"].shape[1]
    narrow = max(1, wide // SHRINK)
    wanted = [(narrow, wide), (narrow,), (width, narrow), (width,)]
    shapes = [tuple(weights[name].shape) for name in NETWORK.values()]
    if shapes != wanted:
        raise ValueError(
            f"the network in {path} has the shapes {shapes}, and for this model it needs {wanted}; "
            "load the CLIP that it was learned with"
        )
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise ValueError(f"the network in {path} is not finite; take another checkpoint")
    return {name: value.detach().float() for name, value in weights.items()}


def _read(path: str | os.PathLike[str], clip: Clip) -> dict[str, Any]:
    """Open a checkpoint; check its context, and that it was learned with this model."""
    family = family_of(clip.model)
    if family.reads(clip.model) != "end":
        raise ValueError(
            f"CoOp's program learns with CLIP, and this model is of the family {family.name}, "
            "whose texts are read another way: give the CLIP that the checkpoint was learned with"
        )
    path = Path(path).expanduser()
    content = _load(path)
    state = content.get("state_dict") if isinstance(content, dict) else None
    state = state if isinstance(state, dict) else {}
    ctx = state.get("ctx")
    if not isinstance(ctx, Tensor) or ctx.dim() not in (2, 3) or not ctx.is_floating_point():
        raise ValueError(
            f"{path} has no context vectors: a checkpoint of CoOp has them in "
            'state_dict["ctx"], as (n_ctx, D) or (n_classes, n_ctx, D)'
        )
    if not bool(ctx.isfinite().all()):
        raise ValueError(f"the context vectors in {path} are not finite; take another checkpoint")
    table = token_table(clip.model).weight
    if ctx.shape[-1] != table.shape[1]:
        raise ValueError(
            f"the vectors in {path} have {ctx.shape[-1]} numbers, and this model's tokens "
            f"{table.shape[1]}; load the CLIP that they were learned with"
        )
    prefix = state.get("token_prefix")  # (n_classes, 1, D): the start token's vector, repeated
    if isinstance(prefix, Tensor) and prefix.shape[1:] == (1, table.shape[1]) and len(prefix):
        mine = table[clip.tokenizer.bos_token_id].detach().float().cpu()
        if not _alike(prefix[0, 0].float(), mine):
            raise ValueError(
                f"the start token's vector in {path} is not this model's, so the context was "
                "learned with another CLIP; load that one"
            )
    return state


def _load(path: Path) -> Any:
    """Read a file of torch without running code from it."""
    if not path.is_file():
        raise ValueError(f"no file {path}; give a checkpoint of CoOp, such as model.pth.tar-50")
    # Before torch 2.5 nothing can be let through, and a file with a schedule is refused.
    allowed: Any = getattr(torch.serialization, "safe_globals", lambda _: nullcontext())
    try:
        with allowed(_stand_ins()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        names = f": it names {named[1]}" if named else ""
        raise ValueError(
            f"{path} holds more than tensors, or is damaged, and opening it could run a stranger's "
            f"code{names}. Where you trust the file, save its state_dict alone"
        ) from error
    except Exception as error:  # what torch makes of a damaged file, in many versions
        reason = (str(error) or type(error).__name__).split("\n", 1)[0]
        raise ValueError(f"{path} is no checkpoint of torch, or is damaged: {reason}") from error


def _check_keys(path: str | os.PathLike[str], state: dict[str, Any], known: set[str]) -> None:
    more = sorted(state.keys() - known)
    if more:
        say = "take what it learned out of it yourself, or learn with a method of this package"
        if set(more) <= set(NETWORK):
            say = "this is a checkpoint of CoCoOp: open it with CoCoOp.from_cocoop"
        raise ValueError(
            f"{path} holds more than CoOp learns ({', '.join(more[:5])}"
            f"{', ...' * (len(more) > 5)}), and without it the prompts would be others; {say}"
        )


def _check_classes(
    path: str | os.PathLike[str],
    clip: Clip,
    classnames: Sequence[str],
    ctx: Tensor,
    suffix: Any,
) -> None:
    """Check that each class's own context comes to that class."""
    if len(ctx) != len(classnames):
        raise ValueError(
            f"{path} has a context for each of {len(ctx)} classes, and {len(classnames)} names "
            "were given; give its classes, in its order"
        )
    if suffix is None:  # the file does not say which class is which
        return
    table = token_table(clip.model).weight.detach().float().cpu()
    shape = tuple(getattr(suffix, "shape", ()))
    if len(shape) != 3 or shape[0] != len(ctx) or shape[2] != table.shape[1]:
        raise ValueError(
            f"the token_suffix in {path} has shape {shape} and the context {tuple(ctx.shape)}; "
            "the file is damaged, or no checkpoint of CoOp"
        )
    end = clip.tokenizer.eos_token_id
    prompts = token_ids(clip.tokenizer, [f"{name}." for name in classnames])
    for i, (name, prompt) in enumerate(zip(classnames, prompts, strict=True)):
        mine = table[[*prompt, end]]  # (n, D): the name, the full stop, the end
        theirs = suffix[i, : len(mine)].float()
        if len(theirs) == len(mine) and _alike(theirs, mine):
            continue
        # The nearest tokens, up to the end, tell whose context it is.
        nearest = torch.cdist(suffix[i].float(), table).argmin(dim=1).tolist()
        upto = nearest.index(end) if end in nearest else len(nearest)
        their_name = clip.tokenizer.decode(nearest[:upto]).strip().removesuffix(".").strip()
        raise ValueError(
            f"class {i} is {name!r}, and in {path} its context belongs to {their_name!r}; give the "
            "classes of the training, in its order. CoOp had replaced the underscores in names by "
            "spaces"
        )


def _alike(theirs: Tensor, mine: Tensor) -> bool:
    # CoOp computes in half precision; the vectors of other tokens are not even alike.
    return bool(((theirs - mine).norm(dim=-1) <= 0.05 * mine.norm(dim=-1)).all())


def _stand_ins() -> list[Any]:
    """Give ``weights_only`` empty classes for the schedule and the optimizer in CoOp's files."""

    def plain_dict(*_: Any) -> dict[Any, Any]:
        return {}

    classes: list[Any] = [dict]
    names = {"torch.optim.lr_scheduler": "CosineAnnealingLR", "torch.optim.sgd": "SGD"}
    for module, name in names.items():
        classes.append(type(name, (), {"__module__": module}))
    # weights_only fills nothing but plain dicts; the optimizer's state is a defaultdict(dict).
    plain_dict.__module__, plain_dict.__name__ = "collections", "defaultdict"
    plain_dict.__qualname__ = plain_dict.__name__
    return [*classes, plain_dict]
