"""Small random models of the families that are carried, each with a tokenizer of its own kind."""

from __future__ import annotations

from typing import Any

import transformers
from packaging.version import Version
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import clipnotes
from clipnotes.compat import image_processor_class, kind_of
from reference import randomise

WORDS = ["x", "a", "photo", "of", "an", "emoji", "the", "rose", "tulip", "beetle", "bear"]
WORDS += ["fox", "dog", "red", ".", ",", "kite", "apple"]
LENGTH = 12  # text positions

# Two sizes of each: width, heads, layers, shared width.
SIZES = {"small": (12, 2, 2, 6), "larger": (24, 4, 3, 10)}
NAMES = ["CLIP", "CLIPSeg", "Siglip", "ChineseCLIP", "AltCLIP", "VisionTextDualEncoder"]
if Version("4.56") <= Version(transformers.__version__):  # older ones do not know it
    NAMES.append("MetaClip2")


def save(clip: clipnotes.Clip, folder: Any) -> Any:
    """Write a model with all that belongs to it, as transformers does."""
    for part in (clip.model, clip.tokenizer, clip.image_processor):
        part.save_pretrained(folder)
    return folder


def tokenizer_of(name: str) -> Any:
    """A tokenizer of whole words with the special tokens that a family's own has.

    CLIP: start, text, end, padding with the end. SigLIP: text, end, padding with the end, no start,
    no mask. BERT and RoBERTa: class token, text, separator, padding of its own.
    """
    kind = {"Siglip": "siglip", "AltCLIP": "roberta", "ChineseCLIP": "bert"}.get(name, "clip")
    kind = "bert" if name == "VisionTextDualEncoder" else kind
    start, end, pad = {
        "clip": ("<s>", "</s>", "</s>"),
        "siglip": (None, "</s>", "</s>"),
        "roberta": ("<s>", "</s>", "<pad>"),
        "bert": ("[CLS]", "[SEP]", "[PAD]"),
    }[kind]
    # RoBERTa's padding has id 1, where its positions begin to count; BERT's has 0.
    first = ["<s>", "<pad>", "</s>"] if kind == "roberta" else [pad, "<unk>"]
    tokens = list(dict.fromkeys([*first, "<unk>", *WORDS, *filter(None, (start, end))]))
    if kind in ("clip", "siglip"):  # as in the originals, the end has the largest id
        tokens = [*(token for token in tokens if token != end), end]
    vocab = {token: i for i, token in enumerate(tokens)}
    made = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    around = [(token, vocab[token]) for token in (start, end) if token]
    single = f"{start} $A {end}" if start else f"$A {end}"
    made.post_processor = processors.TemplateProcessing(single=single, special_tokens=around)
    inputs = ["input_ids"] if kind == "siglip" else ["input_ids", "attention_mask"]
    more = {"cls_token": start, "sep_token": end} if kind in ("bert", "roberta") else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=start if kind != "bert" else None,
        eos_token=end if kind != "bert" else None,
        pad_token=pad,
        unk_token="<unk>",
        model_input_names=inputs,
        model_max_length=LENGTH,
        **more,
    )


def tiny_model(name: str, size: str = "small", seed: int = 0) -> Any:
    """A random model of a family, with every bias and norm randomised too."""
    width, heads, layers, shared = SIZES[size]
    tokenizer = tokenizer_of(name)
    common = {
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "intermediate_size": 2 * width,
    }
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = {**common, **special, "vocab_size": len(tokenizer), "max_position_embeddings": LENGTH}
    vision = {**common, "image_size": 8, "patch_size": 4}
    if name == "VisionTextDualEncoder":
        eye, reader = transformers.ViTConfig(**vision), transformers.BertConfig(**text)
        return _dual(eye, reader, shared, seed)
    if name == "AltCLIP":  # its positions count from behind the padding's id on
        text |= {"max_position_embeddings": LENGTH + 2, "project_dim": width}
    if name == "Siglip":
        config = transformers.SiglipConfig(
            text_config={**text, "projection_size": width}, vision_config=vision
        )
    else:
        config = getattr(transformers, f"{name}Config")(
            text_config={**text, "projection_dim": shared},
            vision_config={**vision, "projection_dim": shared},
            projection_dim=shared,
        )
    return randomise(getattr(transformers, f"{name}Model")(config), seed)


def _dual(eye: Any, reader: Any, shared: int, seed: int) -> Any:
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
        eye, reader, projection_dim=shared
    )
    return randomise(transformers.VisionTextDualEncoderModel(config), seed)


def dual_clip(eye: str, reader: str = "Bert", seed: int = 0) -> clipnotes.Clip:
    """A dual encoder of other towers than BERT and ViT, by the names of their configurations."""
    tokenizer = tokenizer_of("VisionTextDualEncoder" if reader == "Bert" else "AltCLIP")
    width, heads, layers, shared = SIZES["small"]
    common = {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": layers}
    common |= {"intermediate_size": 2 * width}
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": LENGTH + 2}
    text |= {"pad_token_id": tokenizer.pad_token_id}
    model = _dual(
        getattr(transformers, f"{eye}Config")(**common, image_size=8, patch_size=4),
        getattr(transformers, f"{reader}Config")(**common, **text),
        shared,
        seed,
    )
    square = {"height": 8, "width": 8}
    return clipnotes.Clip(model, tokenizer, image_processor_class("ViTImageProcessor")(size=square))


def some_clip(name: str) -> clipnotes.Clip:
    """A family by its name, or a dual encoder by the names of its towers: "ViT+Roberta"."""
    return dual_clip(*name.split("+")) if "+" in name else tiny_clip(name)


def tiny_clip(name: str, size: str = "small", seed: int = 0) -> clipnotes.Clip:
    """The model with its tokenizer and an image processor of its family, for its size."""
    model = tiny_model(name, size, seed)
    kind = kind_of(model).image_processor
    square = {"height": 8, "width": 8}
    # Chinese-CLIP's of 4.49 knows no shortest edge.
    how = {"size": 8 if kind == "CLIPImageProcessor" else square}
    how |= {"crop_size": square} if "CLIP" in kind else {}
    return clipnotes.Clip(model, tokenizer_of(name), image_processor_class(kind)(**how))
