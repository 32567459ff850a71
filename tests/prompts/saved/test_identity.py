"""Which model a saved prompt fits: what computes the same, whatever its weights are called."""

import copy
import json

import pytest
import torch

import clipnotes
from clipnotes.compat import text_tower, vision_tower
from clipnotes.prompts import VPT, PromptLearner
from clipnotes.prompts.saved.card import check_card, make_card
from clipnotes.prompts.saved.fits import check_fits
from clipnotes.prompts.saved.identity import distance, probe, text_tower_digest, tokens_digest
from few_pictures import CLASSES, small_learner
from saved_prompts import CARD, changed, rewrite
from wrapped_layers import Lora, wrap


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


def test_another_tower_is_refused_with_both(clip, tmp_path):
    small_learner(clip).save(tmp_path)
    other = changed(clip, lambda model: model.text_projection.weight.neg_())
    other.model.config._name_or_path = "somebody/else"
    mine, theirs = text_tower_digest(clip.model)[:12], text_tower_digest(other.model)[:12]
    words = f"text tower {mine} of Emoji-CLIP; that of somebody/else is {theirs}"
    with pytest.raises(ValueError, match=words):
        PromptLearner.load(tmp_path, other)


def test_another_width_is_refused_with_both(clip, tmp_path):
    from transformers import CLIPConfig, CLIPModel

    small_learner(clip).save(tmp_path)
    text = {**clip.model.config.text_config.to_dict(), "hidden_size": 32, "num_hidden_layers": 1}
    vision = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)
    narrow = clipnotes.Clip(CLIPModel(config), clip.tokenizer, clip.image_processor)
    with pytest.raises(ValueError, match=r"vectors of 128 numbers .*Emoji-CLIP.* have 32"):
        PromptLearner.load(tmp_path, narrow)


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


# The card


def test_a_card_from_before_is_taken_by_the_old_rule(clip, tmp_path):
    small_learner(clip).save(tmp_path)
    rewrite(tmp_path, settings={}, probe={}, tokens=None)
    for other in (clip, rebuilt(clip, hidden_act="gelu")):
        assert PromptLearner.load(tmp_path, other).classnames == CLASSES
    adapted, _ = with_lora(clip)
    with pytest.raises(ValueError, match="learned with the text tower"):
        PromptLearner.load(tmp_path, adapted)


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
