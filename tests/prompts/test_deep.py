"""Prompts inside of a tower: hooks that are there while it runs and never afterwards."""

import copy

import pytest
import torch

import clipnotes
from clipnotes.compat import checkpoint_layers, text_tower, vision_tower
from clipnotes.prompts import VPT, MaPLe
from clipnotes.prompts.deep import encode_with_prompts, in_layers
from clipnotes.prompts.frozen import frozen
from reference import agree, assert_close, pixels
from reference_visual import deep_clip, encode_images

NAMES = ["tulip", "steam locomotive"]


@pytest.fixture
def tiny(clip):
    return deep_clip(clip, 2)


def hooks(model):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def some_prompts(clip, depth=3, n_ctx=2):
    width = vision_tower(clip.model).embeddings.embed_dim
    return torch.randn(depth, n_ctx, width, generator=torch.Generator().manual_seed(0))


def some_pixels(clip, n=2):
    return pixels(clip.model.config.vision_config, seed=3, batch=n)


def test_hooks_are_there_only_while_the_learner_runs(tiny):
    model = tiny.model
    before = hooks(model)
    flags = [weight.requires_grad for weight in model.parameters()]
    assert all(flags)
    learners = [VPT(tiny, NAMES, 2), MaPLe(tiny, NAMES, init=None)]
    plain = tiny.encode_text(NAMES), model.get_image_features(some_pixels(tiny))
    for learner in learners:
        learner.logits(some_pixels(tiny))
        assert hooks(model) == before
    again = tiny.encode_text(NAMES), model.get_image_features(some_pixels(tiny))
    for one, other in zip(plain, again, strict=True):
        one, other = (getattr(x, "pooler_output", x) for x in (one, other))
        assert agree(one, other)

    seen = []

    def fail(module, args, kwargs):
        seen.append(hooks(model) - before - 1)
        assert not any(weight.requires_grad for weight in model.parameters())
        raise KeyboardInterrupt

    for learner, tower, expected in (
        (learners[0], vision_tower(model), 3),
        (learners[1], text_tower(model), 3),
        (learners[1], vision_tower(model), 3),
    ):
        handle = tower.encoder.layers[2].register_forward_pre_hook(fail, with_kwargs=True)
        with pytest.raises(KeyboardInterrupt):
            learner.logits(some_pixels(tiny))
        handle.remove()
        assert seen.pop() == expected
        assert hooks(model) == before
        assert [weight.requires_grad for weight in model.parameters()] == flags


def test_a_hook_that_cannot_be_put_leaves_none_behind(tiny, monkeypatch):
    before = hooks(tiny.model)
    layer = vision_tower(tiny.model).encoder.layers[2]
    monkeypatch.setattr(layer, "register_forward_pre_hook", None)
    with pytest.raises(TypeError):
        encode_with_prompts(tiny.model, some_pixels(tiny), some_prompts(tiny))
    assert hooks(tiny.model) == before


def test_the_graph_outlives_the_hooks(tiny):
    prompts = some_prompts(tiny).requires_grad_()
    features = encode_with_prompts(tiny.model, some_pixels(tiny), prompts)
    reference = encode_images(tiny, some_pixels(tiny), list(prompts))
    with torch.no_grad():
        tiny.model.get_image_features(some_pixels(tiny))
    gradients = [torch.autograd.grad(f[:, 0].sum(), prompts)[0] for f in (features, reference)]
    assert_close("gradient", *gradients)


def test_a_model_with_other_hooks_keeps_them(tiny):
    """An adapter that changes what a layer does changes it with prompts, too."""
    prompts, layer = some_prompts(tiny, depth=1), vision_tower(tiny.model).encoder.layers[0]
    before = encode_with_prompts(tiny.model, some_pixels(tiny), prompts)
    handle = layer.mlp.register_forward_hook(lambda module, args, output: 2 * output)
    changed = encode_with_prompts(tiny.model, some_pixels(tiny), prompts)
    handle.remove()
    assert (changed - before).abs().max() > 1e-3
    assert agree(encode_with_prompts(tiny.model, some_pixels(tiny), prompts), before)


def test_each_layer_gets_its_own(tiny):
    tower, prompts = vision_tower(tiny.model), some_prompts(tiny)
    seen = []
    for layer in tower.encoder.layers:  # what comes out of our hook goes into the next one
        layer.layer_norm1.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    encode_with_prompts(tiny.model, some_pixels(tiny), prompts)
    assert_close("first", seen[0][0, 1:3], tower.pre_layrnorm(prompts[0]))
    for states, prompt in zip(seen[1:], prompts[1:], strict=True):
        assert torch.equal(states[:, 1:3], prompt.expand(2, -1, -1))
    seen.clear()
    encode_with_prompts(tiny.model, some_pixels(tiny), prompts[:2])
    assert not torch.equal(seen[2][0, 1:3], seen[2][1, 1:3])  # what the layers made of them


def test_layers_that_would_be_computed_again_without_prompts_are_refused(clip):
    model = copy.deepcopy(clip.model).train()
    checkpoint_layers(model)
    other = clipnotes.Clip(model, clip.tokenizer, clip.image_processor)
    vpt, maple = VPT(other, NAMES, 1, 2), MaPLe(other, NAMES, init="an emoji")
    given = torch.zeros(1, 3, 64, 64)
    for call in (lambda: vpt.logits(given), maple, lambda: maple.image_features(given)):
        with pytest.raises(ValueError, match=r"gradient checkpointing.*set model\.eval\(\)"):
            call()
        with torch.no_grad():
            call()
    model.eval()
    maple.logits(given).sum().backward()
    assert maple.ctx.grad.abs().sum() > 0


def test_training_mode_alone_is_no_reason_to_refuse(tiny):
    prompts = some_prompts(tiny).requires_grad_()
    expected = encode_with_prompts(tiny.model.eval(), some_pixels(tiny), prompts)
    found = encode_with_prompts(tiny.model.train(), some_pixels(tiny), prompts)
    tiny.model.eval()
    assert found.requires_grad
    assert_close("features", found, expected)


def test_of_no_pictures_the_gradient_is_zero(tiny):
    prompts = torch.zeros_like(some_prompts(tiny)).requires_grad_()
    features = encode_with_prompts(tiny.model, some_pixels(tiny)[:0], prompts)
    assert features.shape == (0, tiny.model.config.projection_dim)
    features.sum().backward()
    assert prompts.grad.shape == prompts.shape and not prompts.grad.any()


def test_more_prompts_than_layers(tiny):
    tower = vision_tower(tiny.model)
    with (
        pytest.raises(ValueError, match="depth is 4, and the tower has 3 layers: give 1 to 3"),
        in_layers(tower, tower.encoder.layers, some_prompts(tiny, depth=4), torch.tensor([1, 2])),
    ):
        pass


def test_frozen_gives_the_flags_back_after_an_exception():
    linear = torch.nn.Linear(2, 2)
    linear.bias.requires_grad_(False)

    def run():
        with frozen(linear):
            assert not linear.weight.requires_grad
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert linear.weight.requires_grad and not linear.bias.requires_grad
