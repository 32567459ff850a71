"""Read the checkpoints that CoOp's own program writes (https://github.com/KaiyangZhou/CoOp)."""

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
from clipnotes.compat import text_tower


def read_coop(path: str | os.PathLike[str], clip: Clip, classnames: Sequence[str]) -> Tensor:
    """Read context vectors out of a CoOp checkpoint (``model.pth.tar-50``).

    Such a file is a pickle. It is read with ``weights_only``, which builds tensors and plain
    containers and refuses everything else. CoOp's program also leaves its schedule and, inside of
    it, its optimizer there; empty stand-ins are put in their place.

    Args:
        path: The file.
        clip: The CLIP that it was learned with.
        classnames: The classes.

    Returns:
        (n_ctx, D) or (n_classes, n_ctx, D), float32 on the CPU.

    Raises:
        ValueError: No such file, one that holds other objects, or one without a context; the
            context is for another CLIP, or for another number of classes.

    Example:
        >>> import clipnotes, tempfile
        >>> path = tempfile.mkdtemp() + "/model.pth.tar-50"
        >>> torch.save({"state_dict": {"ctx": torch.zeros(16, 128).half()}, "epoch": 50}, path)
        >>> ctx = read_coop(path, clipnotes.load(), ["rose", "tulip"])
        >>> ctx.shape, ctx.dtype
        (torch.Size([16, 128]), torch.float32)
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"no file {path}; give a checkpoint of CoOp, such as model.pth.tar-50")
    # Before torch 2.5 nothing can be let through, and a file with a schedule is refused.
    allowed: Any = getattr(torch.serialization, "safe_globals", lambda _: nullcontext())
    try:
        with allowed(_stand_ins()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        said = f": it names {named[1]}" if named else ""
        raise ValueError(
            f"{path} holds more than tensors, or is damaged, and opening it could run a stranger's "
            f"code{said}. Where you trust the file, save its state_dict alone"
        ) from error
    except Exception as error:  # what torch makes of a damaged file, in many versions
        said = (str(error) or type(error).__name__).split("\n", 1)[0]
        raise ValueError(f"{path} is no checkpoint of torch, or is damaged: {said}") from error
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
    embeddings: Any = text_tower(clip.model).embeddings
    table = embeddings.token_embedding.weight
    if ctx.shape[-1] != table.shape[1]:
        raise ValueError(
            f"the vectors in {path} have {ctx.shape[-1]} numbers, and this model's tokens "
            f"{table.shape[1]}; load the CLIP that they were learned with"
        )
    prefix = state.get("token_prefix")  # (n_classes, 1, D): the start token's vector, each time
    if isinstance(prefix, Tensor) and prefix.shape[1:] == (1, table.shape[1]) and len(prefix):
        theirs = prefix[0, 0].float()
        mine = table[clip.tokenizer.bos_token_id].detach().float().cpu()
        # CoOp computes in half precision; those of other CLIPs are not even alike.
        if not bool((theirs - mine).norm() <= 0.05 * mine.norm()):
            raise ValueError(
                f"the start token's vector in {path} is not this model's, so the context was "
                "learned with another CLIP; load that one"
            )
    if ctx.dim() == 3 and len(ctx) != len(classnames):
        raise ValueError(
            f"{path} has a context for each of {len(ctx)} classes, and {len(classnames)} names "
            "were given; give its classes, in its order"
        )
    return ctx.detach().float()


def _stand_ins() -> list[Any]:
    """What ``weights_only`` shall build where CoOp's file names a class of torch or Python."""

    def plain_dict(*_: Any) -> dict[Any, Any]:
        return {}

    found: list[Any] = [dict]
    names = {"torch.optim.lr_scheduler": "CosineAnnealingLR", "torch.optim.sgd": "SGD"}
    for module, name in names.items():
        found.append(type(name, (), {"__module__": module}))
    # weights_only fills nothing but plain dicts; the optimizer's state is a defaultdict(dict).
    plain_dict.__module__, plain_dict.__name__ = "collections", "defaultdict"
    plain_dict.__qualname__ = plain_dict.__name__
    return [*found, plain_dict]
