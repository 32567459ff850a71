"""Which model a saved prompt fits: what computes the same, whatever its weights are called."""

import copy
import json
import re
import warnings

import pytest
import torch
from torch import nn

import clipnotes
from clipnotes.compat import text_tower, vision_tower
from clipnotes.prompts import VPT, PromptLearner
from clipnotes.prompts.saved.card import check_card, make_card
from clipnotes.prompts.saved.fits import check_fits
from clipnotes.prompts.saved.identity import distance, probe, tokens_digest
from few_pictures import CLASSES, small_learner
from saved_prompts import changed, rewrite
from wrapped_layers import Lora, wrap

NAMES = ["rose", "kite (bird of prey)"]
CARD = {"method": "coop", "options": {}, "classnames": NAMES}


def rebuilt(clip, which="text_config", **config):
    """A model with the same weights and another configuration, as `from_pretrained` gives it."""
    other = copy.deepcopy(clip.model.config)
    for name, value in config.items():
        setattr(getattr(other, which), name, value)
    model = type(clip.model)(other).float()
    model.load_state_dict(clip.model.state_dict())
    return clipnotes.Clip(model.eval(), clip.tokenizer, clip.image_processor)


OTHERS = {
    "hidden_act": ("gelu", "'gelu', and the prompt was learned with 'quick_gelu'"),
    "num_attention_heads": (2, "num_attention_heads 2, and the prompt was learned with 4"),
    "layer_norm_eps": (1e-3, r"layer_norm_eps 0\.001, and the prompt was learned with 1e-05"),
}


@pytest.mark.parametrize("tower", ["text", "vision"])
@pytest.mark.parametrize("name", OTHERS)
def test_another_configuration_is_refused_and_named(clip, tower, name):
    value, said = OTHERS[name]
    card = make_card(clip, **CARD, vision=tower == "vision")
    other = rebuilt(clip, f"{tower}_config", **{name: value})
    with pytest.raises(ValueError, match=f"the {tower} tower computes with .*{said}"):
        check_fits(other, card)
    check_fits(rebuilt(clip), card)


@pytest.mark.parametrize("name", OTHERS)
def test_the_probe_sees_each_of_them_by_itself(clip, name):
    other = rebuilt(clip, **{name: OTHERS[name][0]})
    assert distance(probe(other.model, "text"), probe(clip.model, "text")) > 5e-3
    other = rebuilt(clip, "vision_config", **{name: OTHERS[name][0]})
    assert distance(probe(other.model, "vision"), probe(clip.model, "vision")) > 5e-3


def test_what_only_the_vision_tower_does_is_no_matter_to_words(clip):
    other = rebuilt(clip, "vision_config", hidden_act="gelu")
    check_fits(other, make_card(clip, **CARD))


class Scaled(Lora):
    """LoRA with its alpha, which is no weight, and a switch."""

    alpha = 1.0

    def forward(self, x):
        return self.base(x) + self.alpha * self.up(self.down(x))


def with_lora(clip, tower=text_tower):
    other = clipnotes.Clip(copy.deepcopy(clip.model), clip.tokenizer, clip.image_processor)
    torch.manual_seed(0)
    wrap(tower(other.model).encoder.layers[1].self_attn, "v_proj", Scaled)
    other.model.requires_grad_(False)
    return other, tower(other.model).encoder.layers[1].self_attn


@pytest.mark.parametrize("tower", [text_tower, vision_tower])
@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_another_alpha_of_the_same_adapter_is_refused(clip, tower, alpha):
    adapted, attention = with_lora(clip, tower)
    card = make_card(adapted, **CARD, vision=True)
    check_fits(adapted, card)
    attention.v_proj.alpha = alpha
    words = "has the weights that the prompt was learned with, and computes something else"
    with pytest.raises(ValueError, match=f"{tower.__name__[:4]}.*{words}.*LoRA's alpha"):
        check_fits(adapted, card)


@pytest.mark.parametrize("tower", [text_tower, vision_tower])
def test_a_merged_adapter_is_told(clip, tower, tmp_path):
    adapted, attention = with_lora(clip, tower)
    card = make_card(adapted, **CARD, vision=True)
    lora = attention.v_proj
    merged = lora.base
    merged.weight.add_(lora.up.weight @ lora.down.weight)
    attention.v_proj = merged
    kind = "text" if tower is text_tower else "vision"
    with pytest.warns(UserWarning, match=f"the {kind} tower .*Both compute the same") as said:
        check_fits(adapted, card)
    assert len(said) == 1
    merged.weight.add_(1e-3)
    with pytest.raises(ValueError, match=f"learned with the {kind} tower"):
        check_fits(adapted, card)


