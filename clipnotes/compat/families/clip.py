"""CLIP, and the families whose text towers compute as CLIP's: causal, read out at the end token."""

from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.compat.carried import TEXT
from clipnotes.compat.families.base import Projected, Reads
from clipnotes.compat.towers import text_tower, vision_tower


class CLIP(Projected):
    """CLIP, CLIPSeg and MetaCLIP 2; of GroupViT, OWL-ViT and X-CLIP the text tower."""

    name = "CLIP"
    packages = frozenset(TEXT)

    def reads(self, model: nn.Module) -> Reads:
        """At the end token: the first one, or in old configurations the largest id."""
        return "end"

    def text_tower(self, model: nn.Module) -> Any:
        """Find the module with embeddings, encoder and final_layer_norm."""
        return text_tower(model)

    def pooled_text(self, output: Any, ends: Tensor | None) -> Tensor:
        """Take the state at the end of each text; the tower finds it unless ``ends`` says it."""
        if ends is None:
            return output[1]
        states = output[0]  # (B, L, D)
        return states[torch.arange(len(states), device=states.device), ends.to(states.device)]

    def vision_tower(self, model: nn.Module) -> Any:
        """Find the module with embeddings, pre_layrnorm, encoder and post_layernorm."""
        return vision_tower(model)
