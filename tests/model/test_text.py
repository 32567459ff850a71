"""Our text tower against transformers: every stage, every gradient, every error."""

import copy

import pytest
import torch

from clipnotes.compat import text_features, text_tower
from clipnotes.model import TextTower, eos_positions
from reference import agree, assert_close, check_defaults_of_layers
from reference_text import SMALL, assert_same_text_stages, text_config, texts, tiny_text

IDS = torch.tensor([[1, 5, 19, 0], [1, 7, 8, 19]])


@pytest.mark.parametrize("seed", range(60))
def test_equals_the_reference(seed):
    theirs = tiny_text(seed)
    inputs = texts(theirs.config, seed, batch=1 + seed % 4)
    assert_same_text_stages(TextTower.from_transformers(theirs), theirs, inputs)


@pytest.mark.parametrize("kind", ["none", "right", "left", "holes"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_reference_under_every_mask(kind, seed):
    theirs = tiny_text(seed)
    inputs = texts(theirs.config, seed, kind=kind)
    assert_same_text_stages(TextTower.from_transformers(theirs), theirs, inputs)


@pytest.mark.parametrize("length", [1, 2, 9])
@pytest.mark.parametrize("eos_token_id", [2, 5])
def test_equals_the_reference_at_every_length(length, eos_token_id):
    theirs = tiny_text(1, max_position_embeddings=9, eos_token_id=eos_token_id, vocab_size=20)
    ids = torch.arange(length).expand(2, -1) + 3  # of length 1 and 2 without an end
    assert_same_text_stages(TextTower.from_transformers(theirs), theirs, {"input_ids": ids})


def test_text_emoji_clip(clip):
    model = copy.deepcopy(clip.model).float().requires_grad_(True)
    ours = TextTower.from_transformers(model)
    names = ["a tulip", "an emoji of a steam locomotive", "x"]
    inputs = dict(clip.tokenizer(names, padding=True, return_tensors="pt"))
    assert_same_text_stages(ours, model, inputs)
    assert_same_text_stages(ours, model, {"input_ids": inputs["input_ids"]})


def test_double_precision_is_finite_and_the_same():
    theirs = tiny_text(2)
    inputs = texts(theirs.config, 2, kind="left")
    ours = TextTower.from_transformers(theirs)
    single = ours(**inputs).pooler_output
    assert_close("pooled", ours.double()(**inputs).pooler_output.float(), single)


def test_defaults_are_vit_b_32():
    with torch.device("meta"):
        tower = TextTower()
    assert sum(weight.numel() for weight in tower.parameters()) == 63_165_952  # as published
    assert tower.embeddings.position_ids.shape == (1, 77)
    assert (tower.eos_token_id, tower.encoder.layers[0].self_attn.num_heads) == (49407, 8)
    check_defaults_of_layers(tower)


def test_the_last_state_is_the_one_before_the_norm():
    tower = TextTower(**SMALL)
    asked = tower(IDS, output_hidden_states=True)
    last = tower.final_layer_norm(asked.hidden_states[-1])
    assert agree(last, asked.last_hidden_state)
    assert not torch.allclose(asked.hidden_states[-1], last)


# Where a text ends


def test_an_added_token_is_taken_for_the_end_by_the_old_rule_only():
    ids = torch.tensor([[1, 20, 5, 19, 19], [1, 5, 19, 0, 0]])
    assert eos_positions(ids, eos_token_id=19).tolist() == [3, 2]
    assert eos_positions(ids, eos_token_id=2).tolist() == [1, 2]


@pytest.mark.parametrize("padding", [0, 7, 19])
def test_what_stands_behind_the_end_does_not_matter(padding):
    tower = TextTower(**SMALL).eval()
    short, long = torch.tensor([[1, 5, 19]]), torch.tensor([[1, 5, 19, padding, padding]])
    assert_close("pooled", tower(long).pooler_output, tower(short).pooler_output)


# Vectors instead of ids


@pytest.mark.parametrize("seed", range(6))
def test_given_vectors_arrive_as_if_they_were_rows_of_the_table(seed):
    theirs = tiny_text(seed)
    ours = TextTower.from_transformers(theirs)
    inputs = texts(theirs.config, seed)
    vectors = torch.randn(*inputs["input_ids"].shape, theirs.config.hidden_size)
    theirs_embed = text_tower(theirs).embeddings.token_embedding
    theirs_embed.forward = lambda ids: vectors
    expected = text_features_before_projection(theirs, inputs)
    ends = eos_positions(inputs.pop("input_ids"), theirs.config.eos_token_id)
    result = ours(inputs_embeds=vectors, eos_positions=ends, **inputs)
    assert_close("pooled", result.pooler_output, expected)


def text_features_before_projection(model, inputs):
    model.text_projection = torch.nn.Identity()
    return text_features(model, **inputs)


def test_given_vectors_get_a_gradient():
    tower = TextTower(**SMALL)
    vectors = torch.randn(2, 4, 8, requires_grad=True)
    ends = torch.tensor([2, 3])
    # Not the plain sum: over a normalised vector that is 0 whatever is put in.
    tower(inputs_embeds=vectors, eos_positions=ends).pooler_output[:, :4].sum().backward()
    assert vectors.grad[0, :3].abs().sum(-1).gt(0).all()
    assert vectors.grad[0, 3].abs().sum() == 0  # behind the end


def test_given_ends_go_before_those_of_the_ids():
    tower = TextTower(**SMALL).eval()
    output = tower(IDS, eos_positions=torch.tensor([1, 0]))
    assert torch.equal(output.pooler_output, output.last_hidden_state[[0, 1], [1, 0]])


def test_integers_of_32_bits_do_as_well():
    tower = TextTower(**SMALL).eval()
    short = tower(IDS.int(), eos_positions=torch.tensor([2, 3]).int(), position_ids=IDS.int() % 9)
    assert agree(short.pooler_output, tower(IDS, position_ids=IDS % 9).pooler_output)


def test_vectors_follow_the_dtype_of_the_weights():
    tower = TextTower(**SMALL).to(torch.bfloat16)
    output = tower(inputs_embeds=torch.randn(1, 3, 8), eos_positions=torch.tensor([2]))
    assert output.pooler_output.dtype == torch.bfloat16


# The random configs


def test_the_configs_cover_what_they_should():
    configs = [text_config(seed) for seed in range(60)]
    assert {config.eos_token_id == 2 for config in configs} == {True, False}
    drawn = [texts(config, seed) for seed, config in enumerate(configs)]
    positions = {len(x["position_ids"]) > 1 if "position_ids" in x else None for x in drawn}
    assert positions == {None, True, False}
    assert {"attention_mask" in inputs for inputs in drawn} == {True, False}
