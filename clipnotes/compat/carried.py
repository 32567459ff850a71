"""Decide which models of transformers our own code may copy, and refuse the others.

Other families use CLIP's attribute names, but take the text's vector from a different token or pool
images differently. PEFT, quantisers and compilers replace modules by their own, and accelerate may
keep weights away from the model. The attribute names show none of this, and a copy would silently
compute wrong numbers. So the functions below look at the classes that do the computing.
"""

from typing import Any, NamedTuple

from torch import Tensor, nn

# Families whose text tower computes as CLIP's. False: they find the end of a text by CLIP's
# two rules, which depend on `eos_token_id`. True: always by the end token.
_BY_PLACE = {"clip": False, "clipseg": False, "groupvit": False, "metaclip_2": True}
# These always take the largest id, which is CLIP's rule for an `eos_token_id` of 2.
_BY_SIZE = {"owlv2", "owlvit", "x_clip"}
TEXT = {*_BY_PLACE, *_BY_SIZE}
# Families whose vision tower computes as CLIP's. GroupViT is not among them: it averages groups.
VISION = {"altclip", "chinese_clip", "clip", "clipseg", "metaclip_2"}

_BUILT_BY = ("torch.nn.modules.", "transformers.models.", "transformers.activations")


class EndRule(NamedTuple):
    """How a tower finds the end of a text: the arguments of ``eos_positions`` after the ids."""

    eos_token_id: int
    by_place: bool


def family(module: nn.Module) -> str | None:
    """Name the family of transformers whose ``forward`` a module runs; ``None`` for other code."""
    package = _computes(module).__module__.split(".")
    return package[2] if package[:2] == ["transformers", "models"] else None


def end_rule(tower: Any) -> EndRule:
    """Tell by which rule a text tower, of transformers or our own, finds the end of a text."""
    name = family(getattr(tower, "_orig_mod", tower))  # a compiled tower holds the original
    if name in _BY_SIZE:
        return EndRule(2, False)
    by_place = _BY_PLACE.get(name or "", getattr(tower, "by_place", None))
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
    """Find the first end token of each text: (n, length) ids to (n,) positions."""
    end = tokenizer.eos_token_id
    is_end = input_ids == (-1 if end is None else end)
    if not bool(is_end.any(dim=-1).all()):
        raise ValueError(
            f"the tokenizer puts no end token behind a text (its eos_token is "
            f"{tokenizer.eos_token!r}), and CLIP reads a text out there; give Clip the tokenizer "
            "that belongs to the model"
        )
    return is_end.int().argmax(dim=-1)  # the first one, since any others are padding


def check_copyable(module: nn.Module, what: str, families: set[str] | None = None) -> None:
    """Raise unless modules of ours compute the same with a copy of this module's weights."""
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
    """Raise unless all weights of a module are in memory."""
    for name, weight in module.named_parameters():
        if weight.is_meta:
            raise elsewhere(f"{name} of this {type(module).__name__}")


def elsewhere(what: str) -> ValueError:
    """Make the error for weights that are not in memory."""
    return ValueError(
        f"{what}: not in memory (on the meta device), because accelerate keeps them elsewhere and "
        "brings each when its layer runs, or because they were never loaded. Load the model "
        "without device_map and offloading; one that accelerate has offloaded gets its weights "
        "back with accelerate.hooks.remove_hook_from_module(model, recurse=True)"
    )


def class_of(thing: Any) -> str:
    """Name an object's class with its module, since several libraries have a ``Linear``."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _computes(module: nn.Module) -> type:
    """Return the class whose ``forward`` a module runs, which may be a parent of its own class."""
    return next(cls for cls in type(module).__mro__ if "forward" in vars(cls))


def _forward_replaced(module: nn.Module) -> bool:
    forward = vars(module).get("forward")
    # accelerate replaces `forward` to run its hooks. When it removes them, it leaves the class's
    # own method behind as an attribute of the module, which computes the same.
    put_back = getattr(forward, "__func__", None) is type(module).forward
    return forward is not None and not put_back and not hasattr(module, "_hf_hook")


def _foreign(path: str, problem: str) -> TypeError:
    return TypeError(
        f"{path} {problem}, not as transformers built it, so a copy of its weights would compute "
        "something else. Of a PEFT model, give what model.merge_and_unload() returns; of a "
        "quantised one, model.dequantize() or the original; of a compiled or wrapped one, what is "
        "inside (model._orig_mod, model.module)"
    )
