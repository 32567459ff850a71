"""AltCLIP: an XLM-RoBERTa that was taught to speak as CLIP's text tower does."""

from typing import Any

from torch import Tensor, nn

from clipnotes.compat.families.base import down_to, renamed
from clipnotes.compat.families.chinese_clip import ChineseCLIP


class AltCLIP(ChineseCLIP):
    """AltCLIP. Between RoBERTa and the projection stand a norm and a matrix of its own.

    RoBERTa counts positions only where there is no padding, from behind the padding's id on.
    """

    name = "AltCLIP"
    packages = frozenset({"altclip"})

    def text_tower(self, model: nn.Module) -> Any:
        """Find the module with roberta, pre_LN and transformation."""
        return down_to(model, "text_model", "roberta", "pre_LN", "transformation")

    def bert(self, model: nn.Module) -> Any:
        """Find RoBERTa."""
        return self.text_tower(model).roberta

    def text_weights(self, model: Any) -> dict[str, Tensor]:
        """List the weights, whose layers were ``encoder.layer`` once."""
        return renamed(super().text_weights(model), {"encoder.layer.": "encoder.layers."})

    def pooled_text(self, output: Any, ends: Tensor | None) -> Tensor:
        """Take the transformed state at position 0."""
        return output[1]  # (B, D)
