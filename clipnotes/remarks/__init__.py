"""What this book has to say about the lines of transformers' CLIP, for ``annotate(..., notes=)``.

The remarks say why a line is there, and what goes wrong around it. Each belongs to a statement, and
statements change with the version of transformers; so a remark names all the places that it has had
(``places.py``). The files beside this one are in the order of the book.
"""

from clipnotes.remarks import both, encoder, text, vision
from clipnotes.remarks.places import Remark, fitting
from clipnotes.trace.remarks import Remarks

REMARKS: dict[str, list[Remark]] = {
    "CLIPVisionEmbeddings": vision.EMBEDDINGS,
    "CLIPMLP": encoder.MLP,
    "CLIPAttention": encoder.ATTENTION,
    "CLIPEncoderLayer": encoder.LAYER,
    "CLIPEncoder": encoder.ENCODER,
    "CLIPVisionModel": vision.TOWER,
    "CLIPModel": both.MODEL,
    "clip_loss": both.LOSS,
    "CLIPTextModel": text.TOWER,
    "CLIPTextEmbeddings": text.EMBEDDINGS,
    "causal mask": text.MASK,
}


def remarks(*names: str) -> Remarks:
    """Return the book's remarks on classes of transformers' CLIP, for the installed version.

    Args:
        *names: Of the parts: ``"CLIPMLP"``, ``"CLIPAttention"`` and so on, as the newest version of
            transformers calls the classes; ``"clip_loss"`` and ``"causal mask"`` are functions. A
            name that is not there is refused with a list of those that are.

    Returns:
        For the ``notes`` of :func:`clipnotes.annotate`. In a version of transformers that the book
        does not know, a remark whose line is gone is left out.

    Raises:
        ValueError: There are no remarks of this name.

    Example:
        >>> import clipnotes, torch
        >>> mlp = clipnotes.load().model.vision_model.encoder.layers[0].mlp
        >>> tokens = torch.randn(2, 65, 128)
        >>> print(clipnotes.annotate(mlp, tokens, notes=remarks("CLIPMLP")))
        CLIPMLP.forward  ...
            hidden_states = self.fc1(hidden_states) ...
            #> Each token becomes four times as wide. ...
    """
    found: dict[str, dict[str, str | list[str]]] = {}
    for name in names:
        if name not in REMARKS:
            raise ValueError(f"no remarks on {name!r}; there are some on {', '.join(REMARKS)}")
        for title, beginning, said in fitting(REMARKS[name])[0]:
            found.setdefault(title, {})[beginning] = said
    return found


__all__ = ["remarks"]
