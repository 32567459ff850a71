"""Annotated source of well-known modules that are not CLIP: the calls that hooks see, all found."""

import json

import pytest
import torch
import transformers as tf
from torch import nn

from annotated import assert_same_calls
from clipnotes.trace.annotation import annotate

IDS = torch.tensor([[5, 6, 7, 8], [5, 9, 7, 1]])
PIXELS = torch.linspace(-1, 1, 2 * 3 * 16 * 16).view(2, 3, 16, 16)
SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
IMAGE = {**SMALL, "image_size": 16, "patch_size": 8}
TEXT = {**SMALL, "vocab_size": 30}


def llava():
    vision, text = tf.CLIPVisionConfig(**IMAGE), tf.LlamaConfig(**TEXT)
    config = tf.LlavaConfig(vision_config=vision, text_config=text, image_token_index=29)
    ids = torch.tensor([[3, 29, 29, 29, 29, 7]])
    return tf.LlavaForConditionalGeneration(config), {"input_ids": ids, "pixel_values": PIXELS[:1]}


def siglip():
    config = tf.SiglipConfig(
        text_config={**TEXT, "max_position_embeddings": 8, "projection_size": 16},
        vision_config=IMAGE,
    )
    return tf.SiglipModel(config), {"input_ids": IDS, "pixel_values": PIXELS}


def t5():
    config = tf.T5Config(vocab_size=30, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    return tf.T5Model(config), {"input_ids": IDS, "decoder_input_ids": IDS[:, :3]}


def whisper():
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 16, "vocab_size": 30}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = tf.WhisperConfig(
        **sizes,
        **heads,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_mel_bins=8,
        max_source_positions=10,
        max_target_positions=8,
        pad_token_id=0,
        decoder_start_token_id=1,
    )
    sound = torch.linspace(-1, 1, 8 * 20).view(1, 8, 20)
    return tf.WhisperModel(config), {"input_features": sound, "decoder_input_ids": IDS[:1]}


def transformer():
    model = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)
    return model, {"src": torch.ones(2, 5, 16), "tgt": torch.ones(2, 3, 16)}


def unet():
    """A U-Net as diffusers builds them: a time embedding, down, up, and what is kept between."""

    class Block(nn.Module):
        def __init__(self, c_in, c_out):
            super().__init__()
            self.norm = nn.GroupNorm(2, c_in)
            self.conv = nn.Conv2d(c_in, c_out, 3, padding=1)
            self.time = nn.Linear(8, c_out)

        def forward(self, x, t):
            return self.conv(nn.functional.silu(self.norm(x))) + self.time(t)[..., None, None]

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 4, 1)
            self.down = nn.ModuleList([Block(4, 8), Block(8, 8)])
            self.up = nn.ModuleList([Block(16, 8), Block(12, 4)])

        def forward(self, x, t):
            x, kept = self.first(x), []
            for block in self.down:
                kept.append(x)
                x = nn.functional.avg_pool2d(block(x, t), 2)
            for block in self.up:
                x = nn.functional.interpolate(x, scale_factor=2)
                x = block(torch.cat([x, kept.pop()], dim=1), t)
            return x

    return UNet(), {"x": PIXELS, "t": torch.ones(2, 8)}


MODULES = {
    "nn.Transformer": transformer,
    "nn.LSTM": lambda: (nn.LSTM(4, 4, 2), {"input": torch.ones(3, 2, 4)}),
    "U-Net": unet,
    "BERT": lambda: (tf.BertModel(tf.BertConfig(**TEXT)), {"input_ids": IDS}),
    "GPT-2": lambda: (
        tf.GPT2Model(tf.GPT2Config(vocab_size=30, n_embd=16, n_layer=2, n_head=2)),
        {"input_ids": IDS},
    ),
    "Llama": lambda: (tf.LlamaModel(tf.LlamaConfig(**TEXT)), {"input_ids": IDS}),
    "Qwen2": lambda: (
        tf.Qwen2Model(tf.Qwen2Config(**TEXT, num_key_value_heads=1)),
        {"input_ids": IDS},
    ),
    "T5": t5,
    "Whisper": whisper,
    "SigLIP": siglip,
    "LLaVA": llava,
    "ViT": lambda: (tf.ViTModel(tf.ViTConfig(**IMAGE)), {"pixel_values": PIXELS}),
    "DINOv2": lambda: (tf.Dinov2Model(tf.Dinov2Config(**IMAGE)), {"pixel_values": PIXELS}),
    "Swin": lambda: (
        tf.SwinModel(
            tf.SwinConfig(
                image_size=16,
                patch_size=2,
                embed_dim=8,
                depths=[1, 1],
                num_heads=[1, 2],
                window_size=4,
            )
        ),
        {"pixel_values": PIXELS},
    ),
    "ResNet": lambda: (
        tf.ResNetModel(
            tf.ResNetConfig(
                embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
            )
        ),
        {"pixel_values": PIXELS},
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_of_other_models_the_same_calls_are_found_as_hooks_see(name):
    torch.manual_seed(0)
    model, inputs = MODULES[name]()
    # With gradients: without them torch's own Transformer takes a way that calls no module, unless
    # there are hooks.
    notes = annotate(model.eval(), **inputs, deep=True)
    assert assert_same_calls(notes, model, inputs) >= 1
    assert max(map(len, str(notes).splitlines())) <= 100
    json.dumps(notes.to_dict())
    assert "```python" in notes.to_markdown()
