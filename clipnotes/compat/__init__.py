"""Everything that depends on the version of transformers or the family of a model, nothing else.

Hugging Face's CLIP computes the same numbers in every version, but returns them in different ways.
The rest of the package calls the functions below and never looks at the version. The package is
tested with 4.49, 4.57, 5.5, 5.18 and 5.24, which differ in this:

- The layers of a ``CLIPVisionModel`` are in its ``vision_model``; since 5.18 in the model itself.
- ``get_image_features`` returns a tensor; since 5.5 an output object in which the projected vector
  has taken the place of ``pooler_output``.
- ``output_attentions=True`` under SDPA returns the weights with a warning in 4.49, a tuple of
  ``None`` in 4.57, and an empty tuple since 5.5.
- Gradient checkpointing is called activation checkpointing in 5.24.
- The causal mask is made by other functions since 5.5, and the loss has another name since 5.18.

Below, B is the batch size, L the number of tokens, D the width of a tower and P the width of the
space that both towers are projected into.
"""

from clipnotes.compat.families import FAMILIES, Family, family_of
from clipnotes.compat.features import (
    image_features,
    logits,
    shared_width,
    text_features,
)
from clipnotes.compat.functions import loss_function, mask_functions
from clipnotes.compat.kinds import KINDS, Kind, kind_of, kind_of_config
from clipnotes.compat.states import TowerStates, eager_attention, text_states, vision_states
from clipnotes.compat.towers import (
    text_projection,
    text_tower,
    vision_tower,
    visual_projection,
)
from clipnotes.compat.versions import (
    changes_nothing,
    checkpoint_layers,
    image_processor_class,
    read_image_processor,
    recorded,
    source_url,
)

__all__ = [
    "FAMILIES",
    "KINDS",
    "Family",
    "Kind",
    "TowerStates",
    "changes_nothing",
    "checkpoint_layers",
    "eager_attention",
    "family_of",
    "image_features",
    "image_processor_class",
    "kind_of",
    "kind_of_config",
    "logits",
    "loss_function",
    "mask_functions",
    "read_image_processor",
    "recorded",
    "shared_width",
    "source_url",
    "text_features",
    "text_projection",
    "text_states",
    "text_tower",
    "vision_states",
    "vision_tower",
    "visual_projection",
]
