"""Which classes of transformers open a model, by the ``model_type`` in its config.json."""

from typing import Any, NamedTuple

from torch import nn

from clipnotes.compat.carried import family
from clipnotes.compat.families.dual_encoder import BERTS, EYES


class Kind(NamedTuple):
    """What opens one type of model.

    Attributes:
        model: The class of the model.
        processor: The class that joins a tokenizer and an image processor.
        image_processor: The class of the image processor, unless its own file names another one.
        left: How the names of weights begin that belong to a larger model, and are not read.
        any_size: Whether it stretches its positions to images of any size.
    """

    model: str
    processor: str
    image_processor: str = "CLIPImageProcessor"
    left: tuple[str, ...] = ()
    any_size: bool = False


#: What opens each type of model, by the ``model_type`` in its config.json.
KINDS = {
    "clip": Kind("CLIPModel", "CLIPProcessor"),
    # Its checkpoints hold a decoder that draws segments, and have images of 352 pixels for a tower
    # of 224.
    "clipseg": Kind(
        "CLIPSegModel", "CLIPSegProcessor", "ViTImageProcessor", left=("decoder.",), any_size=True
    ),
    "metaclip_2": Kind("MetaClip2Model", "CLIPProcessor"),
    "siglip": Kind("SiglipModel", "SiglipProcessor", "SiglipImageProcessor"),
    "chinese_clip": Kind("ChineseCLIPModel", "ChineseCLIPProcessor", "ChineseCLIPImageProcessor"),
    "altclip": Kind("AltCLIPModel", "AltCLIPProcessor"),
    "vision-text-dual-encoder": Kind(
        "VisionTextDualEncoderModel", "VisionTextDualEncoderProcessor", "ViTImageProcessor"
    ),
}
_BY_PACKAGE = {model_type.replace("-", "_"): kind for model_type, kind in KINDS.items()}
# Types that one might expect to be opened, and why they are not.
_NOT = {
    "siglip2": "it takes an image as any number of patches (NaFlex), not as pixels of one size. "
    "SigLIP 2 at a fixed resolution is of type 'siglip', as google/siglip2-base-patch16-224",
    "groupvit": "its vision tower averages groups of patches, which is not carried here",
    "x_clip": "it takes videos",
    "owlvit": "it finds boxes in an image and was not trained to give one vector of it",
    "owlv2": "it finds boxes in an image and was not trained to give one vector of it",
}


def kind_of_config(config: dict[str, Any]) -> Kind:
    """Find what opens the model that a config.json describes, or say why nothing does.

    Args:
        config: What config.json holds.

    Raises:
        ValueError: The model is of a type that is not opened, or one that the installed
            transformers does not know; or the towers of a dual encoder are none that are carried.

    Example:
        >>> kind_of_config({"model_type": "siglip"}).model
        'SiglipModel'
    """
    import transformers

    model_type = config.get("model_type")
    kind = KINDS.get(model_type) if isinstance(model_type, str) else None
    if kind is None:
        why = _NOT.get(str(model_type))
        raise ValueError(
            f"a model of type {model_type!r}{f': {why}' if why else ''}; clipnotes opens models of "
            f"the types {', '.join(sorted(KINDS))}"
        )
    if not hasattr(transformers, kind.model):
        raise ValueError(
            f"a model of type {model_type!r}, which transformers {transformers.__version__} does "
            "not know: python -m pip install --upgrade transformers"
        )
    if kind.model == "VisionTextDualEncoderModel":
        _check_towers(config)
    return kind


def _check_towers(config: dict[str, Any]) -> None:
    """Raise unless a dual encoder is made of towers that are carried."""
    for tower, known in (("text", BERTS), ("vision", EYES)):
        inside = config.get(f"{tower}_config")
        found = inside.get("model_type") if isinstance(inside, dict) else None
        if str(found).removesuffix("_vision_model").replace("-", "_") not in known:
            raise ValueError(
                f"a vision-text-dual-encoder whose {tower} tower is of type {found!r}; clipnotes "
                f"knows where a vector comes out of these: {', '.join(known)}"
            )


def kind_of(model: nn.Module) -> Kind:
    """Find the classes that go with a model that is there, also inside of a wrapper.

    Args:
        model: A two-tower model of transformers; any other is taken for CLIP.

    Example:
        >>> import clipnotes
        >>> kind_of(clipnotes.load().model).processor
        'CLIPProcessor'
    """
    found = next(filter(None, map(family, model.modules())), "clip")
    return _BY_PACKAGE.get(found, KINDS["clip"])
