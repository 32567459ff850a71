"""Prompts on each family that is carried are its own texts: features, gradients, refusals."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

import clipnotes
from clipnotes import compat
from clipnotes.prompts import CoCoOp, LearnableTextEmbeddings, PromptLearner, inject
from clipnotes.prompts.encode import encode, encode_each
from clipnotes.prompts.layout import Layout
from families import LENGTH, NAMES, SIZES, tiny_clip
from reference import agree, assert_close

EVERY = [(name, size) for name in NAMES for size in SIZES]
AHEAD = [name for name in NAMES if name in ("Siglip", "ChineseCLIP", "AltCLIP", "VisionTextDualEncoder")]
CLASSES = ["rose", "red dog", "a red tulip"]  # of one, two and three tokens
INIT = "a photo of a"


def of_the_model(clip, texts):
    """The model's own features, by its own tokenizer and its own call: (n, P), unit length."""
    last = "attention_mask" not in clip.tokenizer.model_input_names
    padding = {"padding": "max_length", "max_length": LENGTH} if last else {"padding": True}
    inputs = clip.tokenizer(texts, return_tensors="pt", **padding)
    pixels = torch.zeros(1, 3, 8, 8)
    return clip.model(**inputs, pixel_values=pixels).text_embeds


def sentences(position, init=INIT):
    words = init.split()
    half = len(words) // 2
    front, back = " ".join(words[:half]), " ".join(words[half:])
    return [
        {"end": f"{init} {name}.", "middle": f"{front} {name} {back}.", "front": f"{name} {init}."}[
            position
        ]
        for name in CLASSES
    ]


def first_place(clip):
    return 0 if clip.tokenizer.bos_token is clip.tokenizer.cls_token is None else 1


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize(("name", "size"), EVERY)
def test_a_prompt_of_words_is_the_models_own_sentence(name, size, position):
    clip = tiny_clip(name, size)
    learner = PromptLearner(clip, CLASSES, init=INIT, position=position)
    wanted = of_the_model(clip, sentences(position))
    assert not agree(wanted[:2], wanted[1:], 2e-4)  # names matter, twenty times as much
    assert_close("features", learner(), wanted)
    with torch.no_grad():
        assert_close("without a gradient", learner(), wanted)


def reference(clip, learner, ctx):
    """Features with ``ctx`` in the model's table of tokens, at ids of their own: plain autograd."""
    rows = clip.tokenizer(sentences(learner.position))["input_ids"]
    table = next(
        m for m in clip.model.modules() if isinstance(m, nn.Embedding)
        and m.num_embeddings == len(clip.tokenizer)
    )
    first = first_place(clip)

    def put(module, args, tokens):
        return torch.cat([tokens[:, :first], ctx.expand(len(tokens), -1, -1),
                          tokens[:, first + len(ctx):]], dim=1)

    assert rows[0][first : first + 4] == clip.tokenizer(INIT, add_special_tokens=False)["input_ids"]
    handle = table.register_forward_hook(put)
    features = of_the_model(clip, sentences("end"))
    handle.remove()
    return features


@pytest.mark.parametrize(("name", "size"), EVERY)
def test_the_gradient_of_the_context_is_that_of_plain_autograd(name, size):
    clip = tiny_clip(name, size)
    learner = PromptLearner(clip, CLASSES, init=INIT)
    moved = learner.ctx.detach() + 0.3 * torch.randn(
        learner.ctx.shape, generator=torch.Generator().manual_seed(3)
    )
    weights = torch.randn(3, compat.shared_width(clip.model), generator=torch.Generator().manual_seed(4))
    ctx = moved.clone().requires_grad_()
    theirs = reference(clip, learner, ctx)
    (wanted,) = torch.autograd.grad((theirs * weights).sum(), ctx)
    for memory in (None, 1):  # at once, and a class at a time, computed twice
        ours = encode(clip.model, learner.layout, ctx, memory=memory)
        (found,) = torch.autograd.grad((ours * weights).sum(), ctx)
        assert wanted.abs().max() > 1e-3
        assert_close("features", ours, theirs)
        assert_close("gradient", found, wanted)
    assert all(weight.grad is None for weight in clip.model.parameters())
