"""A probe changes nothing about the model that it was given, nor about anything around it."""

import pytest
import torch
from transformers.utils import logging

import clipnotes
from two_towers import two_towers

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def picture(model):
    """All that can be seen of a model, and of what it shares with others."""
    modules = dict(model.named_modules())
    return {
        "modes": {path: module.training for path, module in modules.items()},
        "hooks": {path: [len(getattr(m, kind)) for kind in HOOKS] for path, m in modules.items()},
        "own": {path: sorted(module.__dict__) for path, module in modules.items()},
        "classes": {path: type(module) for path, module in modules.items()},
        "weights": {n: (id(w), w.data_ptr(), w._version) for n, w in model.named_parameters()},
        "flags": {n: (w.requires_grad, w.grad) for n, w in model.named_parameters()},
        "config": model.config.to_dict(),
        "attention": [
            getattr(c, "_attn_implementation", None)
            for c in (model.config, getattr(model.config, "text_config", None))
        ],
        "verbosity": logging.get_verbosity(),
        "draws": torch.get_rng_state().tolist(),
        "grad": torch.is_grad_enabled(),
    }


@pytest.mark.parametrize("name", ["CLIP", "Siglip", "Blip", "XCLIP"])
def test_a_model_is_left_as_it_was(name):
    model = two_towers(name)
    model.train()  # as in a training that was stopped to look: in part frozen, in part in eval mode
    next(model.children()).eval()
    for number, weight in enumerate(model.parameters()):
        weight.requires_grad_(number % 2 == 0)
    values = {key: value.clone() for key, value in model.state_dict().items()}
    before = picture(model)
    with torch.no_grad():
        clipnotes.probe(model)
    assert {key for key, value in picture(model).items() if value != before[key]} == set()
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in values.items())


def test_dropout_and_the_mode_of_the_model_make_no_difference():
    model = two_towers("CLIP", attention_dropout=0.9)
    calm = clipnotes.probe(model)
    with torch.inference_mode():
        assert clipnotes.probe(model.train()) == calm
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert clipnotes.probe(model) == calm


def test_a_half_model_is_measured_in_float32_and_stays_half():
    model = two_towers("Siglip")
    whole = clipnotes.probe(model).to_dict()
    half = clipnotes.probe(model.half()).to_dict()
    assert {weight.dtype for weight in model.parameters()} == {torch.float16}
    whole.pop("how"), half.pop("how")
    assert half.pop("scale") == pytest.approx(whole.pop("scale"), rel=1e-3)
    assert half == whole
