"""Prompts on each family that is carried are its own texts: features, gradients, refusals."""

import warnings

import pytest
import torch
from torch import nn

from clipnotes import compat
from clipnotes.prompts import LearnableTextEmbeddings, PromptLearner, chunks, inject
from clipnotes.prompts.encode import encode, encode_each
from clipnotes.prompts.learnable_table import LearnableTable
from families import LENGTH, NAMES, SIZES, tiny_clip
from reference import agree, assert_close

# CLIPSeg and MetaCLIP 2 say that their towers, though causal, are not CLIP's own.
pytestmark = pytest.mark.filterwarnings("ignore:prompts take the plain path")

EVERY = [(name, size) for name in NAMES for size in SIZES]
AHEAD = ["Siglip", "ChineseCLIP", "AltCLIP", "VisionTextDualEncoder"]  # whose tokens look ahead
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


def first_place(name):
    return 0 if name == "Siglip" else 1  # its tokenizer puts nothing in front of a text


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


def by_hand(clip, name, ctx):
    """The model's own features with ``ctx`` in the place of the first words, by plain autograd."""
    first = first_place(name)
    rows = clip.tokenizer(sentences("end"))["input_ids"]
    assert rows[0][first : first + 4] == clip.tokenizer(INIT, add_special_tokens=False)["input_ids"]

    def put(module, args, tokens):
        before, behind = tokens[:, :first], tokens[:, first + len(ctx) :]
        return torch.cat([before, ctx.expand(len(tokens), -1, -1), behind], dim=1)

    n_ids = len(clip.tokenizer)
    tables = [m for m in clip.model.modules() if isinstance(m, nn.Embedding)]
    (table,) = [table for table in tables if table.num_embeddings == n_ids]
    handle = table.register_forward_hook(put)
    try:
        return of_the_model(clip, sentences("end"))
    finally:
        handle.remove()


