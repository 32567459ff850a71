"""CLIP, and the families whose text towers compute as CLIP's: causal, read out at the end token."""

from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.compat.carried import TEXT
from clipnotes.compat.families.base import Projected, Reads
from clipnotes.compat.towers import projection, text_tower, vision_tower


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

    def token_table(self, model: nn.Module) -> Any:
        """Find ``embeddings.token_embedding``."""
        return self.text_tower(model).embeddings.token_embedding

    def n_positions(self, model: nn.Module) -> int:
        """Count the rows of ``position_embedding``."""
        return int(self.text_tower(model).embeddings.position_embedding.num_embeddings)

    def text_layers(self, model: nn.Module) -> nn.ModuleList:
        """Find ``encoder.layers``."""
        return self.text_tower(model).encoder.layers

    def text_features(
        self,
        model: nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        ends: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Project the state at the end of each text; the tower finds it unless ``ends`` says it."""
        tower, project = text_tower(model), projection(model, "text_projection")
        output = tower(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        pooled = output[1]  # (B, D)
        if ends is not None:
            states = output[0]  # (B, L, D)
            pooled = states[torch.arange(len(states), device=states.device), ends.to(states.device)]
        return project(pooled)  # (B, P)

    def vision_tower(self, model: nn.Module) -> Any:
        """Find the module with embeddings, pre_layrnorm, encoder and post_layernorm."""
        return vision_tower(model)

    def vision_layers(self, model: nn.Module) -> nn.ModuleList:
        """Find ``encoder.layers``."""
        return self.vision_tower(model).encoder.layers

    def image_features(self, model: nn.Module, pixel_values: Tensor, **kwargs: Any) -> Tensor:
        """Project the state of the class token."""
        tower, project = vision_tower(model), projection(model, "visual_projection")
        return project(tower(pixel_values=pixel_values, **kwargs)[1])  # (B, D) -> (B, P)
