"""The prompt learner against a plain CoOp: logits and gradients, and what must not change."""

import copy
import random

import pytest
import torch
import torch.nn.functional as F
from transformers import CLIPTextModel

import clipnotes
from clipnotes.compat import checkpoint_layers
from clipnotes.prompts import PromptLearner
from clipnotes.prompts.encode import encode
from clipnotes.prompts.layout import Layout
from reference import agree, assert_close
from reference_prompts import (
    NAMES,
    POSITIONS,
    assert_equals_the_reference,
    images,
    prompt_clip,
)

KINDS = [False, True]


@pytest.mark.parametrize("old_end_rule", [False, True])
@pytest.mark.parametrize("n_ctx", [1, 2, 5, 12])
@pytest.mark.parametrize("per_class", KINDS)
@pytest.mark.parametrize("position", POSITIONS)
def test_equals_the_reference(clip, position, per_class, n_ctx, old_end_rule):
    draw = random.Random(f"{position} {per_class} {n_ctx} {old_end_rule}")
    tiny = prompt_clip(clip, seed=2 * draw.randrange(100) + old_end_rule)
    assert (tiny.model.config.text_config.eos_token_id == 2) == old_end_rule
    template = draw.choice(["{}.", "{}", "a photo of a {}, of course", "{} !"])
    learner = PromptLearner(
        tiny, NAMES, n_ctx, position=position, per_class=per_class, template=template
    )
    with torch.no_grad():
        learner.ctx.mul_(20)  # as long as the tiny models' tokens
    assert_equals_the_reference(tiny, learner)


@pytest.mark.parametrize("per_class", KINDS)
@pytest.mark.parametrize("position", POSITIONS)
def test_equals_the_reference_on_emoji_clip(clip, position, per_class):
    for kind in ({"n_ctx": 16}, {"init": "an emoji of a"}):
        learner = PromptLearner(clip, NAMES, position=position, per_class=per_class, **kind)
        assert_equals_the_reference(clip, learner)


@pytest.mark.parametrize("per_class", KINDS)
def test_an_initial_text_gives_its_plain_features(clip, per_class):
    learner = PromptLearner(clip, NAMES, init="an emoji of a", per_class=per_class)
    assert learner.ctx.shape == ((4, 4, 128) if per_class else (4, 128))
    assert learner.n_ctx == 4
    plain = clip.encode_text([f"an emoji of a {name}." for name in NAMES])
    assert_close("features", learner(), plain)
    if per_class:  # the contexts start equal and are not the same memory
        with torch.no_grad():
            learner.ctx[0].zero_()
        assert learner.ctx[1].abs().sum() > 0


def test_the_initial_text_is_counted_in_tokens(clip):
    text = "extraordinary lip"
    learner = PromptLearner(clip, NAMES, init=text, position="end")
    n_tokens = len(clip.tokenizer(text)["input_ids"]) - 2
    assert learner.n_ctx == n_tokens > len(text.split())
    assert_close("features", learner(), clip.encode_text([f"{text} {name}." for name in NAMES]))
    assert PromptLearner(clip, NAMES, n_tokens, init=text).n_ctx == n_tokens


def test_every_class_learns_its_own_context_or_all_one(clip):
    for per_class in KINDS:
        learner = PromptLearner(clip, NAMES, 3, init=None, per_class=per_class)
        learner()[0].square()[:7].sum().backward()
        moved = learner.ctx.grad.abs().sum(-1) > 0
        assert moved.tolist() == ([[True] * 3] + [[False] * 3] * 3 if per_class else [True] * 3)


def test_the_default_is_coop_s(clip):
    learner = PromptLearner(clip, NAMES)
    assert learner.n_ctx == 16
    assert learner.ctx.shape == (16, 128)
    assert learner.ctx.std().item() == pytest.approx(0.02, rel=0.05)
    assert (learner.position, learner.template, learner.per_class) == ("end", "{}.", False)
    assert learner.layout.ctx_positions[0].tolist() == list(range(1, 17))