def test_it_holds_for_learners(clip, tmp_path):
    adapted, attention = with_lora(clip)
    small_learner(adapted, fast=False).save(tmp_path / "coop")
    assert PromptLearner.load(tmp_path / "coop", adapted).classnames == CLASSES
    attention.v_proj.alpha = 2.0
    with pytest.raises(ValueError, match="computes something else"):
        PromptLearner.load(tmp_path / "coop", adapted)
    VPT(clip, CLASSES, 1, depth=1).save(tmp_path / "vpt")
    other = rebuilt(clip, "vision_config", hidden_act="gelu")
    with pytest.raises(ValueError, match="the vision tower computes with hidden_act"):
        VPT.load(tmp_path / "vpt", other)


# The tokenizer


class Folding:
    """A tokenizer that does something to the texts first."""

    def __init__(self, inner, fold):
        self.inner, self.fold = inner, fold

    def __call__(self, texts, **kwargs):
        return self.inner([self.fold(text) for text in texts], **kwargs)

    def __getattr__(self, name):
        return getattr(self.inner, name)


@pytest.mark.parametrize(
    "fold", [str.swapcase, lambda t: t.replace("é", "e"), lambda t: t.replace(" (", ", ")]
)
def test_another_tokenizer_is_refused(clip, fold):
    card = make_card(clip, **CARD)
    other = clipnotes.Clip(clip.model, Folding(clip.tokenizer, fold), clip.image_processor)
    folds_case = fold is str.swapcase
    if folds_case:  # CLIP's own does so, and nothing is another token
        check_fits(other, card)
        return
    with pytest.raises(ValueError, match="the tokenizer of Emoji-CLIP makes other tokens"):
        check_fits(other, card)


def test_the_tokens_of_the_class_names_count(clip):
    only_here = Folding(clip.tokenizer, lambda text: text.replace("rose", "tulip"))
    assert tokens_digest(only_here, []) == tokens_digest(clip.tokenizer, [])
    other = clipnotes.Clip(clip.model, only_here, clip.image_processor)
    with pytest.raises(ValueError, match="other tokens of the class names"):
        check_fits(other, make_card(clip, **CARD))


def test_tokens_are_the_same_in_every_version(clip):
    """Another digest would refuse prompts that were saved under another transformers."""
    assert tokens_digest(clip.tokenizer, ["rose"])[:12] == "ee5dca5f0d15"


def test_the_probe_is_the_same_in_every_version(clip):
    for found, expected in (
        (probe(clip.model, "text"), [0.61838, -0.18418, -0.88375]),
        (probe(clip.model, "vision"), [-0.61372, 0.50547, -1.65617]),
    ):
        assert found[:3] == pytest.approx(expected, abs=1e-4)


# The card


def test_a_card_from_before_is_taken_by_the_old_rule(clip, tmp_path):
    small_learner(clip).save(tmp_path)
    rewrite(tmp_path, settings={}, probe={}, tokens=None)
    for other in (clip, rebuilt(clip, hidden_act="gelu")):
        assert PromptLearner.load(tmp_path, other).classnames == CLASSES
    adapted, _ = with_lora(clip)
    with pytest.raises(ValueError, match="learned with the text tower"):
        PromptLearner.load(tmp_path, adapted)


@pytest.mark.parametrize("kind", ["text", "vision"])
def test_what_the_probe_does_not_see_is_compared_by_itself(clip, tmp_path, kind):
    """Its text is 16 tokens; with another place behind them, a model is another one."""
    VPT(clip, ["rose", "tulip"], 1, 1).save(tmp_path)

    def change(model):
        tower = model.text_model if kind == "text" else model.vision_model
        tower.embeddings.position_embedding.weight[-1] += 1

    other = changed(clip, change)
    assert probe(other.model, "text") == probe(clip.model, "text")
    with pytest.raises(ValueError, match=f"learned with the {kind} tower"):
        VPT.load(tmp_path, other)


def test_a_card_without_the_new_fields_is_read(clip, tmp_path):
    learner = small_learner(clip)
    learner.save(tmp_path)
    card = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))
    for name in ("settings", "tables", "probe", "tokens"):
        del card[name]
    check_fits(clip, check_card(tmp_path, card))


