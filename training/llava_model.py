"""The shape of Emoji-LLaVA, what it is shown of the tower, and how packed questions run in it."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import clipnotes
from llava_data import BOS, EOS, IMAGE, PAD, Packed, mask_of, tokenizer

#: What of the tower's states the language model is shown: (B, 2, 65, D) -> (B, n, D).
SHOWN = {
    "patches": lambda clip, states: states[:, 0, 1:],  # of the layer before the last
    "last": lambda clip, states: states[:, 1, 1:],
    "all": lambda clip, states: states[:, 0],
    "class": lambda clip, states: clip.vision_model.post_layernorm(states[:, 1, :1]),
    "projected": lambda clip, states: clip.visual_projection(
        clip.vision_model.post_layernorm(states[:, 1, :1])
    ),
    "none": lambda clip, states: states[:, 0, :0],
    "shuffled": lambda clip, states: states[:, 0, 1:],  # see `Training.show`
}
#: Which of the 65 tokens these are.
TOKENS = {"all": slice(0, 65), "class": slice(0, 1), "projected": slice(0, 1), "none": slice(0, 0)}


def new_model(clip: clipnotes.Clip, shape: dict[str, int]) -> LlavaForConditionalGeneration:
    """Make a model with Emoji-CLIP's tower in it, frozen, and new weights in all the rest."""
    words = tokenizer()
    text = LlamaConfig(
        vocab_size=words.get_vocab_size(),
        max_position_embeddings=160,
        tie_word_embeddings=True,  # on LlavaConfig alone, transformers 4 does not see it
        bos_token_id=words.token_to_id(BOS),
        eos_token_id=words.token_to_id(EOS),
        pad_token_id=words.token_to_id(PAD),
        **shape,
    )
    config = LlavaConfig(
        vision_config=clip.model.config.vision_config,
        text_config=text,
        image_token_index=words.token_to_id(IMAGE),
        image_seq_length=64,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    return LlavaForConditionalGeneration(config)


SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 320,
    "num_hidden_layers": 5,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
}


def answers(
    model: LlavaForConditionalGeneration, shown: Tensor, packed: Packed, begin: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Run packed questions behind the images.

    Returns:
        Logits (n, V) and right tokens (n,) wherever an answer's token comes next, and the last
        hidden states of the image tokens (B, n, E).
    """
    embed = model.get_input_embeddings()
    b = len(shown)
    image = model.model.multi_modal_projector(shown)  # (B, n, D)
    inputs = torch.cat([embed(begin).expand(b, -1, -1), image, embed(packed.ids)], 1)
    n = len(begin) + image.shape[1]
    allowed = mask_of(packed, n)  # (B, 1, L, L)
    position = torch.cat([torch.arange(n).expand(b, -1), n + packed.position], 1)
    hidden = model.model.language_model(
        inputs_embeds=inputs,
        attention_mask=torch.zeros(allowed.shape).masked_fill(~allowed, -1e9),
        position_ids=position,
        use_cache=False,
    ).last_hidden_state  # (B, L, E)
    wanted = packed.target != -100
    logits = model.lm_head(hidden[:, n:][wanted])
    return logits, packed.target[wanted], hidden[:, len(begin) : n]