def test_the_seed_decides_and_the_global_generator_is_left_alone(clip):
    before = torch.get_rng_state()
    one, same, other = (PromptLearner(clip, NAMES, 4, seed=seed).ctx for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    zero = PromptLearner(clip, NAMES, 4, seed=0).ctx
    assert torch.equal(PromptLearner(clip, NAMES, 4).ctx, zero)
    per_class = PromptLearner(clip, NAMES, 4, per_class=True).ctx
    assert not torch.equal(per_class[0], per_class[1])


# What belongs to the learner and what does not


def test_the_only_parameter_is_the_context(clip):
    learner = PromptLearner(clip, NAMES, 4)
    assert [name for name, _ in learner.named_parameters()] == ["ctx"]
    assert list(learner.state_dict()) == ["ctx"]
    assert learner.clip is clip
    assert learner.to("meta").ctx.is_meta
    assert not clip.model.logit_scale.is_meta


def test_names_may_come_in_any_order_that_can_be_gone_through(clip):
    for names in (tuple(NAMES), (name for name in NAMES), dict.fromkeys(NAMES)):
        learner = PromptLearner(clip, names, 2)
        assert learner.classnames == NAMES
        assert len(learner()) == len(NAMES)


def test_a_deep_copy_shares_the_clip_and_nothing_else(clip):
    learner = PromptLearner(clip, NAMES, 4)
    twin = copy.deepcopy(learner)
    assert twin.clip is clip
    assert agree(twin(), learner())
    with torch.no_grad():
        twin.ctx.zero_()
    twin.classnames.append("more")
    assert learner.ctx.abs().sum() > 0
    assert learner.classnames == NAMES
    list_of_both = copy.deepcopy([learner, learner])
    assert list_of_both[0] is list_of_both[1]


def test_training_changes_the_context_and_no_bit_of_the_model(clip):
    before = {name: tensor.clone() for name, tensor in clip.model.state_dict().items()}
    flags = [weight.requires_grad for weight in clip.model.parameters()]
    assert all(flags)
    learner = PromptLearner(clip, NAMES, 4)
    started = learner.ctx.detach().clone()
    both = [*learner.parameters(), *clip.model.parameters()]
    optimizer = torch.optim.AdamW(both, lr=0.01, weight_decay=0.5)
    losses = []
    for _ in range(5):
        loss = F.cross_entropy(learner.logits(images(clip)), torch.tensor([0, 1, 2, 3, 0]))
        optimizer.zero_grad()
        loss.backward()
        assert all(weight.grad is None for weight in clip.model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert not torch.equal(learner.ctx, started)
    assert all(
        torch.equal(tensor, before[name]) for name, tensor in clip.model.state_dict().items()
    )
    assert [weight.requires_grad for weight in clip.model.parameters()] == flags


def test_the_context_stays_single_precision_under_a_bfloat16_model(clip):
    half = clipnotes.Clip(
        copy.deepcopy(clip.model).to(torch.bfloat16), clip.tokenizer, clip.image_processor
    )
    for kind in ({"n_ctx": 4}, {"init": "a photo of a"}):
        learner = PromptLearner(half, NAMES, fast=False, **kind)
        reads = []
        tower = half.model.text_model.encoder
        handle = tower.register_forward_pre_hook(
            lambda module, args, kwargs, reads=reads: reads.append(kwargs["inputs_embeds"].dtype),
            with_kwargs=True,
        )
        logits = learner.logits(images(clip).bfloat16())
        handle.remove()
        logits.square().sum().backward()
        assert reads == [torch.bfloat16]
        assert {learner.ctx.dtype, learner.ctx.grad.dtype, logits.dtype} == {torch.float32}
        assert_close("unit", learner().norm(dim=-1), torch.ones(4), 1e-6)
        assert_close("features", learner(), PromptLearner(clip, NAMES, **kind)(), 0.05)


def test_a_context_in_double_precision_is_not_cut(clip):
    learner = PromptLearner(clip, NAMES, 2).double()
    assert {learner().dtype, learner.logits(images(clip)).dtype} == {torch.float64}
    assert_close("unit", learner().norm(dim=-1), torch.ones(4).double(), 1e-15)


def test_a_learner_without_gradient_costs_none(clip):
    with torch.no_grad():
        assert not PromptLearner(clip, NAMES, 4)().requires_grad


def test_layers_that_would_be_computed_again_too_late_are_refused(clip):
    model = copy.deepcopy(clip.model).train()
    checkpoint_layers(model)
    learner = PromptLearner(
        clipnotes.Clip(model, clip.tokenizer, clip.image_processor), NAMES, 4, fast=False
    )
    with pytest.raises(ValueError, match=r"gradient checkpointing.*requires_grad_\(False\)"):
        learner()
    with torch.no_grad():
        learner()
    model.eval()
    learner()
    model.requires_grad_(False)
    gradients = []
    for mode in (True, False):
        model.train(mode)
        learner.ctx.grad = None
        learner()[:, 0].sum().backward()
        gradients.append(learner.ctx.grad)
    assert_close("gradient", *gradients)


# What it cannot take


def test_wrong_arguments_are_named(clip):
    with pytest.raises(TypeError, match=r"clip is a CLIPModel.*clipnotes\.Clip\(model"):
        PromptLearner(clip.model, NAMES)
    text = CLIPTextModel(clip.model.config.text_config)
    bare = clipnotes.Clip(text, clip.tokenizer, clip.image_processor)
    with pytest.raises(TypeError, match="CLIPTextModel has no text_projection"):
        PromptLearner(bare, NAMES)
    with pytest.raises(ValueError, match="has 4 tokens and n_ctx is 16"):
        PromptLearner(clip, NAMES, 16, init="an emoji of a")
    with pytest.raises(ValueError, match="init is ' ', which has no token"):
        PromptLearner(clip, NAMES, init=" ")
    with pytest.raises(TypeError, match="init is a Tensor: give a text"):
        PromptLearner(clip, NAMES, init=torch.zeros(4, 128))
    with pytest.raises(ValueError, match=r"shape \(5, 64\): give \(n_images, 128\)"):
        PromptLearner(clip, NAMES, 4).logits(torch.zeros(5, 64))
    with pytest.raises(ValueError, match=r"shape \(128,\): give \(n_images, 128\)"):
        PromptLearner(clip, NAMES, 4).logits(torch.zeros(128))
    with pytest.raises(
        ValueError, match=r"leaving room for 28 .* of the 32 positions.*n_ctx is 40"
    ):
        PromptLearner(clip, ["dog"], 40)


def test_a_context_for_other_classes_is_refused(clip):
    layout = Layout.build(clip.tokenizer, NAMES, 2, limit=32)
    for shape in ((3, 2, 128), (3, 128), (4, 2, 64)):
        with pytest.raises(ValueError, match=r"shape|is for 3 texts"):
            encode(clip.model, layout, torch.zeros(shape))