@pytest.mark.parametrize(
    "said",
    [
        {"probe": {"text": "far"}},
        {"probe": {"text": [1.0, None]}},
        {"settings": {"text": ["gelu"]}},
        {"probe": 3},
        {"tokens": 3},
    ],
)
def test_a_damaged_card_is_said_to_be(clip, tmp_path, said):
    small_learner(clip).save(tmp_path)
    rewrite(tmp_path, **said)
    with pytest.raises(ValueError, match="damaged: its card says"):
        PromptLearner.load(tmp_path, clip)


def test_a_probe_of_another_length_or_of_nothing(clip):
    assert distance([1.0], [1.0, 2.0]) == float("inf")
    assert distance([0.0, 0.0], [0.0, 0.0]) == 0
    assert not distance([1.0, 0.0], [0.0, 0.0]) < 1


def test_features_that_are_not_finite_are_said(clip):
    broken = changed(clip, lambda model: model.text_projection.weight.fill_(float("nan")))
    with pytest.raises(ValueError, match="features of this model are not finite"):
        make_card(broken, **CARD)


def test_the_probe_leaves_the_model_as_it_was(clip):
    model = copy.deepcopy(clip.model).train()
    model.vision_model.eval()
    before = [module.training for module in model.modules()]
    for tower in (text_tower(model), vision_tower(model)):
        for layer in tower.encoder.layers:
            layer.self_attn.dropout = 0.5
    assert probe(model, "text") == probe(model, "text")
    assert probe(model, "vision") == probe(model, "vision")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert distance(probe(model, "text"), probe(clip.model, "text")) < 1e-5
    assert [module.training for module in model.modules()] == before
    assert all(weight.grad is None for weight in model.parameters())


def test_half_precision_fits_itself_on_another_device_too(clip):
    """Which rounds otherwise: here float32 with the same values stands for it."""
    for dtype in (torch.bfloat16, torch.float16):
        half = changed(clip, lambda model, dtype=dtype: model.to(dtype))
        card = make_card(half, **CARD, vision=True)
        assert card["probe"]["dtype"] == str(dtype).removeprefix("torch.")
        wide = changed(half, lambda model: model.float())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_fits(wide, card)
            check_fits(half, make_card(wide, **CARD, vision=True))


def test_what_is_compiled_has_the_same_card(clip):
    card = make_card(clip, **CARD, vision=True)
    model = copy.deepcopy(clip.model)
    model.text_model = torch.compile(model.text_model, backend="eager")
    model.vision_model.encoder.compile(backend="eager")
    found = make_card(
        clipnotes.Clip(model, clip.tokenizer, clip.image_processor), **CARD, vision=True
    )
    assert found == {**card, "model": found["model"]}


class Int8(torch.Tensor):
    """A weight in int8 as torchao's: a linear layer takes it, most else does not."""

    @staticmethod
    def __new__(cls, weight):
        return torch.Tensor._make_wrapper_subclass(cls, weight.shape, dtype=weight.dtype)

    def __init__(self, weight):
        self.scale = weight.abs().amax(dim=1, keepdim=True) / 127
        self.values = (weight / self.scale).round().to(torch.int8)

    def dequantize(self):
        return self.values * self.scale

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is nn.functional.linear:
            x, weight, *bias = args
            return function(x, weight.dequantize(), *bias)
        return super().__torch_function__(function, types, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.detach.default:
            return args[0]
        raise NotImplementedError(f"Int8: {function}")


def quantised(clip):
    model = copy.deepcopy(clip.model).requires_grad_(False)
    for module in model.modules():
        if type(module) is nn.Linear:
            module.weight = nn.Parameter(Int8(module.weight.data), requires_grad=False)
    return clipnotes.Clip(model, clip.tokenizer, clip.image_processor)


def test_weights_that_are_more_than_tensors(clip, tmp_path):
    """The plain path with a warning, and a prompt that can be saved."""
    small = quantised(clip)
    where = "the weight of text_projection is of type"
    learner = small_learner(small)
    with pytest.warns(UserWarning, match=re.escape(f"{where} {__name__}.Int8")):
        features = learner()
    assert (features - small_learner(clip)()).abs().max() < 0.1
    assert torch.autograd.grad(features[:, 0].sum(), learner.ctx)[0].abs().max() > 0
    learner.save(tmp_path)
    assert PromptLearner.load(tmp_path, small).classnames == CLASSES
    with pytest.raises(ValueError, match="learned with the text tower"):
        PromptLearner.load(tmp_path, clip)
