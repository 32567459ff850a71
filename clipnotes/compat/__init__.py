"""Everything that depends on the version of transformers, and nothing else.

Hugging Face's CLIP computes the same numbers in every version, but it hands them out differently.
The rest of the package asks the functions below and does not look at versions. What differs
between those it is tested with, 4.49, 4.57, 5.5, 5.18 and 5.24:

- The module with the layers is ``model.vision_model``; since 5.18 ``CLIPVisionModel`` itself.
- ``get_image_features`` gives a tensor, but since 5.5 an output object whose ``pooler_output`` is
  overwritten by the projection.
- ``output_attentions=True`` under SDPA gives the weights and a warning in 4.49, a tuple of ``None``
  in 4.57, an empty tuple since 5.5.
- What was called gradient checkpointing is called activation checkpointing in 5.24.

Below, B is the batch size, N the number of tokens, D the width of a tower and P the width of the
space that both towers are projected into.
"""

from clipnotes.compat.states import TowerStates, eager_attention, text_states, vision_states
from clipnotes.compat.towers import (
    image_features,
    text_features,
    text_projection,
    text_tower,
    vision_tower,
    visual_projection,
)
from clipnotes.compat.versions import (
    changes_nothing,
    checkpoint_layers,
    image_processor_class,
    recorded,
    source_url,
)

__all__ = [
    "TowerStates",
    "changes_nothing",
    "checkpoint_layers",
    "eager_attention",
    "image_features",
    "image_processor_class",
    "recorded",
    "source_url",
    "text_features",
    "text_projection",
    "text_states",
    "text_tower",
    "vision_states",
    "vision_tower",
    "visual_projection",
]
