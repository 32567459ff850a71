"""What the package asks of a family of two-tower models, with the answers that most of them give.

Below, B is the batch size, L the number of text tokens, D the width of a tower and P the width of
the space that both towers share.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from clipnotes.compat.towers import (
    inside,
    projection,
    text_projection,
    vision_tower,
    visual_projection,
)

Reads = Literal["end", "first", "last"]


class Family(ABC):
    """How the models of one family encode. It holds nothing: each method is given the model.

    Attributes:
        name: What people call the family.
        packages: Its names below ``transformers.models``.
    """

    name: ClassVar[str]
    packages: ClassVar[frozenset[str]]

    # The text tower.

    @abstractmethod
    def reads(self, model: nn.Module) -> Reads:
        """Say where a text is read out, which also says what padding means.

        - "end": at its end token. No token looks ahead, so padding behind it never matters.
        - "first": at the first position. Every token looks at every other: padding needs a mask.
        - "last": at the last position. Texts are always filled up, and the padding is read too.
        """

    @abstractmethod
    def text_tower(self, model: nn.Module) -> Any:
        """Find the module that encodes ids, itself or inside of a larger model."""

    def text_embeddings(self, model: nn.Module) -> Any:
        """Find the module in front of the text tower's layers, which holds the tables."""
        return self.text_tower(model).embeddings

    def token_table(self, model: nn.Module) -> Any:
        """Find the module that maps ids to vectors, as the tower calls it, wrapped or not."""
        return self.text_embeddings(model).token_embedding

    def n_positions(self, model: nn.Module) -> int:
        """Say how many tokens a text may have."""
        return int(self.text_embeddings(model).position_embedding.num_embeddings)

    def padding_id(self, model: nn.Module) -> int | None:
        """Name the id that the model itself takes for padding; ``None`` if it looks at no id."""
        return None

    def text_layers(self, model: nn.Module) -> nn.ModuleList:
        """Find the layers of the text tower."""
        return layers_of(self.text_tower(model).encoder)

    @abstractmethod
    def text_features(
        self,
        model: nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        ends: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Encode texts into the shared space: (B, L) to (B, P), not normalised.

        ``ends`` is where each text ends, for families that read it out there.
        """

    def pooled_text(self, output: Any, ends: Tensor | None) -> Tensor:
        """Take the vectors, (B, D), that stand for the texts: what the tower itself pooled."""
        return output[1]

    def text_weights(self, model: nn.Module) -> dict[str, Tensor]:
        """List all weights that decide about the features of a text, by name."""
        return dict(self.text_tower(model).named_parameters())

    # The vision tower.

    @abstractmethod
    def vision_tower(self, model: nn.Module) -> Any:
        """Find the module that encodes pixels, itself or inside of a larger model."""

    def vision_embeddings(self, model: nn.Module) -> Any:
        """Find the module in front of the vision tower's layers, which cuts the patches."""
        return self.vision_tower(model).embeddings

    def vision_layers(self, model: nn.Module) -> nn.ModuleList:
        """Find the layers of the vision tower."""
        return layers_of(self.vision_tower(model).encoder)

    def class_tokens(self, model: nn.Module) -> int:
        """Say how many tokens the vision tower puts in front of the patches."""
        return 1

    @abstractmethod
    def through_layers(self, model: nn.Module, tokens: Tensor) -> Tensor:
        """Send what the embeddings made, or some of it, through the layers: (B, L, D) to same."""

    @abstractmethod
    def image_features(self, model: nn.Module, pixel_values: Tensor, **kwargs: Any) -> Tensor:
        """Encode images into the shared space: (B, 3, S, S) to (B, P), not normalised."""

    def visual_projection(self, model: nn.Module) -> nn.Linear:
        """Find the matrix that leads from the vision tower into the shared space."""
        raise self._projects_nothing(model)

    def pooled_image(self, model: nn.Module, pixel_values: Tensor) -> Tensor:
        """Encode images up to the visual projection: (B, 3, S, S) to (B, D)."""
        raise self._projects_nothing(model)

    def _projects_nothing(self, model: nn.Module) -> TypeError:
        return TypeError(
            f"a {type(model).__name__} has no visual projection: what the vision tower of "
            f"{self.name} gives is in the shared space already. Give a model of a family that has "
            "one, such as CLIP, Chinese-CLIP or AltCLIP"
        )

    @abstractmethod
    def read_out(self, model: nn.Module, states: Tensor) -> Tensor:
        """Make features of hidden states as if they were the last layer's: (B, L, D) to (B, P)."""

    def vision_weights(self, model: nn.Module) -> dict[str, Tensor]:
        """List all weights that decide about the features of an image, by name."""
        return dict(self.vision_tower(model).named_parameters())

    # Both.

    @abstractmethod
    def width(self, model: nn.Module) -> int:
        """Say how wide the shared space is: P."""

    def logits(self, model: Any, cosines: Tensor) -> Tensor:
        """Turn cosines of images and texts into logits; the model itself gets no gradient."""
        return model.logit_scale.detach().exp().to(cosines) * cosines


class Projected(Family):
    """A family in which one matrix a tower leads into the shared space, as in CLIP."""

    def text_features(
        self,
        model: nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        ends: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Project what is read out of the text tower."""
        tower, project = self.text_tower(model), projection(model, "text_projection")
        output = tower(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        return project(self.pooled_text(output, ends))  # (B, D) -> (B, P)

    def image_features(self, model: nn.Module, pixel_values: Tensor, **kwargs: Any) -> Tensor:
        """Project what the vision tower itself pooled."""
        tower, project = self.vision_tower(model), projection(model, "visual_projection")
        return project(tower(pixel_values=pixel_values, **kwargs)[1])  # (B, D) -> (B, P)

    def through_layers(self, model: nn.Module, tokens: Tensor) -> Tensor:
        """Norm the tokens first, as CLIP does; towers that do not begin so are refused."""
        tower: Any = vision_tower(model)
        return tower.encoder(inputs_embeds=tower.pre_layrnorm(tokens))[0]

    def visual_projection(self, model: nn.Module) -> nn.Linear:
        """Find ``visual_projection``, if it is one matrix."""
        return visual_projection(model)

    def pooled_image(self, model: nn.Module, pixel_values: Tensor) -> Tensor:
        """Take what the vision tower itself pooled."""
        pooled: Tensor = self.vision_tower(model)(pixel_values=pixel_values)[1]
        return pooled

    def read_out(self, model: nn.Module, states: Tensor) -> Tensor:
        """Norm and project the class token, as CLIP does; towers that do not end so are refused."""
        tower: Any = vision_tower(model)
        return visual_projection(model)(tower.post_layernorm(states[:, 0]))

    def text_weights(self, model: Any) -> dict[str, Tensor]:
        """List the weights of the tower and of its projection."""
        weights = super().text_weights(model)
        return {**weights, "text_projection.weight": model.text_projection.weight}

    def vision_weights(self, model: Any) -> dict[str, Tensor]:
        """List the weights of the tower and of its projection."""
        weights = super().vision_weights(model)
        return {**weights, "visual_projection.weight": model.visual_projection.weight}

    def width(self, model: Any) -> int:
        """Read it off a projection that is there."""
        eye_alone = hasattr(model, "visual_projection") and not hasattr(model, "text_projection")
        return int((visual_projection if eye_alone else text_projection)(model).out_features)


def renamed(weights: dict[str, Tensor], new: dict[str, str]) -> dict[str, Tensor]:
    """Give weights the names that the newest transformers has, part by part.

    What was learned with a model in one version must find it again in another.
    """
    for old, now in new.items():
        weights = {name.replace(old, now): weight for name, weight in weights.items()}
    return weights


def down_to(model: Any, part: str, *attributes: str) -> Any:
    """Go from a model to its part, and on to that one's, until a module has all ``attributes``."""
    found = inside(model, part, attributes)
    if found is None:
        raise TypeError(
            f"no {part.removesuffix('_model')} tower in a {type(model).__name__}: give the "
            f"two-tower model, or its tower (a module with {', '.join(attributes)})"
        )
    return found


def layers_of(encoder: Any) -> Any:
    """Find the list of layers, which BERT calls ``layer`` and CLIP ``layers``."""
    found = getattr(encoder, "layers", None)
    return encoder.layer if found is None else found
