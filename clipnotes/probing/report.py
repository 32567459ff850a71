"""The answers of a probe, and the table in which they are printed."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

GROUPS = {
    "text": (
        "causal",
        "pooled_at",
        "end_token",
        "reads_out",
        "padding_matters",
        "padding_matters_with_mask",
        "cut_is_exact",
        "eager_equals_sdpa",
        "inputs_embeds",
        "text_width",
        "text_projection",
    ),
    "image": ("image_input", "class_token", "image_pooling", "image_width", "image_projection"),
    "both": ("shared_width", "features_are_unit", "unit_length", "scale", "bias", "loss"),
}
COLUMN = 58  # how it was measured is broken into lines of this length


@dataclass
class Probe:
    """What a two-tower model does, as it was seen to do it.

    ``None`` means that there is no answer; ``how`` says for each field how it was measured, or why
    it could not be.

    Attributes:
        model: The name of its class.
        causal: Whether a text token sees only what is before it; ``None`` if that depends on the
            mask, or on how attention is computed.
        pooled_at: Which token's vector stands for a text: ``first end token``, ``last end token``,
            ``largest id``, ``last position``, ``last position of the mask``, ``position 0``,
            ``mean`` or ``attention head``.
        end_token: The id that ends a text, if the model looks for it.
        reads_out: The token of a tokenized text that is at that place, with a tokenizer.
        padding_matters: Whether padding behind a text changes its features, without a mask.
        padding_matters_with_mask: The same, with a mask that hides the padding.
        cut_is_exact: Whether a text that is cut behind its end keeps its features.
        eager_equals_sdpa: Whether the text tower computes the same in both ways.
        inputs_embeds: How far up vectors can be given instead of ids: ``forward`` of the tower,
            ``embeddings only``, or ``no``.
        text_width: D of the text tower's last states.
        text_projection: What is between the pooled vector and the features: ``none``, ``matrix``,
            ``matrix and bias`` or ``more than a matrix``.
        image_input: ``pixels``, ``patches``, ``frames`` or ``audio``.
        class_token: Whether there is a token more than there are patches.
        image_pooling: ``class token``, ``position 0``, ``mean``, ``attention head``.
        image_width: D of the vision tower's last states.
        image_projection: As ``text_projection``.
        shared_width: P, how many numbers a feature has.
        features_are_unit: Whether the model's own features have length one already.
        unit_length: Whether the logits compare vectors of length one.
        scale: The number that multiplies the similarities.
        bias: The number that is added to them.
        loss: ``softmax`` or ``sigmoid``; ``None`` if the model computes none.
        how: Field -> how it was measured, or why it was not.

    Example:
        >>> import clipnotes
        >>> facts = clipnotes.probe(clipnotes.load().model)
        >>> facts.pooled_at, facts.causal, facts.to_dict()["loss"]
        ('first end token', True, 'softmax')
    """

    model: str
    causal: bool | None = None
    pooled_at: str | None = None
    end_token: int | None = None
    reads_out: str | None = None
    padding_matters: bool | None = None
    padding_matters_with_mask: bool | None = None
    cut_is_exact: bool | None = None
    eager_equals_sdpa: bool | None = None
    inputs_embeds: str | None = None
    text_width: int | None = None
    text_projection: str | None = None
    image_input: str | None = None
    class_token: bool | None = None
    image_pooling: str | None = None
    image_width: int | None = None
    image_projection: str | None = None
    shared_width: int | None = None
    features_are_unit: bool | None = None
    unit_length: bool | None = None
    scale: float | None = None
    bias: float | None = None
    loss: str | None = None
    how: dict[str, str] = field(default_factory=dict)

    def fill(self, names: str, measure: Callable[[], dict[str, tuple[Any, str]]]) -> None:
        """Write down what a measurement found; one that fails leaves its reason in its place."""
        try:
            found = measure()
        except Exception as error:  # models fail in ways of their own, and others have to go on
            said = (str(error) or type(error).__name__).splitlines()[0]
            found = dict.fromkeys(names.split(), (None, f"not measured: {said}"))
        for name, (value, how) in found.items():
            setattr(self, name, value)
            self.how[name] = how

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values, as for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        names = [name for group in GROUPS.values() for name in group]
        left = max(map(len, names))
        middle = max(len(_shown(getattr(self, name))) for name in names)
        lines = [f"{self.model}, measured"]
        for title, group in GROUPS.items():
            lines += ["", title]
            for name in group:
                value = _shown(getattr(self, name))
                first, *more = textwrap.wrap(self.how.get(name, ""), COLUMN) or [""]
                lines.append(f"  {name:{left}}  {value:{middle}}  {first}".rstrip())
                lines += [" " * (left + middle + 6) + line for line in more]
        return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)
