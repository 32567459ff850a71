"""Compiled modules: what hooks refuses them, what only reads weights takes them."""

import copy
import warnings

import pytest
import torch
from torch import nn

import clipnotes
from clipnotes.compat import text_states, text_tower, vision_states
from clipnotes.compat.compiled import how_compiled, original, refuse_compiled
from clipnotes.model import first_divergence
from clipnotes.model.vision import VisionTower
from clipnotes.prompts import VPT, CoCoOp, LearnableTextEmbeddings, MaPLe, PromptLearner, inject
from clipnotes.prompts.deep import encode_with_prompts
from reference import assert_close
from tracing import hooks_of

EAGER = {"backend": "eager"}  # the graph without a compiler: seconds, not minutes
NAMES = ["rose", "tulip"]
IDS = torch.tensor([[3998, 343, 343, 860, 1478, 3999]])
PIXELS = torch.linspace(-1, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64)


def in_place(owner, name):
    getattr(owner, name).compile(**EAGER)


def wrapped(owner, name):
    setattr(owner, name, torch.compile(getattr(owner, name), **EAGER))


def its_forward(owner, name):
    module = getattr(owner, name)
    module.forward = torch.compile(module.forward, **EAGER)


def a_layer(owner, name):
    getattr(owner, name).encoder.layers[1].compile(**EAGER)


WAYS = {
    "in place": in_place,
    "wrapped": wrapped,
    "its forward": its_forward,
    "encoder in place": lambda owner, name: in_place(getattr(owner, name), "encoder"),
    "encoder wrapped": lambda owner, name: wrapped(getattr(owner, name), "encoder"),
    "a layer": a_layer,
}


def compiled(clip, way, tower):
    model = copy.deepcopy(clip.model)
    WAYS[way](model, tower)
    return clipnotes.Clip(model, clip.tokenizer, clip.image_processor)


@pytest.mark.parametrize("way", WAYS)
def test_deep_prompts_in_a_tower_are_refused(clip, way):
    vpt = VPT(compiled(clip, way, "vision_model"), NAMES, 2, depth=3)
    maple = MaPLe(compiled(clip, way, "text_model"), NAMES)
    for learner, run in ((vpt, lambda: vpt.logits(PIXELS)), (maple, maple)):
        before = hooks_of(learner.clip.model)
        with pytest.raises(ValueError, match="is compiled, and compiled code would leave out the "):
            run()
        assert hooks_of(learner.clip.model) == before


def test_a_compiled_part_that_gets_no_hook_is_no_matter(clip):
    model = copy.deepcopy(clip.model)
    model.compile(**EAGER)  # of which the towers are called, not it
    model.vision_model.encoder.layers[0].mlp.compile(**EAGER)
    prompts = torch.ones(3, 2, 128)
    found = encode_with_prompts(model, PIXELS, prompts)
    assert_close("features", found, encode_with_prompts(clip.model, PIXELS, prompts))


@pytest.mark.parametrize("way", ["in place", "wrapped", "its forward"])
def test_injecting_is_refused(clip, way):
    model = compiled(clip, way, "text_model").model
    flags = [weight.requires_grad for weight in model.parameters()]
    words = r"the module 'text_model' is compiled, and .* leave out the context\. Take the"
    with pytest.raises(ValueError, match=words), inject(model, torch.zeros(2, 128)):
        pass
    assert [weight.requires_grad for weight in model.parameters()] == flags


def test_injecting_below_compiled_layers_works(clip):
    model = compiled(clip, "encoder in place", "text_model").model
    with inject(model, torch.ones(2, 128)):
        found = text_tower(model)(input_ids=IDS)[1]
    with inject(clip.model, torch.ones(2, 128)):
        assert_close("pooled", found, text_tower(clip.model)(input_ids=IDS)[1])


@pytest.mark.parametrize("way", ["in place", "wrapped", "encoder wrapped", "a layer"])
def test_learners_of_words_take_the_fast_way_below(clip, way, tmp_path):
    other = compiled(clip, way, "text_model")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner = PromptLearner(other, NAMES, init="an emoji of a")
        assert_close("features", learner(), PromptLearner(clip, NAMES, init="an emoji of a")())
        features = torch.eye(128)[:2]
        cocoop = CoCoOp(other, NAMES, init="an emoji of a")
        assert_close("each", cocoop(features), CoCoOp(clip, NAMES, init="an emoji of a")(features))
        learner.save(tmp_path)
        PromptLearner.load(tmp_path, clip)


def test_a_hook_on_what_is_around_a_compiled_module_is_seen(clip):
    other = compiled(clip, "encoder wrapped", "text_model")
    encoder = other.model.text_model.encoder
    nn.Module.register_forward_hook(encoder, lambda *_: None)
    with pytest.warns(UserWarning, match="because encoder has a hook"):
        PromptLearner(other, NAMES, n_ctx=2)()


@pytest.mark.parametrize("way", ["in place", "wrapped"])
def test_learnable_embeddings_stand_in_a_compiled_tower(clip, way):
    """No hook, another module: torch compiles anew for it."""
    model = compiled(clip, way, "text_model").model
    plain = copy.deepcopy(clip.model)
    before = model.text_model(input_ids=IDS)[1]
    found = []
    for one in (model, plain):
        learnable = LearnableTextEmbeddings.replace(one, n_ctx=2)
        pooled = one.text_model(input_ids=IDS)[1]
        pooled[0, :7].sum().backward()
        found.append((pooled, learnable.ctx.grad))
        learnable.restore()
    for name, ours, theirs in zip(("pooled", "gradient"), *found, strict=True):
        assert_close(name, ours, theirs)
    assert_close("restored", model.text_model(input_ids=IDS)[1], before)


@pytest.mark.parametrize("way", WAYS)
def test_states_are_refused(clip, way):
    words = "is compiled, and compiled code would leave out what records its states"
    with pytest.raises(ValueError, match=words):
        vision_states(compiled(clip, way, "vision_model").model, PIXELS)
    with pytest.raises(ValueError, match=words):
        text_states(compiled(clip, way, "text_model").model, IDS)


def test_comparing_stages_is_refused(clip):
    ours = VisionTower.from_transformers(clip.model)
    ours.encoder.layers[0].mlp.compile(**EAGER)
    inputs = {"pixel_values": PIXELS}
    with pytest.raises(ValueError, match=r"'encoder\.layers\.0\.mlp' is compiled"):
        first_divergence(ours, clip.model.vision_model, inputs)


def test_the_original_is_found():
    linear = nn.Linear(2, 2)
    assert original(torch.compile(linear)) is original(linear) is linear
    assert how_compiled(linear) is None
    with pytest.raises(ValueError, match="the OptimizedModule is compiled"):
        refuse_compiled(torch.compile(linear), [linear], "something")
