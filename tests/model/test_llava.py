"""LLaVA's projector, splice and loop: equal to those of transformers, gradients included."""

import pytest
import torch
from transformers import CLIPVisionModel

from clipnotes.compat.llava import llava_parts
from clipnotes.model import Llava, Projector, splice
from reference import assert_close, pixels
from tiny_llava import END, prompts, tiny_llava

SEEDS = range(6)


def inputs_of(model, seed, batch=3):
    return prompts(model, seed, batch), pixels(model.config.vision_config, seed, batch=batch)


@pytest.mark.parametrize("seed", SEEDS)
def test_logits_and_gradients_are_theirs(seed):
    theirs = tiny_llava(seed)
    ours = Llava.from_transformers(theirs)
    input_ids, pixel_values = inputs_of(theirs, seed)
    expected = theirs(input_ids=input_ids, pixel_values=pixel_values).logits
    found = ours(input_ids, pixel_values)
    assert_close("logits", found, expected)
    expected.sin().sum().backward()
    found.sin().sum().backward()
    reference = dict(llava_parts(theirs).projector.named_parameters())
    assert len(reference) == 4
    for name, weight in ours.projector.named_parameters():
        assert reference[name].grad.abs().max() > 1e-4
        scale = reference[name].grad.abs().max()
        assert_close(name, weight.grad / scale, reference[name].grad / scale)


@pytest.mark.parametrize("seed", SEEDS)
def test_greedy_answers_are_theirs(seed):
    theirs = tiny_llava(seed)
    ours = Llava.from_transformers(theirs)
    input_ids, pixel_values = inputs_of(theirs, seed)
    expected = theirs.generate(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        pixel_values=pixel_values,
        do_sample=False,
        max_new_tokens=8,
    )[:, input_ids.shape[1] :]
    found = ours.generate(input_ids, pixel_values, end=END, max_new_tokens=8)
    # transformers fills a row behind its end with the padding, we with the end.
    ended = (found == END).int().cumsum(1) - (found == END).int() > 0
    assert torch.equal(found.masked_fill(ended, 0), expected.masked_fill(ended, 0))


def test_an_answer_stops_at_its_end_and_at_the_limit():
    ours = Llava.from_transformers(tiny_llava(1))
    input_ids, pixel_values = inputs_of(tiny_llava(1), 1)
    free = ours.generate(input_ids, pixel_values, end=-1, max_new_tokens=6)
    assert free.shape == (3, 6)
    said = int(free[0, 2])
    stopped = ours.generate(input_ids[:1], pixel_values[:1], end=said, max_new_tokens=6)
    first = free[0].tolist().index(said)
    assert stopped.tolist() == [free[0, : first + 1].tolist()]


def test_padding_in_front_changes_nothing():
    ours = Llava.from_transformers(tiny_llava(3))
    input_ids, pixel_values = inputs_of(tiny_llava(3), 3)
    padded = torch.cat([torch.zeros(3, 2, dtype=torch.long), input_ids], 1)
    mask = (torch.arange(padded.shape[1]) >= 2).long().expand(3, -1)
    alone = ours(input_ids, pixel_values)
    assert_close("masked", ours(padded, pixel_values, mask)[:, 2:], alone, 1e-4)
    assert (ours(padded, pixel_values)[:, 2:] - alone).abs().max() > 1e-3


def test_a_copy_shares_nothing_and_keeps_its_mode():
    theirs = tiny_llava(1).train()
    ours = Llava.from_transformers(theirs)
    assert ours.training and ours.lm_head.weight is ours.language_model.embed_tokens.weight
    before = llava_parts(theirs).projector.linear_1.weight.clone()
    with torch.no_grad():
        ours.projector.linear_1.weight.zero_()
    assert torch.equal(llava_parts(theirs).projector.linear_1.weight, before)
    half = Llava.from_transformers(theirs.bfloat16())
    assert half.projector.linear_1.weight.dtype == torch.bfloat16


def test_a_splice_reads_row_by_row_and_lets_gradients_through():
    words = torch.randn(2, 4, 3, requires_grad=True)
    patches = torch.randn(2, 2, 3, requires_grad=True)
    is_image = torch.tensor([[False, True, True, False], [True, False, False, True]])
    spliced = splice(words, patches, is_image)
    assert torch.equal(spliced[0, 1:3], patches[0]) and torch.equal(spliced[1, [0, 3]], patches[1])
    assert torch.equal(spliced[0, [0, 3]], words[0, [0, 3]])
    spliced.sum().backward()
    assert torch.equal(words.grad[..., 0], (~is_image).float())
    assert torch.equal(patches.grad, torch.ones_like(patches))


@pytest.mark.parametrize("counts", [(2, 2, 1), (1, 3), (2,)])
def test_a_row_with_another_number_of_image_tokens_is_refused(counts):
    is_image = torch.arange(4) < torch.tensor(counts)[:, None]
    with pytest.raises(ValueError, match=r"one image token for each of its patches"):
        splice(torch.zeros(len(counts), 4, 3), torch.zeros(2, 2, 3), is_image)


def test_what_is_no_llava_of_this_kind_is_refused():
    with pytest.raises(TypeError, match="a CLIPVisionModel is no LLaVA"):
        Llava.from_transformers(CLIPVisionModel(tiny_llava(0).config.vision_config))
    with pytest.raises(ValueError, match=r"takes the layers \[-2, -1\]; only one"):
        Llava.from_transformers(tiny_llava(0, vision_feature_layer=[-2, -1]))
    with pytest.raises(ValueError, match="selects 'full'; only 'default'"):
        Llava.from_transformers(tiny_llava(0, vision_feature_select_strategy="full"))


def test_the_projector_is_two_layers_with_a_gelu_between():
    projector = Projector(3, 5)
    patches = torch.randn(2, 4, 3)
    inside = torch.nn.functional.gelu(projector.linear_1(patches))
    assert_close("projected", projector(patches), projector.linear_2(inside))
