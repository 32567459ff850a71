"""Break each stage of the text tower on purpose: the comparison must notice, and say where.

A comparison that also passes on a broken tower proves nothing about a whole one.
"""

import pytest
import torch
import torch.nn.functional as F

from clipnotes.model import TextTower, causal_mask, eos_positions
from reference_text import assert_same_text_stages, tiny_text

# Several heads, tokens and layers, so that every order matters, and an epsilon that shows.
CONFIG = {
    "vocab_size": 20,
    "hidden_size": 12,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "max_position_embeddings": 9,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-3,
}


def text_inputs(eos_token_id):
    """Three texts with added tokens, padding, holes in the mask, and positions of their own."""
    end = 19 if eos_token_id == 2 else eos_token_id
    ids = torch.tensor([[1, 7, 5, end, 0, 0], [1, 9, end, end, end, end], [1, 18, 6, 7, 8, end]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0], [1, 0, 1, 1, 1, 1]])
    positions = torch.tensor([[3, 1, 2, 0, 5, 4], [8, 7, 6, 5, 4, 3], [0, 1, 2, 3, 4, 5]])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions}


def check(mutate=None, *, eos_token_id=17):
    theirs = tiny_text(0, **CONFIG, eos_token_id=eos_token_id)
    ours = TextTower.from_transformers(theirs)
    if mutate is not None:
        mutate(ours)
    assert_same_text_stages(ours, theirs, text_inputs(eos_token_id))


def after(module, change):
    """Change what a module returns."""
    original = module.forward
    module.forward = lambda *args, **kwargs: change(original(*args, **kwargs))


@pytest.mark.parametrize("eos_token_id", [2, 17])
def test_unbroken_control(eos_token_id):
    check(eos_token_id=eos_token_id)


def ids_off_by_one(tower):
    tower.embeddings.token_embedding.weight.data = tower.embeddings.token_embedding.weight.roll(
        1, 0
    )


def tokens_scaled(tower):
    after(tower.embeddings.token_embedding, lambda x: x * 12**0.5)


def no_positions(tower):
    after(tower.embeddings.position_embedding, torch.zeros_like)


def given_positions_ignored(tower):
    original = tower.embeddings.forward
    tower.embeddings.forward = lambda input_ids, position_ids=None, inputs_embeds=None: original(
        input_ids, None, inputs_embeds
    )


def positions_of_the_first_text_for_all(tower):
    after(tower.embeddings.position_embedding, lambda x: x[:1])


def norm_before_the_encoder(tower):
    original = tower.encoder.forward
    tower.encoder.forward = lambda x, *args, **kwargs: original(
        F.layer_norm(x, (12,)), *args, **kwargs
    )


def mask_with(tower, change):
    original = tower.encoder.forward
    tower.encoder.forward = lambda x, mask, **kwargs: original(x, change(mask), **kwargs)


def no_mask(tower):
    mask_with(tower, lambda mask: None)


def no_causal_mask(tower):
    mask_with(tower, lambda mask: mask[:, :, -1:])


def no_padding_mask(tower):
    mask_with(tower, lambda mask: causal_mask(6))


def mask_turned_over(tower):
    mask_with(tower, lambda mask: mask.mT)


def mask_of_rows_instead_of_columns(tower):
    def padded_rows(mask):
        hidden = mask[:, :, -1:] < 0
        return causal_mask(6).masked_fill(hidden.mT, torch.finfo(torch.float32).min)

    mask_with(tower, padded_rows)


def mask_shifted(tower):
    mask_with(tower, lambda mask: mask.masked_fill(torch.eye(6, dtype=torch.bool).roll(1, 1), 0))


def mask_too_weak(tower):
    mask_with(tower, lambda mask: mask.clamp(min=-3.0))


def mask_on_the_written_out_path_only(tower):
    original = tower.encoder.forward
    tower.encoder.forward = lambda x, mask, output_attentions=False, **kwargs: original(
        x, mask if output_attentions else None, output_attentions=output_attentions, **kwargs
    )


def number_of_heads(tower):
    attention = tower.encoder.layers[1].self_attn
    attention.num_heads, attention.head_dim = 2, 6


def no_scale(tower):
    tower.encoder.layers[0].self_attn.scale = 1.0


def query_and_key_swapped(tower):
    attention = tower.encoder.layers[1].self_attn
    attention.q_proj, attention.k_proj = attention.k_proj, attention.q_proj


