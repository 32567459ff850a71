"""Names and addresses that change with the version of transformers, and what was recorded."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def checkpoint_layers(model: Any, **how: Any) -> None:
    """Make a model's layers compute twice, in training mode, to keep less for the way back.

    The method has another name in 5.24, where the old one warns.

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
    """Tell whether a hook is one of transformers' or torch's own, which change no number.

    Since 5.2 the hooks that record hidden states stay where they were first wanted, and in every
    version ``enable_input_require_grads`` leaves one at the token table. While torch counts
    operations (``FlopCounterMode``), a tracker of it has hooks on all modules.

    Args:
        hook: What was registered.

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
    """Return the address on GitHub of the line that defines something, at the installed version.

    Args:
        obj: A class, function or method of transformers.

    Raises:
        TypeError: The object is not a class or function defined in transformers.

    Example:
        >>> from transformers import CLIPModel
        >>> source_url(CLIPModel)
        'https://github.com/huggingface/transformers/blob/v.../src/transformers/models/clip/...'
    """
    obj = inspect.unwrap(obj)
    module = getattr(obj, "__module__", None) or ""
    named = inspect.isclass(obj) or inspect.isroutine(obj)
    if not named or module.split(".")[0] != "transformers":
        raise TypeError(
            f"{obj!r} is not a class or function of transformers. Give one, for instance "
            "transformers.CLIPModel; of an object, give its type."
        )
    import transformers

    lines, first = inspect.getsourcelines(obj)
    # `first` is the line of a decorator, if there is one; a reader looks for the name.
    starts = (n for n, line in enumerate(lines) if line.lstrip().startswith(("class ", "def ")))
    path = module.replace(".", "/")
    blob = f"https://github.com/huggingface/transformers/blob/v{transformers.__version__}"
    return f"{blob}/src/{path}.py#L{first + next(starts)}"


def image_processor_class() -> Any:
    """Find the image processor that works on PIL pictures and gives the same pixels everywhere.

    Since 5.5 ``CLIPImageProcessor`` is the torchvision one; the one for PIL has its own name.

    Example:
        >>> image_processor_class()(size=8, crop_size=8).crop_size["height"]
        8
    """
    import transformers

    return getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor


def recorded() -> dict[str, dict[str, Any]]:
    """What other versions of transformers do, as ``make record`` saw it in each of them.

    Returns:
        Version -> facts, oldest version first: the printed tree, class names, what is returned.

    Example:
        >>> recorded()["4.49.0"]["get_image_features"]
        'Tensor'
    """
    files = (Path(__file__).parent.parent / "recorded").glob("*.json")
    found = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    by_age = sorted(found, key=lambda facts: [int(n) for n in facts["transformers"].split(".")])
    return {facts["transformers"]: facts for facts in by_age}