def draw(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gradient_of(features, ctx):
    (gradient,) = torch.autograd.grad((features * draw(features.shape[-1], seed=4)).sum(), ctx)
    assert gradient.abs().max() > 1e-3
    return gradient


@pytest.mark.parametrize(("name", "size"), EVERY)
def test_the_gradient_of_the_context_is_that_of_plain_autograd(name, size):
    clip = tiny_clip(name, size)
    learner = PromptLearner(clip, CLASSES, init=INIT)
    ctx = (learner.ctx.detach() + 0.3 * draw(*learner.ctx.shape, seed=3)).requires_grad_()
    theirs = by_hand(clip, name, ctx)
    wanted = gradient_of(theirs, ctx)
    for memory in (None, 1):  # at once, and a class at a time, computed twice
        ours = encode(clip.model, learner.layout, ctx, memory=memory)
        assert_close("features", ours, theirs)
        assert_close("gradient", gradient_of(ours, ctx), wanted)
    assert all(weight.grad is None for weight in clip.model.parameters())
    assert all(weight.requires_grad for weight in clip.model.parameters())


@pytest.mark.parametrize("name", AHEAD)
def test_contexts_of_classes_and_of_images_come_to_their_own(name, monkeypatch):
    clip = tiny_clip(name)
    layout = PromptLearner(clip, CLASSES, n_ctx=2).layout
    several = draw(3, 2, 12, seed=1).requires_grad_()
    one_by_one = torch.stack([encode(clip.model, layout, ctx) for ctx in several])  # (3, 3, P)
    wanted = gradient_of(one_by_one, several)
    runs, run = [], chunks._run
    monkeypatch.setattr(chunks, "_run", lambda *a: runs.append(len(a[3])) or run(*a))
    # Two prompts at a time: with several chunks, the gradient computes each of them again.
    memory = 2 * chunks.bytes_per_prompt(clip.model, layout.input_ids.shape[1], True)
    each = encode_each(clip.model, layout, several, memory=memory)
    masked = layout.attention_mask is not None  # then the three classes are of three lengths
    assert runs == ([2, 1, 2, 1, 2, 1] if masked else [2, 2, 2, 2, 1])
    assert_close("each", each, one_by_one)
    assert_close("gradient", gradient_of(each, several), wanted)
    assert sorted(runs) == ([1] * 6 + [2] * 6 if masked else [1, 1] + 8 * [2])
    own = encode(clip.model, layout, several)
    assert_close("own", own, one_by_one[torch.arange(3), torch.arange(3)])
    with pytest.raises(ValueError, match="ctx is for 2 classes and the layout for 3"):
        encode(clip.model, layout, several[:2])


@pytest.mark.parametrize("name", AHEAD)
def test_the_plain_path_is_no_news_where_there_is_no_other(name):
    clip = tiny_clip(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PromptLearner(clip, CLASSES, n_ctx=2)()


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_are_replaced_trained_and_put_back(name):
    clip, first = tiny_clip(name), first_place(name)
    model, family = clip.model, compat.family_of(clip.model)
    own = family.text_embeddings(model), family.token_table(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    plain = of_the_model(clip, sentences("end")).detach()
    ids = torch.tensor(clip.tokenizer(INIT, add_special_tokens=False)["input_ids"])
    learnable = LearnableTextEmbeddings.replace(model, start=first, init=ids)
    assert isinstance(learnable, LearnableTable) == (name in AHEAD[1:])
    trained = [key for key, weight in model.named_parameters() if weight.requires_grad]
    assert len(trained) == 1 and trained[0].endswith(".ctx") and learnable.n_ctx == 4
    assert_close("features", of_the_model(clip, sentences("end")), plain)
    with pytest.raises(ValueError, match=r"replaced before, with 4 context vectors: call restore"):
        LearnableTextEmbeddings.replace(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    gradient_of(of_the_model(clip, sentences("end")), learnable.ctx)
    for _ in range(2):
        of_the_model(clip, sentences("end"))[:, 0].sum().backward()
        optimizer.step()
    assert not agree(of_the_model(clip, sentences("end")), plain, 1e-3)
    learnable.restore()
    assert (family.text_embeddings(model), family.token_table(model)) == own
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert all(weight.requires_grad for weight in model.parameters())
    with pytest.raises(ValueError, match="nothing to restore"):
        learnable.restore()


@pytest.mark.parametrize("name", AHEAD)
def test_no_vector_stands_where_a_text_is_read_out(name):
    clip = tiny_clip(name)
    place = LENGTH - 1 if name == "Siglip" else 0
    said = f"text 0 is read out at place {place}, where a context vector"
    with inject(clip.model, torch.zeros(1, 12), place), pytest.raises(ValueError, match=said):
        of_the_model(clip, ["a rose"])
    learnable = LearnableTextEmbeddings.replace(clip.model, 1, place)
    with pytest.raises(ValueError, match=said):
        of_the_model(clip, ["a rose"])
    learnable.restore()
    with (
        pytest.raises(ValueError, match=f"places {LENGTH - 1} to {LENGTH}: the model has pos"),
        inject(clip.model, torch.zeros(2, 12), LENGTH - 1),
    ):
        pass


def test_what_has_no_text_tower_that_is_known_is_refused_before_any_work():
    clip = tiny_clip("VisionTextDualEncoder")
    clip.model.text_model.pooler = None
    for refused in (
        lambda: PromptLearner(clip, CLASSES),
        lambda: inject(clip.model, torch.zeros(2, 12)).__enter__(),
        lambda: LearnableTextEmbeddings.replace(clip.model),
    ):
        with pytest.raises(TypeError, match=r"text tower .* is a BertModel.*with its pooler"):
            refused()
    assert not any(module._forward_hooks for module in clip.model.modules())
    assert all(weight.requires_grad for weight in clip.model.parameters())


@pytest.mark.parametrize("name", [name for name in AHEAD if name != "Siglip"])
def test_no_padding_is_computed_where_it_is_masked(name):
    clip = tiny_clip(name)
    layout = PromptLearner(clip, CLASSES, n_ctx=2).layout
    ctx = draw(2, 12, seed=5).requires_grad_()
    seen = []
    table = compat.family_of(clip.model).token_table(clip.model)
    hook = table.register_forward_hook(lambda _, args, out: seen.append(args[0].shape))
    fast = encode(clip.model, layout, ctx)
    assert sum(shape.numel() for shape in seen) == int(layout.attention_mask.sum())
    seen.clear()
    plain = encode(clip.model, layout, ctx, fast=False)
    assert [tuple(shape) for shape in seen] == [tuple(layout.input_ids.shape)]
    hook.remove()
    assert layout.attention_mask.sum() < layout.input_ids.numel()
    assert_close("features", fast, plain)
    assert_close("gradient", gradient_of(fast, ctx), gradient_of(plain, ctx))
