"""CoCoOp against the paper's loop, one image and one class at a time, on small random CLIPs."""

import copy
import warnings

import pytest
import torch

from clipnotes import Clip
from clipnotes.prompts import CoCoOp, evaluate, fit, load_prompt
from clipnotes.prompts import encode as encoding
from clipnotes.prompts.layout import Layout
from clipnotes.prompts.training.resume import digest
from few_pictures import CLASSES, pictures
from reference import agree, assert_close
from reference_prompts import class_features, class_logits, prompt_clip


def loop(learner, features):
    """Written from the paper: each image's vector is added to each vector of the context."""
    first, _, second = learner.meta_net
    rows = []
    for feature in features:
        hidden = (first.weight @ feature + first.bias).clamp(min=0)
        own = torch.stack([vector + second.weight @ hidden + second.bias for vector in learner.ctx])
        arguments = (CLASSES, own, learner.position, learner.template)
        rows.append(class_logits(learner.clip, class_features(learner.clip, *arguments), feature))
    return torch.stack(rows)


def small(clip, **arguments):
    learner = CoCoOp(clip, CLASSES, **{"n_ctx": 3, "init": None, **arguments})
    with torch.no_grad():
        learner.ctx.mul_(20)
        learner.meta_net[0].bias.fill_(1.5)  # the only hidden number must not be cut off
    return learner


def with_gradients(learner, logits):
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    return [logits, *torch.autograd.grad((logits * weights).sum(), list(learner.parameters()))]


def assert_equals_the_loop(learner, features, tolerance):
    expected = with_gradients(learner, loop(learner, features))
    for settings in ({}, {"memory": 1}, {"memory": 40_000}, {"fast": False}):
        learner.fast, learner.memory = settings.get("fast", True), settings.get("memory")
        found = with_gradients(learner, learner.logits(features))
        for ours, theirs in zip(found, expected, strict=True):
            scale = theirs.abs().max()
            assert scale > 1e-6, "every parameter counts"
            assert_close(str(settings), ours / scale, theirs / scale, tolerance)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_loop(clip, seed, position):
    tiny = prompt_clip(clip, seed)
    template = ["a drawing of a {}, red", "{}.", "{}"][seed]
    learner = small(tiny, seed=seed, position=position, template=template)
    assert_equals_the_loop(learner, pictures(tiny, 4, seed)[0], 2e-5)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_equals_the_loop_on_emoji_clip(clip, position):
    learner = CoCoOp(clip, CLASSES, position=position)
    features, _ = pictures(clip, 4)
    hidden = learner.meta_net[0](features)
    assert hidden.min() < 0 < hidden.max(), "some numbers are cut off"
    assert_equals_the_loop(learner, features, 1e-5)


def test_the_network_is_the_paper_s(clip):
    learner = CoCoOp(clip, CLASSES)
    shapes = {name: tuple(p.shape) for name, p in learner.named_parameters()}
    assert shapes == {
        **{"ctx": (4, 128), "meta_net.0.weight": (8, 128), "meta_net.0.bias": (8,)},
        **{"meta_net.2.weight": (128, 8), "meta_net.2.bias": (128,)},
    }
    words = clip.tokenizer("a photo of a", add_special_tokens=False)["input_ids"]
    table = clip.model.text_model.embeddings.token_embedding.weight
    assert torch.equal(learner.ctx, table[words].float())
    assert type(learner.meta_net[1]) is torch.nn.ReLU


def test_the_seed_decides_and_torch_s_own_state_is_left_alone(clip):
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    one, same, other = (CoCoOp(clip, CLASSES, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.randn(3), expected)
    assert torch.equal(one.meta_net[0].weight, same.meta_net[0].weight)
    unless_given, zero = CoCoOp(clip, CLASSES), CoCoOp(clip, CLASSES, seed=0)
    assert torch.equal(unless_given.meta_net[0].weight, zero.meta_net[0].weight)
    assert not torch.equal(one.meta_net[0].weight, other.meta_net[0].weight)


def test_many_pictures_are_computed_at_once_and_within_the_budget(clip, monkeypatch):
    learner = small(clip)
    features, _ = pictures(clip, 12)
    counts, run = [], encoding.run_chunk

    def counted(tower, chunk, vectors):
        counts.append(vectors.shape[1])
        return run(tower, chunk, vectors)

    monkeypatch.setattr(encoding, "run_chunk", counted)
    whole = learner.logits(features)
    assert counts == [12]
    learner.memory = 4_000_000
    counts.clear()
    parts = learner.logits(features)
    assert len(counts) > 1 and sum(counts) == 12 and max(counts) > 1
    assert_close("logits", parts, whole, 1e-5)


@pytest.mark.parametrize(("room", "expected"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5])])
def test_features_of_no_more_pictures_than_fit_are_held_at_once(clip, monkeypatch, room, expected):
    features, _ = pictures(clip, 5)
    whole = small(clip).logits(features)
    learner = small(clip, memory=room * len(CLASSES) * 128 * 4)
    held, forward = [], CoCoOp.forward
    monkeypatch.setattr(CoCoOp, "forward", lambda self, x: held.append(len(x)) or forward(self, x))
    assert_close("logits", learner.logits(features), whole, 1e-5)
    assert held == expected


