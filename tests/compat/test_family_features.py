"""Each family that is carried encodes as its own model does: features, logits, gradients."""

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize
from transformers import BertConfig, BertModel

from clipnotes import compat
from families import LENGTH, NAMES, SIZES, tiny_model, tokenizer_of
from reference import assert_close

EVERY = [(name, size) for name in NAMES for size in SIZES]


def inputs(name):
    model, tokenizer = tiny_model(name), tokenizer_of(name)
    last = compat.family_of(model).reads(model) == "last"
    padding = {"padding": "max_length", "max_length": LENGTH} if last else {"padding": True}
    texts = tokenizer(["a red rose", "fox"], return_tensors="pt", **padding)
    pixels = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return dict(texts), pixels


@pytest.mark.parametrize(("name", "size"), EVERY)
def test_features_and_logits_are_the_models_own(name, size):
    model, (texts, pixels) = tiny_model(name, size), inputs(name)
    theirs = model(pixel_values=pixels, **texts)
    images = normalize(compat.image_features(model, pixels), dim=-1)
    words = normalize(compat.text_features(model, **texts), dim=-1)
    assert_close("images", images, theirs.image_embeds)
    assert_close("texts", words, theirs.text_embeds)
    assert_close("logits", compat.logits(model, images @ words.T), theirs.logits_per_image)
    assert compat.shared_width(model) == images.shape[1] == words.shape[1]


@pytest.mark.parametrize(("name", "size"), EVERY)
def test_all_weights_that_decide_are_listed(name, size):
    """What gets a gradient from the features of one tower is in the list, and nothing else."""
    model, (texts, pixels) = tiny_model(name, size), inputs(name)
    family = compat.family_of(model)
    for features, listed in (
        (compat.text_features(model, **texts), family.text_weights(model)),
        (compat.image_features(model, pixels), family.vision_weights(model)),
    ):
        model.zero_grad()
        features.sum().backward()
        reached = {id(weight) for weight in model.parameters() if weight.grad is not None}
        assert reached <= {id(weight) for weight in listed.values()}
    assert len(family.text_layers(model)) == len(family.vision_layers(model)) == SIZES[size][2]
    table = family.token_table(model)
    assert isinstance(table, nn.Embedding) and table.num_embeddings == len(tokenizer_of(name))
    assert family.n_positions(model) == LENGTH


def test_siglips_texts_have_to_be_filled_up():
    model, tokenizer = tiny_model("Siglip"), tokenizer_of("Siglip")
    short = tokenizer(["fox"], return_tensors="pt")["input_ids"]
    with pytest.raises(ValueError, match=r"have 2 tokens.*place 11, padding included.*max_length"):
        compat.text_features(model, short)


def test_a_siglip_without_its_pooling_head_makes_no_vector():
    model = tiny_model("Siglip")
    tower = compat.family_of(model).vision_tower(model)
    tower.head = None
    with pytest.raises(TypeError, match="no pooling head"):
        compat.image_features(model, torch.zeros(1, 3, 8, 8))


def test_what_is_not_carried_is_refused_by_its_family():
    config = BertConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=1)
    with pytest.raises(TypeError, match=r"BertModel is of the family 'bert'.*clipnotes\.probe"):
        compat.family_of(BertModel(config))
    dual = tiny_model("VisionTextDualEncoder")
    dual.text_model.pooler = None
    with pytest.raises(TypeError, match=r"text tower .* is a BertModel.*with its pooler"):
        compat.text_features(dual, torch.zeros(1, 3, dtype=torch.long))


@pytest.mark.parametrize("name", NAMES)
def test_a_tower_and_a_wrapped_model_are_of_the_same_family(name):
    model = tiny_model(name)
    family = compat.family_of(model)

    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = model

    assert compat.family_of(Wrapper()) is family
    if name != "VisionTextDualEncoder":  # its towers are of other families
        assert compat.family_of(family.text_tower(model)) is family
