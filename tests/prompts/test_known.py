"""Towers that are not what transformers built: the plain path's numbers, and one warning."""

import copy
import warnings
from contextlib import suppress
from unittest import mock

import pytest
import torch
from torch import nn

import clipnotes
from clipnotes.compat import text_projection, text_states, text_tower
from clipnotes.prompts import LearnableTextEmbeddings, PromptLearner, inject
from clipnotes.prompts.encode import encode
from clipnotes.prompts.known import why_not
from clipnotes.prompts.layout import Layout
from reference import assert_close
from reference_prompts import NAMES
from wrapped_layers import Lora, wrap


class Shifted(nn.Linear):
    """As wide as a linear layer, and different at every place of a text."""

    def forward(self, x):
        return super().forward(x) + torch.arange(x.shape[-2])[:, None]


class Doubled(nn.GELU):
    def forward(self, x):
        return 2 * super().forward(x)


def shifted(old):
    new = Shifted(old.in_features, old.out_features)
    new.load_state_dict(old.state_dict())
    return new


def double_forward(module):
    old = module.forward
    module.forward = lambda *args, **kwargs: 2 * old(*args, **kwargs)


def double_output(module, args, output):
    return (2 * output[0], *output[1:]) if isinstance(output, tuple) else 2 * output


def dropout(tower):
    for layer in tower.encoder.layers:
        layer.self_attn.dropout = 0.5
    tower.train()


CHANGES = {
    "lora": lambda t: wrap(t.encoder.layers[1].self_attn, "v_proj", Lora),
    "subclass": lambda t: wrap(t.encoder.layers[0].mlp, "fc1", shifted),
    "activation": lambda t: wrap(t.encoder.layers[0].mlp, "activation_fn", lambda _: Doubled()),
    "norm": lambda t: wrap(t, "final_layer_norm", lambda old: nn.RMSNorm(old.weight.shape[0])),
    "forward": lambda t: double_forward(t.encoder.layers[1].mlp.fc2),
    "max_norm": lambda t: setattr(t.embeddings.token_embedding, "max_norm", 0.1),
    "hook on a layer": lambda t: t.encoder.layers[0].register_forward_hook(double_output),
    "hook on a linear": lambda t: t.encoder.layers[1].mlp.fc1.register_forward_hook(double_output),
    "hook before a norm": lambda t: t.final_layer_norm.register_forward_pre_hook(
        lambda module, args: (2 * args[0].exp(),)
    ),
    "hook on embeddings": lambda t: t.embeddings.register_forward_hook(double_output),
    "hook backward": lambda t: t.final_layer_norm.register_full_backward_hook(
        lambda module, wanted, given: tuple(2 * gradient for gradient in wanted)
    ),
}
REASONS = {
    "lora": r"encoder\.layers\.1\.self_attn\.v_proj is of type wrapped_layers\.Lora",
    "subclass": r"encoder\.layers\.0\.mlp\.fc1 is of type test_known\.Shifted",
    "activation": r"the activation of layer 0 is of type test_known\.Doubled",
    "norm": r"final_layer_norm is of type torch\.nn\.modules\.normalization\.RMSNorm",
    "forward": r"the forward of encoder\.layers\.1\.mlp\.fc2 was replaced",
    "max_norm": "an embedding has max_norm",
    "hook on a layer": r"encoder\.layers\.0 has a hook",
    "hook on a linear": r"encoder\.layers\.1\.mlp\.fc1 has a hook",
    "hook before a norm": "final_layer_norm has a hook",
    "hook on embeddings": "embeddings has a hook",
    "hook backward": "final_layer_norm has a hook",
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
    CHANGES[change](model.text_model)
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


def test_a_changed_projection_takes_the_plain_path(clip):
    model = copy.deepcopy(clip.model)
    wrap(model, "text_projection", Lora)
    model.text_projection.out_features = 128
    with pytest.warns(UserWarning, match=r"text_projection is of type wrapped_layers\.Lora"):
        found = learner_of(clip, model)()
    assert_close("features", found, learner_of(clip, model, fast=False)())


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


def test_dropout_is_not_forgotten(clip):
    model = copy.deepcopy(clip.model)
    dropout(model.text_model)
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="training mode with attention dropout"):
        found = learner_of(clip, model)()
    torch.manual_seed(0)
    assert_close("features", found, learner_of(clip, model, fast=False)())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner_of(clip, model.eval())()


def test_another_attention_takes_the_plain_path(clip):
    model = copy.deepcopy(clip.model)
    model.text_model.encoder.layers[0].self_attn.config._attn_implementation_internal = "mine"
    assert why_not(text_tower(model), text_projection(model)) == "the attention is 'mine'"


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
    replaced = LearnableTextEmbeddings.replace(model, n_ctx=1, start=0)
    learner.fast = True
    with pytest.warns(
        UserWarning, match=r"embeddings is of type clipnotes\.prompts\.embeddings\.Learnable"
    ):
        learner()
    replaced.restore()


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
