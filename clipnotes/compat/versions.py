"""Names and addresses that change with the version of transformers, and recorded facts."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def checkpoint_layers(model: Any, **how: Any) -> None:
    """Save memory in training: let a model compute its layers a second time in the backward pass.

    This is gradient checkpointing. In transformers 5.24 the method has a new name, and the old one
    warns.

    Args:
        model: A model of transformers.
        **how: Passed to ``torch.utils.checkpoint.checkpoint``, for instance
            ``use_reentrant=False``. Without any, the version of transformers decides.

    Example:
        >>> from transformers import CLIPTextConfig, CLIPTextModel
        >>> model = CLIPTextModel(CLIPTextConfig(hidden_size=8, num_attention_heads=2))
        >>> checkpoint_layers(model, use_reentrant=False)
        >>> any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
        True
    """
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)(how or None)


def changes_nothing(hook: Callable[..., Any]) -> bool:
    """Tell whether a hook is one of transformers' or torch's own that changes no number.

    Since 5.2 transformers records hidden states with hooks and leaves them in place after their
    first use. ``enable_input_require_grads`` leaves one at the token table in every version. And
    while torch counts operations (``FlopCounterMode``), its tracker has hooks on all modules.

    Args:
        hook: A function that is registered as a hook.

    Example:
        >>> changes_nothing(print)
        False
    """
    return getattr(hook, "__module__", None) in (
        "transformers.utils.output_capturing",
        "transformers.modeling_utils",
        "torch.utils.module_tracker",
    )


def source_url(obj: type | Callable[..., Any]) -> str:
    """Return the address on GitHub of the line that defines an object, at the installed version.

    Args:
        obj: A class, function or method of transformers.

    Returns:
        The address, with the number of the line.

    Raises:
        TypeError: The object is not a class or function defined in transformers.

    Example:
        >>> from transformers import CLIPModel
        >>> source_url(CLIPModel)
        'https://github.com/huggingface/transformers/blob/v.../src/transformers/models/clip/...'
    """
    obj = inspect.unwrap(obj)
    module = getattr(obj, "__module__", None) or ""
    has_source = inspect.isclass(obj) or inspect.isroutine(obj)
    if not has_source or module.split(".")[0] != "transformers":
        raise TypeError(
            f"{obj!r} is not a class or function of transformers. Give one, for instance "
            "transformers.CLIPModel; of an object, give its type."
        )
    import transformers

    lines, first = inspect.getsourcelines(obj)
    # `first` may be the line of a decorator, but a reader looks for the name.
    starts = (n for n, line in enumerate(lines) if line.lstrip().startswith(("class ", "def ")))
    path = module.replace(".", "/")
    blob = f"https://github.com/huggingface/transformers/blob/v{transformers.__version__}"
    return f"{blob}/src/{path}.py#L{first + next(starts)}"


def image_processor_class(name: str = "CLIPImageProcessor") -> Any:
    """Find the image processor for PIL images, which gives the same pixels in every version.

    Since 5.5 ``CLIPImageProcessor`` is the one for torchvision, and the one for PIL has a name of
    its own. So it is with all other image processors.

    Args:
        name: A class of transformers. ``SiglipImageProcessorFast``, ``SiglipImageProcessorPil`` and
            ``SiglipFeatureExtractor`` mean the same as ``SiglipImageProcessor``.

    Returns:
        The class.

    Raises:
        ValueError: The installed transformers has no image processor of this name.

    Example:
        >>> image_processor_class()(size=8, crop_size=8).crop_size["height"]
        8
    """
    import transformers

    base = str(name).removesuffix("Fast").removesuffix("Pil")
    base = base.replace("FeatureExtractor", "ImageProcessor")  # as they were called at first
    found = getattr(transformers, f"{base}Pil", None) or getattr(transformers, base, None)
    if found is None or not base.endswith("ImageProcessor"):
        raise ValueError(
            f"transformers {transformers.__version__} has no image processor {name!r}: give the "
            "name of one that it has, as 'CLIPImageProcessor' or 'SiglipImageProcessor'"
        )
    return found


def read_image_processor(name: str, default: str = "CLIPImageProcessor") -> Any:
    """Read an image processor, of the class that its file names, for PIL images.

    Args:
        name: A directory, or a hub id.
        default: The class, if the file names none.

    Raises:
        ValueError: The file names a class that the installed transformers does not have.

    Example:
        >>> from clipnotes.checkpoints import EMOJI_CLIP
        >>> read_image_processor(str(EMOJI_CLIP)).crop_size["height"]
        64
    """
    said, _ = image_processor_class().get_image_processor_dict(name)
    kind = said.get("image_processor_type") or said.get("feature_extractor_type") or default
    return image_processor_class(kind).from_pretrained(name)


def recorded() -> dict[str, dict[str, Any]]:
    """Return what other versions of transformers do, as ``make record`` saw it in each of them.

    Returns:
        Version -> facts, oldest version first: the printed tree, class names, return types.

    Example:
        >>> recorded()["4.49.0"]["get_image_features"]
        'Tensor'
    """
    files = (Path(__file__).parent.parent / "recorded").glob("*.json")
    versions = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    by_age = sorted(versions, key=lambda facts: [int(n) for n in facts["transformers"].split(".")])
    return {facts["transformers"]: facts for facts in by_age}