def test_a_changed_tower_is_told_of_unless_the_plain_path_was_asked_for(clip):
    model = copy.deepcopy(clip.model)
    hook = lambda module, args, output: 2 * output  # noqa: E731
    model.text_model.encoder.layers[0].mlp.register_forward_hook(hook)
    other = Clip(model, clip.tokenizer, clip.image_processor)
    features, _ = pictures(clip, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = small(other, fast=False)(features)
    with pytest.warns(UserWarning, match=r"plain path.*mlp has a hook"):
        found = small(other)(features)
    assert_close("features", found, plain, 1e-6)
    assert (found - small(clip)(features)).abs().max() > 1e-3


def test_several_contexts_take_the_fast_path_unless_told_otherwise(clip, monkeypatch):
    layout = Layout.build(clip.tokenizer, CLASSES, 2, limit=32)
    calls, run = [], encoding.run_chunk
    monkeypatch.setattr(encoding, "run_chunk", lambda *given: calls.append(1) or run(*given))
    encoding.encode_each(clip.model, layout, torch.zeros(2, 2, 128))
    assert calls


def test_training_learns_all_of_it_and_leaves_the_model_alone(clip):
    clip = copy.deepcopy(clip)
    clip.model.requires_grad_(True)
    before = digest(*clip.model.state_dict().values())
    features, labels = pictures(clip, 10)
    learner = CoCoOp(clip, CLASSES, init="an emoji of a")
    start = copy.deepcopy(learner.state_dict())
    history = fit(learner, features, labels, epochs=8, batch_size=5, progress=False)
    assert history.loss[-1] < history.loss[0]
    assert digest(*clip.model.state_dict().values()) == before
    assert all(p.grad is None for p in clip.model.parameters())
    assert not any(torch.equal(start[name], value) for name, value in learner.state_dict().items())
    assert evaluate(learner, features, labels).n == 10


def test_a_half_precision_model(clip):
    half = copy.deepcopy(clip)
    half.model.bfloat16()
    features, _ = pictures(clip, 4)
    learner, other = CoCoOp(clip, CLASSES), CoCoOp(half, CLASSES)
    assert {p.dtype for p in other.parameters()} == {torch.float32}
    found, expected = other.logits(features), learner.logits(features)
    assert found.dtype == torch.float32
    assert_close("logits", found, expected, 0.1 * expected.abs().max())
    assert other.logits(features.bfloat16()).isfinite().all()


def test_there_and_back_and_for_other_classes(clip, tmp_path):
    learner = small(clip, position="front", template="{} here.")
    learner.save(tmp_path, shots=2)
    features, _ = pictures(clip, 3)
    back = load_prompt(tmp_path, clip)
    assert type(back) is CoCoOp and agree(back.logits(features), learner.logits(features))
    other = CoCoOp.load(tmp_path, clip, ["beetle", *CLASSES[:2]])
    assert_close("others", other.logits(features)[:, 1:], learner.logits(features)[:, :2], 1e-4)
    changed = copy.deepcopy(clip)
    with torch.no_grad():
        changed.model.visual_projection.weight.mul_(2)
    with pytest.raises(ValueError, match="the vision tower"):
        CoCoOp.load(tmp_path, changed)


def test_what_cannot_be(clip):
    learner = CoCoOp(clip, CLASSES)
    for wrong in (torch.zeros(3, 5), torch.zeros(128)):
        with pytest.raises(ValueError, match=r"give \(n_images, 128\)"):
            learner.logits(wrong)
    with pytest.raises(ValueError, match="leaving room for"):
        CoCoOp(clip, CLASSES, n_ctx=40, init=None)
    with pytest.raises(TypeError, match="clip is a CLIPModel"):
        CoCoOp(clip.model, CLASSES)
    with pytest.raises(ValueError, match="has 4 tokens and n_ctx is 2"):
        CoCoOp(clip, CLASSES, n_ctx=2)
    with pytest.raises(ValueError, match="memory is 0"):
        CoCoOp(clip, CLASSES, memory=0)
