"""What the families of two-tower models do in different ways, one file for each family.

The rest of the package asks ``family_of(model)``, and never which family it is. To add a family,
write a file with a subclass of ``Family`` and put it into the list below.
"""

from torch import nn

from clipnotes.compat.carried import family
from clipnotes.compat.families.altclip import AltCLIP
from clipnotes.compat.families.base import Family
from clipnotes.compat.families.chinese_clip import ChineseCLIP
from clipnotes.compat.families.clip import CLIP
from clipnotes.compat.families.dual_encoder import DualEncoder
from clipnotes.compat.families.siglip import SigLIP

#: All families that are carried, the most common first.
FAMILIES: tuple[Family, ...] = (CLIP(), SigLIP(), ChineseCLIP(), AltCLIP(), DualEncoder())
_BY_PACKAGE = {package: known for known in FAMILIES for package in known.packages}

__all__ = ["FAMILIES", "Family", "family_of"]


def family_of(model: nn.Module) -> Family:
    """Find the family that a model, a tower, or the model inside of a wrapper belongs to.

    The classes that do the computing decide, not the name in a configuration. Modules of your own
    are taken for CLIP's, whose parts they must then have.

    Args:
        model: A two-tower model of transformers, one of its towers, or one that PEFT or
            ``torch.compile`` has wrapped.

    Raises:
        TypeError: The model belongs to a family of transformers that is not carried here.

    Example:
        >>> import clipnotes
        >>> family_of(clipnotes.load().model).name
        'CLIP'
    """
    for module in model.modules():
        if package := family(module):
            if package in _BY_PACKAGE:
                return _BY_PACKAGE[package]
            raise TypeError(
                f"a {type(module).__name__} is of the family {package!r} of transformers, and how "
                "it encodes is not known here. Give a two-tower model of one of these families: "
                f"{', '.join(sorted(_BY_PACKAGE))}. What print(clipnotes.probe(model, tokenizer)) "
                "says shows what would have to be known"
            )
    return FAMILIES[0]
