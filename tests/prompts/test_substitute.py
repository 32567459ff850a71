"""Where context vectors may go: what is taken as it is, and what is refused with a reason."""

import pytest
import torch

from clipnotes.prompts.substitute import (
    INITIAL_STD,
    check_ctx,
    check_end,
    places,
    random_ctx,
    substitute,
)

ONE, EACH = torch.zeros(2, 3), torch.zeros(4, 2, 3)  # a context for all texts, one for each of 4


@pytest.mark.parametrize(
    ("start", "ctx", "expected"),
    [
        (0, ONE, [0, 1]),
        (7, ONE, [7, 8]),  # up to the last position
        (5, torch.zeros(1, 3), [5]),
        (torch.tensor([8, 0]).int(), ONE, [8, 0]),
        (torch.tensor([[1, 2], [3, 1]]), ONE, [[1, 2], [3, 1]]),
        (torch.tensor([3, 4]), EACH, [3, 4]),
        (torch.tensor([[1, 2]] * 4), EACH, [[1, 2]] * 4),
        (torch.tensor([[5], [5]]), torch.zeros(1, 3), [[5], [5]]),  # two texts, one place
    ],
)
def test_places_that_fit(start, ctx, expected):
    found = places(start, ctx, 9)
    assert found.dtype == torch.int64 and found.tolist() == expected


@pytest.mark.parametrize(
    ("start", "ctx", "error", "words"),
    [
        (-1, ONE, ValueError, "2 vectors would stand at places -1 to 0: .* positions 0 to 8$"),
        (8, ONE, ValueError, "would stand at places 8 to 9: the model has positions 0 to 8$"),
        (torch.tensor([0, 9]), ONE, ValueError, "at places 0 to 9"),
        (torch.tensor([3, -2]), ONE, ValueError, "at places -2 to 3"),
        (True, ONE, TypeError, "start is a bool: give an integer"),
        ([1, 2], ONE, TypeError, "start is a list"),
        (torch.tensor([3, 3]), ONE, ValueError, "name one twice"),
        (torch.tensor([[1, 2], [4, 4]]), ONE, ValueError, "name one twice"),
        (torch.tensor([3, 1, 3]), torch.zeros(3, 3), ValueError, "name one twice"),
        (torch.tensor([1.0, 2.0]), ONE, ValueError, "dtype torch.float32: give int64 or int32"),
        (torch.tensor(1), ONE, ValueError, r"shape \(\) and ctx has shape \(2, 3\): give 2 places"),
        (torch.tensor([1, 2, 3]), ONE, ValueError, r"the places have shape \(3,\) and ctx"),
        (torch.tensor([[1, 2]] * 3), EACH, ValueError, r"shape \(3, 2\) .*\(4, 2, 3\)"),
        (torch.tensor([[[1, 2]]]), ONE, ValueError, r"shape \(1, 1, 2\)"),
    ],
)
def test_places_that_do_not(start, ctx, error, words):
    with pytest.raises(error, match=words):
        places(start, ctx, 9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (4, 1, 3)])
def test_contexts_that_fit(shape, dtype):
    check_ctx(torch.zeros(shape, dtype=dtype), 3)


@pytest.mark.parametrize(
    ("ctx", "error", "words"),
    [
        ([[0.0]], TypeError, r"ctx is a list: give a tensor of shape \(n_ctx, 3\), or"),
        (torch.zeros(3), ValueError, r"ctx has shape \(3,\): give \(n_ctx, 3\), or \(B, n_ctx, 3"),
        (torch.zeros(1, 1, 1, 3), ValueError, r"shape \(1, 1, 1, 3\)"),
        (torch.zeros(3, 2), ValueError, r"shape \(3, 2\)"),
        (torch.zeros(0, 3), ValueError, r"shape \(0, 3\)"),
        (torch.zeros(0, 2, 3), ValueError, r"shape \(0, 2, 3\)"),
        (torch.zeros(2, 3).long(), ValueError, "dtype torch.int64: give floating point"),
    ],
)
def test_contexts_that_do_not(ctx, error, words):
    with pytest.raises(error, match=words):
        check_ctx(ctx, 3)


