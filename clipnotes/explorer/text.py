"""The page about a text: where its tokens look, and who calls whom on the way."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from clipnotes import compat
from clipnotes.checkpoints import Clip
from clipnotes.compat.carried import text_ends
from clipnotes.explorer.page import Page, build_page, check_clip, choose_layers, in_255ths
from clipnotes.trace import trace

# What the page calls the token whose state becomes the text's vector.
MARKS = {"end": "EOS", "first": "CLS", "last": "last"}


@torch.no_grad()
def explore_text(clip: Clip, text: str, layers: Sequence[int] | None = None) -> Page:
    """Make a page on which a reader explores the text tower's attention over one text.

    Point at a token: the page shows which tokens before it it looks at, and which tokens after it
    look at it, in any layer and head or in the mean over the heads. The token whose state becomes
    the text's vector is marked EOS. Folded below is the chain of calls in the text tower.

    In SigLIP every token looks at every other, padding too, and the text is read out at the last
    place, which is marked so. In a BERT (of Chinese-CLIP, AltCLIP, a VisionTextDualEncoder) every
    token looks at every other as well, and the text is read out at the first place, marked CLS.

    Args:
        clip: A model of any family in ``compat.FAMILIES``.
        text: One text, for instance a prompt.
        layers: Numbers of the layers to keep, from 0; ``None`` for all. Fewer make a smaller page.

    Returns:
        The page. A notebook shows it, and ``.save("page.html")`` writes it. The weights on it are
        the model's, rounded to 1/255.

    Raises:
        TypeError: ``clip`` is not a ``Clip``, or ``text`` not a string.
        ValueError: The model is in training mode, the text is too long for it, a layer does not
            exist, or the page would be larger than 1 MB.

    Example:
        >>> import clipnotes
        >>> explore_text(clipnotes.load(), "an emoji of a tulip")
        <Page: Where CLIP looks in a text, ... kB>
    """
    check_clip(clip)
    if not isinstance(text, str):
        raise TypeError(f"text is a {type(text).__name__}; give one string")
    family = compat.family_of(clip.model)
    reads = family.reads(clip.model)
    chosen = choose_layers(layers, len(family.text_layers(clip.model)))
    inputs = {name: ids.to(clip.model.device) for name, ids in clip.tokenize([text]).items()}
    states = compat.text_states(clip.model, **inputs)
    calls = trace(family.text_tower(clip.model), **inputs)
    ids = inputs["input_ids"][0].tolist()
    if reads == "end":
        read = int(text_ends(clip.tokenizer, inputs["input_ids"]))
    else:
        read = 0 if reads == "first" else len(ids) - 1
    data = {
        "layers": chosen,
        "ids": ids,
        "tokens": clip.tokenizer.convert_ids_to_tokens(ids),
        "causal": reads == "end",  # or every token looks at every other
        "read": read,
        "mark": MARKS[reads],
    }
    weights = in_255ths([states.attentions[layer] for layer in chosen])
    tree = (
        '<details id="calls"><summary>Who calls whom in the text tower</summary>'
        f"{calls._repr_html_()}</details>"
    )
    return build_page("text", f"Where {family.name} looks in a text", 560, weights, data, tree)
