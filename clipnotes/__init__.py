"""clipnotes: Hugging Face's CLIP, opened up.

Importing this package is light: torch and transformers are imported when they are first needed.

Example:
    >>> import clipnotes
    >>> clip = clipnotes.load()  # the embedded Emoji-CLIP, no network
    >>> clip.encode_text(["a tulip", "a beetle"]).shape
    torch.Size([2, 128])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipnotes.checkpoints import Clip, load
    from clipnotes.llava.loading import load_llava
    from clipnotes.probing.run import probe
    from clipnotes.trace.annotation import annotate

__all__ = ["Clip", "annotate", "load", "load_llava", "probe"]


def __getattr__(name: str) -> Any:
    if name == "annotate":
        from clipnotes.trace.annotation import annotate

        return annotate
    if name == "load_llava":
        from clipnotes.llava.loading import load_llava

        return load_llava
    if name == "probe":
        from clipnotes.probing.run import probe

        return probe
    if name in __all__:
        from clipnotes import checkpoints

        return getattr(checkpoints, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("clipnotes-book")
    raise AttributeError(
        f"module 'clipnotes' has no attribute {name!r}; it has {', '.join(__all__)}"
    )


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
