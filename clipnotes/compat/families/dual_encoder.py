"""VisionTextDualEncoder: any vision tower beside any text tower, joined by two projections."""

from typing import Any

from torch import Tensor, nn

from clipnotes.compat.carried import family
from clipnotes.compat.compiled import original
from clipnotes.compat.families.base import layers_of, renamed
from clipnotes.compat.families.chinese_clip import BertLike
from clipnotes.compat.towers import projection

# Whose texts are read out at position 0 by a pooler, with words in `embeddings.word_embeddings`.
BERTS = ("bert", "camembert", "roberta", "xlm_roberta")
# Whose images are pooled by a class token, with layers in `encoder.layer` or `layers`.
EYES = ("chinese_clip", "clip", "deit", "vit")
# What the weights of these towers were called in older versions, and what they are called now.
NAMES = {
    "vision_model.": "",
    "encoder.layer.": "layers.",
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


class DualEncoder(BertLike):
    """A dual encoder of transformers with a BERT for texts and a ViT for images."""

    name = "VisionTextDualEncoder"
    packages = frozenset({"vision_text_dual_encoder"})

    def text_tower(self, model: Any) -> Any:
        """Return ``text_model``, if it is a BERT that has its pooler."""
        tower = original(model.text_model)
        if family(tower) not in BERTS or getattr(tower, "pooler", None) is None:
            raise TypeError(
                f"the text tower of this {type(model).__name__} is a {type(tower).__name__}, and "
                f"where it reads a text out is not known here. Give one of {', '.join(BERTS)}, "
                "with its pooler"
            )
        return tower

    def vision_tower(self, model: Any) -> Any:
        """Return ``vision_model``, if it pools with a class token."""
        tower = original(model.vision_model)
        if family(tower) not in EYES or getattr(tower, "pooler", tower) is None:
            raise TypeError(
                f"the vision tower of this {type(model).__name__} is a {type(tower).__name__}, and "
                f"how it pools an image is not known here. Give one of {', '.join(EYES)}; of ViT "
                "and DeiT with its pooler"
            )
        return tower

    def vision_weights(self, model: Any) -> dict[str, Tensor]:
        """List the weights of the tower and of its projection, by the names of today."""
        return renamed(super().vision_weights(model), NAMES)

    def vision_embeddings(self, model: Any) -> Any:
        """Find the module that cuts the patches."""
        tower = self.vision_tower(model)
        return getattr(tower, "vision_model", tower).embeddings  # CLIP's, up to 5.5

    def vision_layers(self, model: Any) -> nn.ModuleList:
        """Find the list of layers, which ViT and CLIP call by different names."""
        tower = self.vision_tower(model)
        tower = getattr(tower, "vision_model", tower)  # CLIP's, up to 5.5
        return layers_of(getattr(tower, "encoder", tower))

    def class_tokens(self, model: Any) -> int:
        """One, and a second one in DeiT, which learned from another network through it."""
        return 2 if family(self.vision_tower(model)) == "deit" else 1

    def through_layers(self, model: Any, tokens: Tensor) -> Tensor:
        """Send tokens through ViT's layers, which no norm stands in front of; CLIP's as CLIP."""
        if not hasattr(self.vision_tower(model), "pooler"):
            return super().through_layers(model, tokens)
        for layer in self.vision_layers(model):
            made = layer(tokens)
            tokens = made if isinstance(made, Tensor) else made[0]  # a tuple in older versions
        return tokens

    def read_out(self, model: Any, states: Tensor) -> Tensor:
        """Norm, pool and project the class token, as ViT does; CLIP's as CLIP."""
        tower = self.vision_tower(model)
        if not hasattr(tower, "pooler"):
            return super().read_out(model, states)
        pooled = tower.pooler(tower.layernorm(states))  # (B, L, D) -> (B, D)
        return projection(model, "visual_projection")(pooled)
