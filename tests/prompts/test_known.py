"""Towers that are not what transformers built: any part that differs is found, and the plain path
gives the numbers, with one warning.
"""

import copy
import warnings
from contextlib import suppress
from unittest import mock

import pytest
import torch
from torch import nn

import clipnotes
from clipnotes.compat import text_projection, text_states, text_tower
from clipnotes.prompts import PromptLearner, inject
from clipnotes.prompts.encode import encode
from clipnotes.prompts.known import why_not
from clipnotes.prompts.layout import Layout
from reference import assert_close
from reference_prompts import NAMES
from wrapped_layers import Lora, wrap

HOOKS = [
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_full_backward_pre_hook",
]


@pytest.fixture
def model(clip):
    return copy.deepcopy(clip.model)


def reason_of(model):
    return why_not(text_tower(model), text_projection(model))


def parts(model):
    """Each module that computes something, by the name that the reason gives it."""
    modules = dict(text_tower(model).named_modules())
    modules["the text tower"] = modules.pop("")
    kept = {name: m for name, m in modules.items() if not isinstance(m, nn.ModuleList)}
    return kept | {"text_projection": text_projection(model)}


@pytest.mark.parametrize("register", HOOKS)
def test_a_hook_on_any_of_them(model, register):
    for name, module in parts(model).items():
        handle = getattr(module, register)(lambda *_: None)
        assert reason_of(model) == f"{name} has a hook"
        handle.remove()
    assert reason_of(model) is None


def test_another_forward_of_any_of_them(model):
    for name, module in parts(model).items():
        module.forward = module.forward
        assert reason_of(model) == f"the forward of {name} was replaced"
        del module.forward
    assert reason_of(model) is None


def test_a_subclass_of_any_of_them(model):
    for name, module in parts(model).items():
        kind = type(module)
        module.__class__ = type("Other", (kind,), {})
        reason = reason_of(model)
        if name.endswith("activation_fn"):
            layer = name.split(".")[2]
            assert reason == f"the activation of layer {layer} is of type {__name__}.Other"
        else:
            assert reason.removesuffix(", not CLIP's") == f"{name} is of type {__name__}.Other"
        module.__class__ = kind
    assert reason_of(model) is None


def test_an_activation_that_learns(model):
    layer = text_tower(model).encoder.layers[1]
    layer.mlp.activation_fn.slope = nn.Parameter(torch.ones(1))
    assert reason_of(model).startswith("the activation of layer 1 is of type ")


@pytest.mark.parametrize("table", ["token_embedding", "position_embedding"])
def test_a_table_with_max_norm(model, table):
    getattr(text_tower(model).embeddings, table).max_norm = 1.0
    assert reason_of(model) == "an embedding has max_norm"


@pytest.mark.parametrize("training", [True, False])
def test_dropout_counts_in_training_mode_only(model, training):
    tower = text_tower(model).train(training)
    assert reason_of(model) is None
    tower.encoder.layers[1].self_attn.dropout = 0.1
    reason = "the tower is in training mode with attention dropout" if training else None
    assert reason_of(model) == reason


@pytest.mark.parametrize(
    "attention", ["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"]
)
def test_attentions_that_give_the_same_numbers(model, attention):
    for layer in text_tower(model).encoder.layers:
        layer.self_attn.config._attn_implementation_internal = attention
    expected = "the attention is 'flex_attention'" if attention == "flex_attention" else None
    assert reason_of(model) == expected


# What `encode` does about it


def double_forward(module):
    old = module.forward
    module.forward = lambda *args, **kwargs: 2 * old(*args, **kwargs)


def adapt_the_projection(model):
    wrap(model, "text_projection", Lora)
    model.text_projection.out_features = 128


CHANGES = {
    "lora": lambda m: wrap(m.text_model.encoder.layers[1].self_attn, "v_proj", Lora),
    "projection": adapt_the_projection,
    "forward": lambda m: double_forward(m.text_model.encoder.layers[1].mlp.fc2),
}
REASONS = {
    "lora": r"encoder\.layers\.1\.self_attn\.v_proj is of type wrapped_layers\.Lora",
    "projection": r"text_projection is of type wrapped_layers\.Lora",
    "forward": r"the forward of encoder\.layers\.1\.mlp\.fc2 was replaced",
}


def learner_of(clip, model, **kwargs):
    return PromptLearner(
        clipnotes.Clip(model, clip.tokenizer, clip.image_processor), NAMES, 4, **kwargs
    )


def both(learner):
    features = learner()
    (gradient,) = torch.autograd.grad(features[:, 3:9].sum(), learner.ctx)
    return features, gradient


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_tower_takes_the_plain_path_and_says_why_once(clip, change):
    model = copy.deepcopy(clip.model)
    unchanged = both(learner_of(clip, model))
    CHANGES[change](model)
    learner = learner_of(clip, model)
    with pytest.warns(UserWarning, match=f"plain path.*because {REASONS[change]}") as said:
        found = both(learner)
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both(learner)
        both(learner_of(clip, model))
        expected = both(learner_of(clip, model, fast=False))
    for name, ours, theirs in zip(("features", "gradient"), found, expected, strict=True):
        assert_close(name, ours, theirs, 1e-6)
    assert max((a - b).abs().max() for a, b in zip(found, unchanged, strict=True)) > 1e-4


def test_a_projection_with_a_bias_needs_no_plain_path(clip):
    model = copy.deepcopy(clip.model)
    model.text_projection = nn.Linear(128, 128)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = learner_of(clip, model)()
    assert model.text_projection.bias.abs().max() > 0.01
    assert_close("features", found, learner_of(clip, model, fast=False)())


def test_the_warning_is_about_the_line_that_wanted_to_encode(clip):
    model = copy.deepcopy(clip.model)
    double_forward(model.text_model.encoder.layers[0].mlp)
    layout = Layout.build(clip.tokenizer, NAMES, 4, limit=32)
    with pytest.warns(UserWarning, match="plain path") as said:
        encode(model, layout, torch.zeros(4, 128))
    assert said[0].filename == __file__


def test_a_patched_class_takes_the_plain_path(clip):
    model = copy.deepcopy(clip.model)
    kind = type(model.text_model.encoder.layers[0].mlp)
    reason = r"the forward of encoder\.layers\.0\.mlp was replaced"
    with mock.patch.object(kind, "forward", lambda self, hidden_states: hidden_states):
        with pytest.warns(UserWarning, match=reason):
            found = learner_of(clip, model)()
        assert_close("features", found, learner_of(clip, model, fast=False)())


def test_a_context_around_the_learner_is_not_lost(clip):
    model = copy.deepcopy(clip.model)
    learner = learner_of(clip, model)
    alone = learner()
    with inject(model, torch.zeros(1, 128), start=0):
        with pytest.warns(UserWarning, match=r"embeddings\.token_embedding has a hook"):
            found = learner()
        learner.fast = False
        assert_close("features", found, learner())
    assert (found - alone).abs().max() > 1e-3


def test_transformers_own_hooks_do_not_matter(clip):
    model = copy.deepcopy(clip.model)
    expected = learner_of(clip, model)()
    text_states(model, torch.tensor([[3998, 343, 3999]]))  # since 5.2 this leaves hooks
    with suppress(NotImplementedError):  # in transformers 4, of a CLIPModel
        model.enable_input_require_grads()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = learner_of(clip, model)()
    assert_close("features", found, expected, 1e-6)
