"""LLaVA around a language model: the projector, the splice, and the loop that answers.

The reference is ``LlavaForConditionalGeneration`` of transformers (Liu et al. 2023,
https://arxiv.org/abs/2304.08485; the projector of two layers, https://arxiv.org/abs/2310.03744).
The language model itself is transformers' own. In the shape comments, N counts the patches of an
image, L the tokens of a prompt, D the width of the tower, and E that of the language model.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipnotes.compat.llava import llava_parts
from clipnotes.model.vision import VisionTower


class Projector(nn.Module):
    """Carry each patch into the space of the language model's word vectors.

    Args:
        vision_size: The width of the tower, D.
        text_size: The width of the language model, E.

    Example:
        >>> Projector(8, 16)(torch.randn(2, 4, 8)).shape
        torch.Size([2, 4, 16])
    """

    def __init__(self, vision_size: int, text_size: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(vision_size, text_size)
        self.linear_2 = nn.Linear(text_size, text_size)

    def forward(self, patches: Tensor) -> Tensor:
        """Map (B, N, D) to (B, N, E)."""
        return self.linear_2(F.gelu(self.linear_1(patches)))


def splice(words: Tensor, patches: Tensor, is_image: Tensor) -> Tensor:
    """Put the projected patches of images where a prompt has image tokens.

    Args:
        words: (B, L, E), the vectors of all tokens; those of image tokens are thrown away.
        patches: (B, N, E), from the projector.
        is_image: (B, L) bool, where the image tokens are: N in each row.

    Returns:
        (B, L, E), a new tensor; gradients flow into both `words` and `patches`.

    Raises:
        ValueError: A row does not have exactly one image token for each patch. Transformers
            compares only the sums over all rows, so 63 and 65 pass there for 64 and 64.

    Example:
        >>> is_image = torch.tensor([[False, True, True, False]])
        >>> splice(torch.zeros(1, 4, 1), torch.ones(1, 2, 1), is_image).flatten()
        tensor([0., 1., 1., 0.])
    """
    counts = is_image.sum(1).tolist()
    if any(count != patches.shape[1] for count in counts) or len(counts) != len(patches):
        raise ValueError(
            f"{len(patches)} images of {patches.shape[1]} patches for rows with {counts} image "
            "tokens; each row needs one image, and one image token for each of its patches"
        )
    spliced = words.clone()
    spliced[is_image] = patches.flatten(0, 1).to(words.dtype)  # row by row, as they were cut
    return spliced


class Llava(nn.Module):
    """A language model that is shown an image as words: one for each patch.

    Args:
        vision_tower: Gives the patches.
        projector: Carries them over.
        language_model: transformers' layers of a language model: embeddings in, states out.
        lm_head: States to logits over the vocabulary.
        image_token_id: The token that stands for a patch in a prompt.
        feature_layer: Which entry of the tower's hidden states is taken; LLaVA's own is -2.

    Example:
        >>> import clipnotes
        >>> theirs = clipnotes.load_llava()
        >>> ours = Llava.from_transformers(theirs.model)
        >>> ours.projector.linear_1.in_features
        128
    """

    def __init__(
        self,
        vision_tower: VisionTower,
        projector: Projector,
        language_model: Any,
        lm_head: nn.Linear,
        *,
        image_token_id: int,
        feature_layer: int = -2,
    ) -> None:
        super().__init__()
        self.vision_tower = vision_tower
        self.projector = projector
        self.language_model = language_model
        self.lm_head = lm_head
        self.image_token_id = image_token_id
        self.feature_layer = feature_layer

    @classmethod
    def from_transformers(cls, model: Any) -> Llava:
        """Build one with a copy of the weights of a ``LlavaForConditionalGeneration``.

        Args:
            model: With a CLIP vision tower, one feature layer, and patches without class token.

        Returns:
            A model with the same numbers, that shares no memory with `model`.

        Raises:
            TypeError: It is no LLaVA, or its tower is not CLIP's.
            ValueError: It takes several layers, or the class token too.
        """
        parts, config = llava_parts(model), model.config
        if not isinstance(config.vision_feature_layer, int):
            raise ValueError(
                f"the model takes the layers {config.vision_feature_layer}; only one is copied"
            )
        if config.vision_feature_select_strategy != "default":
            raise ValueError(
                f"the model selects {config.vision_feature_select_strategy!r}; only 'default', "
                "the patches without the class token, is copied"
            )
        theirs = parts.projector
        projector = Projector(theirs.linear_1.in_features, theirs.linear_1.out_features)
        projector.load_state_dict(theirs.state_dict())
        made = cls(
            VisionTower.from_transformers(parts.vision_tower),
            projector.to(theirs.linear_1.weight),
            *copy.deepcopy((parts.language_model, parts.lm_head)),  # together: they may be tied
            image_token_id=config.image_token_index,
            feature_layer=config.vision_feature_layer,
        )
        return made.train(model.training)

    def look(self, pixel_values: Tensor) -> Tensor:
        """Turn images (B, 3, S, S) into what stands for them in a prompt, (B, N, E)."""
        states = self.vision_tower(pixel_values, output_hidden_states=True).hidden_states
        patches = states[self.feature_layer][:, 1:]  # (B, N, D): all but the class token
        return self.projector(patches)

    def forward(
        self, input_ids: Tensor, pixel_values: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor:
        """Give the logits of the next token at every place.

        Args:
            input_ids: (B, L), with N image tokens in each row.
            pixel_values: (B, 3, S, S).
            attention_mask: (B, L), 0 at padding. ``None``: there is none.

        Returns:
            (B, L, V) for a vocabulary of V tokens.

        Raises:
            ValueError: A row has more or fewer image tokens than its image has patches.
        """
        words = self.language_model.embed_tokens(input_ids)  # (B, L, E)
        inputs = splice(words, self.look(pixel_values), input_ids == self.image_token_id)
        return self._logits(inputs, attention_mask)

    def _logits(self, inputs: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        states = self.language_model(
            inputs_embeds=inputs, attention_mask=attention_mask, use_cache=False
        )
        return self.lm_head(states.last_hidden_state)  # (B, L, V)

    @torch.no_grad()
    def generate(
        self, input_ids: Tensor, pixel_values: Tensor, *, end: int, max_new_tokens: int = 32
    ) -> Tensor:
        """Answer greedily: the most probable token, again and again, until `end`.

        The whole prompt is read anew for each token. transformers keeps the keys and values of
        what was read; the answers are the same.

        Args:
            input_ids: (B, L), rows without padding.
            pixel_values: (B, 3, S, S).
            end: The token that ends an answer; behind it, a row is filled with it.
            max_new_tokens: Stop after so many.

        Returns:
            (B, n) new tokens, n at most `max_new_tokens`.
        """
        words = self.language_model.embed_tokens(input_ids)
        # The image is looked at once; only the text grows.
        inputs = splice(words, self.look(pixel_values), input_ids == self.image_token_id)
        said = input_ids[:, :0]
        for _ in range(max_new_tokens):
            token = self._logits(inputs)[:, -1].argmax(-1, keepdim=True)  # (B, 1)
            ended = (said == end).any(1, keepdim=True)
            token = token.masked_fill(ended, end)
            said = torch.cat([said, token], 1)
            inputs = torch.cat([inputs, self.language_model.embed_tokens(token)], 1)
            if bool((said == end).any(1).all()):
                break
        return said
