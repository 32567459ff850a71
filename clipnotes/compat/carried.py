"""What our own code takes over from a model of transformers, and what it must refuse.

Other families have CLIP's towers under CLIP's names, and read a text out elsewhere or pool pictures
otherwise; PEFT, a quantiser or a compiler put parts of their own in the place of transformers';
accelerate keeps weights elsewhere. Names of attributes tell none of this, and numbers would be
wrong without a word. So here the classes are looked at that compute.
"""

from typing import Any, NamedTuple

from torch import Tensor, nn

# Families whose text tower computes as CLIP's. They read a text out by CLIP's two rules (False), or
# by the place of the end token alone (True).
_BY_PLACE = {"clip": False, "clipseg": False, "groupvit": False, "metaclip_2": True}
# Or always at the largest id, whatever the config says: CLIP's rule for an `eos_token_id` of 2.
_BY_SIZE = {"owlv2", "owlvit", "x_clip"}
TEXT = {*_BY_PLACE, *_BY_SIZE}
# Families whose vision tower computes as CLIP's. GroupViT's is the mean of groups.
VISION = {"altclip", "chinese_clip", "clip", "clipseg", "metaclip_2"}

_BUILT_BY = ("torch.nn.modules.", "transformers.models.", "transformers.activations")


class EndRule(NamedTuple):
    """Where a tower reads a text out: what ``eos_positions`` takes behind the ids."""

    eos_token_id: int
    by_place: bool


def family(module: nn.Module) -> str | None:
    """Name the family of transformers' models whose code a module runs; ``None`` if it runs other.

    Example:
        >>> import clipnotes
        >>> family(clipnotes.load().model)
        'clip'
    """
    package = _computes(module).__module__.split(".")
    return package[2] if package[:2] == ["transformers", "models"] else None


def end_rule(tower: Any) -> EndRule:
    """Tell by which rule a text tower reads texts out.

    Args:
        tower: A text tower, as ``compat.text_tower`` finds it, or our own.

    Raises:
        TypeError: A tower of a family that is not known here.
        ValueError: A tower that must know the id of the end token and does not.

    Example:
        >>> import clipnotes
        >>> end_rule(clipnotes.load().model.text_model)
        EndRule(eos_token_id=3999, by_place=False)
    """
    found = family(getattr(tower, "_orig_mod", tower))  # of a compiled one, what is inside
    if found in _BY_SIZE:
        return EndRule(2, False)
    by_place = _BY_PLACE.get(found or "", getattr(tower, "by_place", None))
    if by_place is None:
        raise TypeError(
            f"where a {type(tower).__name__} reads a text out is not known here. It is for text "
            f"towers of these families of transformers: {', '.join(sorted(TEXT))}"
        )
    eos_token_id = getattr(tower, "eos_token_id", None)
    if not isinstance(eos_token_id, int):
        raise ValueError(
            f"this {type(tower).__name__} has the eos_token_id {eos_token_id!r}, so it cannot tell "
            "where a text ends: set model.text_model.eos_token_id = tokenizer.eos_token_id"
        )
    return EndRule(eos_token_id, by_place)


def text_ends(tokenizer: Any, input_ids: Tensor) -> Tensor:
    """Find where texts end: at the first end token of their tokenizer.

    Args:
        tokenizer: Which made the ids.
        input_ids: (n, length).

    Returns:
        (n,) int64.

    Raises:
        ValueError: A text without it.

    Example:
        >>> import clipnotes
        >>> clip = clipnotes.load()
        >>> text_ends(clip.tokenizer, clip.tokenize(["a tulip", "a"])["input_ids"])
        tensor([4, 2])
    """
    end = tokenizer.eos_token_id
    here = input_ids == (-1 if end is None else end)
    if not bool(here.any(dim=-1).all()):
        raise ValueError(
            f"the tokenizer puts no end token behind a text (its eos_token is "
            f"{tokenizer.eos_token!r}), and CLIP reads a text out there; give Clip the tokenizer "
            "that belongs to the model"
        )
    return here.int().argmax(dim=-1)  # of several, the first: the others are padding


def check_copyable(module: nn.Module, what: str, families: set[str] | None = None) -> None:
    """Raise unless a copy of a module's weights, in modules of ours, computes the same.

    Args:
        module: A tower, or a projection.
        what: How to call it.
        families: Those that it may be of; ``None`` for a part that torch itself provides.

    Raises:
        TypeError: It is of another family, or a part of it is neither transformers' nor torch's.
        ValueError: Its weights are elsewhere.

    Example:
        >>> check_copyable(nn.Linear(2, 2), "text_projection")
    """
    if families is not None and family(module) not in families | {None}:
        raise TypeError(
            f"the {what} is a {type(module).__name__}, which does not compute as CLIP's. Here, "
            f"those of these families of transformers can be copied: {', '.join(sorted(families))}"
        )
    for name, part in module.named_modules():
        path = f"{what}.{name}" if name else what
        if not _computes(part).__module__.startswith(_BUILT_BY) or _forward_replaced(part):
            raise _foreign(path, f"computes with {class_of(part)}")
        for weight in part.parameters(recurse=False):
            if type(weight) not in (nn.Parameter, Tensor):
                raise _foreign(path, f"has weights of type {class_of(weight)}")
    if any(hasattr(part, "_hf_hook") for part in module.modules()):
        check_here(module)


def check_here(module: nn.Module) -> None:
    """Raise unless all weights of a module are in memory.

    Raises:
        ValueError: One is not: accelerate keeps it elsewhere, or it was never loaded.

    Example:
        >>> check_here(nn.Linear(2, 2))
    """
    for name, weight in module.named_parameters():
        if weight.is_meta:
            raise elsewhere(f"{name} of this {type(module).__name__}")


def elsewhere(what: str) -> ValueError:
    """Make the error for weights that are not in memory.

    Args:
        what: Which weights.

    Example:
        >>> str(elsewhere("weights of this model"))
        'weights of this model: not in memory (on the meta device), because accelerate keeps ...'
    """
    return ValueError(
        f"{what}: not in memory (on the meta device), because accelerate keeps them elsewhere and "
        "brings each when its layer runs, or because they were never loaded. Load the model "
        "without device_map and offloading; one that accelerate has offloaded gets its weights "
        "back with accelerate.hooks.remove_hook_from_module(model, recurse=True)"
    )


def class_of(thing: Any) -> str:
    """Name the class of an object with its module: "Linear" is what several libraries call theirs.

    Example:
        >>> class_of(nn.Linear(2, 2))
        'torch.nn.modules.linear.Linear'
    """
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _computes(module: nn.Module) -> type:
    """Return the class whose ``forward`` a module runs, be it of a subclass without its own."""
    return next(cls for cls in type(module).__mro__ if "forward" in vars(cls))


def _forward_replaced(module: nn.Module) -> bool:
    forward = vars(module).get("forward")
    # accelerate puts its hooks there, and leaves the old one there when they are gone.
    old = getattr(forward, "__func__", None) is type(module).forward
    return forward is not None and not old and not hasattr(module, "_hf_hook")


def _foreign(path: str, said: str) -> TypeError:
    return TypeError(
        f"{path} {said}, not as transformers built it, so a copy of its weights would compute "
        "something else. Of a PEFT model, give what model.merge_and_unload() returns; of a "
        "quantised one, model.dequantize() or the original; of a compiled or wrapped one, what is "
        "inside (model._orig_mod, model.module)"
    )
