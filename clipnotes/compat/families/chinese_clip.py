"""Chinese-CLIP: a BERT for texts, read out at its first position, beside CLIP's vision tower."""

from typing import Any

from torch import Tensor, nn

from clipnotes.compat.families.base import Projected, Reads, down_to, layers_of
from clipnotes.compat.towers import vision_tower


class BertLike(Projected):
    """What families share whose texts go through a BERT: read out at 0, padding masked."""

    def reads(self, model: nn.Module) -> Reads:
        """At the first position, where the tokenizer puts its class token."""
        return "first"

    def text_layers(self, model: nn.Module) -> nn.ModuleList:
        """Find the layers of the encoder, which have two names."""
        return layers_of(self.bert(model).encoder)

    def text_embeddings(self, model: nn.Module) -> Any:
        """Find BERT's ``embeddings``."""
        return self.bert(model).embeddings

    def token_table(self, model: nn.Module) -> Any:
        """Find ``embeddings.word_embeddings``."""
        return self.text_embeddings(model).word_embeddings

    def n_positions(self, model: nn.Module) -> int:
        """Count the rows of the position table, but for those that RoBERTa never uses."""
        rows = self.text_embeddings(model).position_embeddings.num_embeddings
        padding = self.padding_id(model)  # RoBERTa begins to count behind it
        return int(rows if padding is None else rows - padding - 1)

    def padding_id(self, model: nn.Module) -> int | None:
        """RoBERTa counts its positions by it; BERT has none."""
        return getattr(self.text_embeddings(model), "padding_idx", None)

    def bert(self, model: nn.Module) -> Any:
        """Find the module inside of the text tower with embeddings and encoder."""
        return self.text_tower(model)


class ChineseCLIP(BertLike):
    """Chinese-CLIP. It projects the state at position 0, without BERT's pooler."""

    name = "Chinese-CLIP"
    packages = frozenset({"chinese_clip"})

    def text_tower(self, model: nn.Module) -> Any:
        """Find the module with embeddings and a BERT's encoder."""
        tower = down_to(model, "text_model", "embeddings", "encoder")
        if not hasattr(tower.embeddings, "word_embeddings"):
            raise TypeError(
                f"a {type(tower).__name__} has no words: give the model or its text tower"
            )
        return tower

    def pooled_text(self, output: Any, ends: Tensor | None) -> Tensor:
        """Take the state at position 0."""
        return output[0][:, 0]  # (B, D)

    def vision_tower(self, model: nn.Module) -> Any:
        """Find the module with CLIP's parts."""
        return vision_tower(model)