def gelu_for_quick_gelu(tower):
    tower.encoder.layers[0].mlp.activation = F.gelu


def other_eps_in_first_norm(tower):
    tower.encoder.layers[0].layer_norm1.eps = 1e-5


def layers_in_reverse(tower):
    tower.encoder.layers = tower.encoder.layers[::-1]


def one_layer_less(tower):
    tower.encoder.layers = tower.encoder.layers[:1]


def final_norm_among_the_states(tower):
    after(
        tower.encoder,
        lambda out: out._replace(
            hidden_states=out.hidden_states
            and (*out.hidden_states[:-1], tower.final_layer_norm(out.last_hidden_state))
        ),
    )


def no_final_norm(tower):
    tower.final_layer_norm.forward = lambda x: x


def other_eps_in_final_norm(tower):
    tower.final_layer_norm.eps = 1e-5


def pooled_from_the_first_token(tower):
    tower._ends = lambda ids: torch.zeros(3, dtype=torch.int64)


def pooled_from_the_last_token(tower):
    tower._ends = lambda ids: torch.full((3,), 5)


def pooled_from_the_last_end(tower):
    tower._ends = lambda ids: 5 - (ids == 17).flip(1).int().argmax(1)


def pooled_before_the_end(tower):
    tower._ends = lambda ids: eos_positions(ids, 17) - 1


def pooled_by_the_old_rule(tower):
    tower.eos_token_id = 2


def pooled_before_the_norm(tower):
    ends = torch.tensor([3, 2, 5])
    kept = {}
    after(tower.encoder, lambda out: kept.update(x=out.last_hidden_state) or out)
    after(tower, lambda out: out._replace(pooler_output=kept["x"][torch.arange(3), ends]))


def detached_tokens(tower):
    after(tower.embeddings.token_embedding, torch.Tensor.detach)


def detached_positions(tower):
    after(tower.embeddings.position_embedding, torch.Tensor.detach)


def detached_pooling(tower):
    after(tower, lambda out: out._replace(pooler_output=out.pooler_output.detach()))


@pytest.mark.parametrize(
    ("mutate", "stage"),
    [
        (ids_off_by_one, "token embedding"),
        (tokens_scaled, "token embedding"),
        (no_positions, "positions"),
        (given_positions_ignored, "positions"),
        (positions_of_the_first_text_for_all, "positions"),
        (norm_before_the_encoder, "enters the encoder"),
        (no_mask, "attention weights 0"),
        (no_causal_mask, "attention weights 0"),
        (no_padding_mask, "attention weights 0"),
        (mask_turned_over, "attention weights 0"),
        (mask_of_rows_instead_of_columns, "attention weights 0"),
        (mask_shifted, "attention weights 0"),
        (mask_too_weak, "attention weights 0"),
        (mask_on_the_written_out_path_only, "final norm"),
        (number_of_heads, "attention weights 1"),
        (no_scale, "attention weights 0"),
        (query_and_key_swapped, "attention weights 1"),
        (gelu_for_quick_gelu, "layer 0"),
        (other_eps_in_first_norm, "attention weights 0"),
        (layers_in_reverse, "attention weights 0"),
        (one_layer_less, "number of hidden states"),
        (final_norm_among_the_states, "layer 1"),
        (no_final_norm, "final norm"),
        (other_eps_in_final_norm, "final norm"),
        (pooled_from_the_first_token, "pooled"),
        (pooled_from_the_last_token, "pooled"),
        (pooled_from_the_last_end, "pooled"),
        (pooled_before_the_end, "pooled"),
        (pooled_by_the_old_rule, "pooled"),
        (pooled_before_the_norm, "pooled"),
        (detached_tokens, "gradient of embeddings.token_embedding"),
        (detached_positions, "gradient of embeddings.position_embedding"),
        (detached_pooling, "gradient of "),
    ],
)
def test_broken_towers_are_noticed(mutate, stage):
    with pytest.raises(AssertionError, match=f"^{stage}"):
        check(mutate)


def test_the_new_rule_where_the_old_one_holds_is_noticed():
    def by_the_new_rule(tower):
        tower.eos_token_id = 18

    with pytest.raises(AssertionError, match=r"^pooled"):
        check(by_the_new_rule, eos_token_id=2)
