"""SigLIP and SigLIP 2: bidirectional text, read out at the last position, and a pooling head."""

from typing import Any

from torch import Tensor, nn

from clipnotes.compat.families.base import Family, Reads, down_to


class SigLIP(Family):
    """SigLIP, and SigLIP 2 at a fixed resolution, which is the same classes with other weights.

    Its text tower was trained on texts that are filled up to all positions, without a mask, and
    ends in a linear layer called ``head``. Its vision tower has no class token: a learned probe
    attends to all patches. What they give is in the shared space, with no further projection.
    """

    name = "SigLIP"
    packages = frozenset({"siglip"})

    def reads(self, model: nn.Module) -> Reads:
        """At the last position, which is padding in most texts."""
        return "last"

    def text_tower(self, model: nn.Module) -> Any:
        """Find the module with embeddings, encoder, final_layer_norm and head."""
        parts = ("embeddings", "encoder", "final_layer_norm", "head")
        return down_to(model, "text_model", *parts)

    def text_features(
        self,
        model: nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        ends: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Take what the head makes of the last position. Texts must be filled up to all of them."""
        length, limit = input_ids.shape[1], self.n_positions(model)
        if length != limit:
            raise ValueError(
                f"the texts have {length} tokens, and SigLIP reads a text out at place "
                f"{limit - 1}, padding included: fill them up with "
                f'padding="max_length", max_length={limit}'
            )
        output = self.text_tower(model)(
            input_ids=input_ids, attention_mask=attention_mask, **kwargs
        )
        return output[1]  # (B, P)

    def vision_tower(self, model: nn.Module) -> Any:
        """Find the module with embeddings, encoder, post_layernorm and head."""
        tower = down_to(model, "vision_model", "embeddings", "encoder", "post_layernorm")
        if getattr(tower, "head", None) is None:
            raise TypeError(
                f"the vision tower of this {type(model).__name__} has no pooling head "
                "(vision_use_head is False), so it makes no vector of an image: load it with one"
            )
        return tower

    def image_features(self, model: nn.Module, pixel_values: Tensor, **kwargs: Any) -> Tensor:
        """Take what the pooling head makes of all patches."""
        return self.vision_tower(model)(pixel_values=pixel_values, **kwargs)[1]  # (B, P)

    def class_tokens(self, model: nn.Module) -> int:
        """There is none: the pooling head takes its place."""
        return 0

    def through_layers(self, model: nn.Module, tokens: Tensor) -> Tensor:
        """There is no norm in front of SigLIP's layers."""
        return self.vision_tower(model).encoder(inputs_embeds=tokens)[0]

    def read_out(self, model: nn.Module, states: Tensor) -> Tensor:
        """Let the probe of the pooling head collect from all that there is."""
        tower = self.vision_tower(model)
        return tower.head(tower.post_layernorm(states))

    def width(self, model: Any) -> int:
        """Read the width of the vision tower, which the text tower's head leads to as well."""
        config = model.config
        text = getattr(config, "projection_size", None)  # of a text tower alone
        return int(text or getattr(config, "vision_config", config).hidden_size)

    def logits(self, model: Any, cosines: Tensor) -> Tensor:
        """Scale the cosines and add the bias, which makes most pairs unlikely at first."""
        return super().logits(model, cosines) + model.logit_bias.detach().to(cosines)
