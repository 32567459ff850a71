"""Every single module of a text tower counts: another type, a hook or a setting is found."""

import copy

import pytest
import torch
from torch import nn

from clipnotes.compat import text_projection, text_tower
from clipnotes.prompts.known import why_not

HOOKS = [
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_full_backward_pre_hook",
]


@pytest.fixture
def model(clip):
    return copy.deepcopy(clip.model)


def found(model):
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
        assert found(model) == f"{name} has a hook"
        handle.remove()
    assert found(model) is None


def test_another_forward_of_any_of_them(model):
    for name, module in parts(model).items():
        module.forward = module.forward
        assert found(model) == f"the forward of {name} was replaced"
        del module.forward
    assert found(model) is None


def test_a_subclass_of_any_of_them(model):
    for name, module in parts(model).items():
        kind = type(module)
        module.__class__ = type("Other", (kind,), {})
        reason = found(model)
        if name.endswith("activation_fn"):
            layer = name.split(".")[2]
            assert reason == f"the activation of layer {layer} is of type {__name__}.Other"
        else:
            assert reason.removesuffix(", not CLIP's") == f"{name} is of type {__name__}.Other"
        module.__class__ = kind
    assert found(model) is None


def test_an_activation_that_learns(model):
    layer = text_tower(model).encoder.layers[1]
    layer.mlp.activation_fn.slope = nn.Parameter(torch.ones(1))
    assert found(model).startswith("the activation of layer 1 is of type ")


@pytest.mark.parametrize("table", ["token_embedding", "position_embedding"])
def test_a_table_with_max_norm(model, table):
    getattr(text_tower(model).embeddings, table).max_norm = 1.0
    assert found(model) == "an embedding has max_norm"


@pytest.mark.parametrize("training", [True, False])
def test_dropout_counts_in_training_mode_only(model, training):
    tower = text_tower(model).train(training)
    assert found(model) is None
    tower.encoder.layers[1].self_attn.dropout = 0.1
    reason = "the tower is in training mode with attention dropout" if training else None
    assert found(model) == reason


@pytest.mark.parametrize(
    "attention", ["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"]
)
def test_attentions_that_give_the_same_numbers(model, attention):
    for layer in text_tower(model).encoder.layers:
        layer.self_attn.config._attn_implementation_internal = attention
    expected = "the attention is 'flex_attention'" if attention == "flex_attention" else None
    assert found(model) == expected