def test_a_context_over_the_end_is_named_by_its_text():
    check_end(torch.tensor([1, 2]), torch.tensor([3, 4]))
    check_end(torch.tensor([[1, 2], [4, 2]]), torch.tensor([4, 3]))  # another text's end
    for positions in (torch.tensor([1, 4]), torch.tensor([[1, 2], [4, 1]])):
        with pytest.raises(
            ValueError, match="text 1 is read out at place 4, where a context vector"
        ):
            check_end(positions, torch.tensor([3, 4]))


TOKENS = torch.arange(24.0).view(2, 4, 3)


@pytest.mark.parametrize(
    ("ctx", "positions", "words"),
    [
        (torch.zeros(3, 2, 3), torch.tensor([1, 2]), "ctx is for 3 texts and 2 are encoded"),
        (ONE, torch.tensor([[1, 2]] * 3), "positions is for 3 texts and 2 are encoded"),
        (ONE, torch.tensor([1, 4]), r"the text has 4 tokens, .* at places 1 to 4 \(counted"),
        (ONE, torch.tensor([[1, 2], [2, 5]]), "at places 1 to 5"),
    ],
)
def test_a_context_for_other_texts(ctx, positions, words):
    with pytest.raises(ValueError, match=words):
        substitute(TOKENS, ctx, positions)


def test_as_many_vectors_as_there_are_texts_are_no_context_for_each():
    """Nor does a context for all texts have to be as long as there are texts."""
    ctx = torch.tensor([[-1.0] * 3, [-2.0] * 3, [-3.0] * 3])
    found = substitute(TOKENS, ctx, torch.tensor([3, 0, 1]))
    for text, tokens in zip(found, TOKENS, strict=True):
        expected = torch.stack([ctx[1], ctx[2], tokens[2], ctx[0]])
        assert torch.equal(text, expected)


def test_the_result_is_where_the_embeddings_are_and_of_their_dtype():
    embeddings = torch.zeros(2, 4, 3, device="meta", dtype=torch.bfloat16)
    found = substitute(embeddings, ONE, torch.tensor([1, 2]))
    assert (found.shape, found.device.type, found.dtype) == ((2, 4, 3), "meta", torch.bfloat16)


def test_random_vectors_are_as_long_as_coop_s_and_leave_torch_s_generator_alone():
    before = torch.get_rng_state()
    ctx = random_ctx(20, 500, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert ctx.std().item() == pytest.approx(INITIAL_STD, rel=0.05)
    assert torch.equal(ctx, random_ctx(20, 500, seed=1))
    assert not torch.equal(ctx, random_ctx(20, 500, seed=2))


def test_substitute_writes_nothing_into_what_it_is_given():
    tokens = torch.randn(2, 5, 3, requires_grad=True)
    kept = tokens.detach().clone()
    ctx = torch.randn(2, 3, requires_grad=True)
    mixed = substitute(tokens, ctx, torch.tensor([4, 1]))
    assert torch.equal(tokens, kept)
    assert torch.equal(mixed[:, [4, 1]], ctx.expand(2, 2, 3))
    assert torch.equal(mixed[:, [0, 2, 3]], tokens[:, [0, 2, 3]])
    plain = tokens.detach()  # the way is the same for what wants no gradient
    assert torch.equal(substitute(plain, ctx, torch.tensor([4, 1])), mixed)
    assert torch.equal(plain, kept)
    assert torch.autograd.gradcheck(
        lambda tokens, ctx: substitute(tokens, ctx, torch.tensor([4, 1])),
        (tokens.detach().double().requires_grad_(), ctx.detach().double().requires_grad_()),
    )


def test_checks_let_shapes_without_values_pass():
    meta = torch.tensor([1, 2], device="meta")
    assert substitute(torch.zeros(1, 4, 3, device="meta"), torch.zeros(2, 3), meta).shape == (
        1,
        4,
        3,
    )
    check_end(torch.tensor([1, 2]), meta)
