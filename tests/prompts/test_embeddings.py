"""The fix in two forms: with a text's own vectors the plain forward, and afterwards no trace."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from transformers import CLIPModel

from clipnotes.compat import checkpoint_layers, text_tower
from clipnotes.model import TextTower
from clipnotes.prompts import LearnableTextEmbeddings, inject
from clipnotes.prompts.substitute import check_ctx, check_end, places, substitute
from reference import agree, assert_close
from reference_text import tiny_text
from text_models import IDS, SIZES, make, mixed_flags, run, table

TAIL = slice(4, None)


KINDS = ["CLIPModel", "text", "projection", "tower"]


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_untouched(model, before, flags):
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert {name: w.requires_grad for name, w in model.named_parameters()} == flags
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


# Both forms


@pytest.mark.parametrize("eos_token_id", [2, 19])
@pytest.mark.parametrize("kind", KINDS)
def test_a_text_s_own_vectors_give_the_plain_forward(kind, eos_token_id):
    model = make(kind, eos_token_id=eos_token_id)
    with torch.no_grad():
        for start, n_ctx in ((1, 3), (2, 1), (0, 4)):
            own = IDS[:, start : start + n_ctx]
            plain = run(model)
            with inject(model, table(model)[own], start=start):  # one context a text
                assert agree(run(model), plain)
            with inject(model, table(model)[own[0]], start=start):
                assert agree(run(model, IDS[:1]), plain[:1])
                assert not agree(run(model), plain)
            learnable = LearnableTextEmbeddings.replace(model, start=start, init=own[0])
            assert learnable.n_ctx == n_ctx
            assert agree(run(model, IDS[:1]), plain[:1])
            assert not agree(run(model), plain)
            learnable.restore()


@pytest.mark.parametrize("seed", range(6))
def test_both_forms_agree_in_values_and_gradients(seed):
    model = tiny_text(seed, **SIZES)
    ctx = torch.randn(3, model.config.hidden_size, requires_grad=True)
    weighting = torch.randn(2, 8, model.config.hidden_size)
    with inject(model, ctx):
        injected = run(model)
    (expected,) = torch.autograd.grad((injected * weighting).sum(), ctx)
    learnable = LearnableTextEmbeddings.replace(model, init=ctx)
    replaced = run(model)
    (gradient,) = torch.autograd.grad((replaced * weighting).sum(), learnable.ctx)
    assert agree(replaced, injected)
    assert agree(gradient, expected)
    assert expected.abs().sum() > 0


def test_against_embeddings_put_together_by_hand():
    """The tokens in front and behind keep their vectors, and every token its own position."""
    model = make("text")
    embeddings, ctx = text_tower(model).embeddings, torch.randn(3, 12)
    tokens = torch.cat(
        [table(model)[IDS[:, :1]], ctx.expand(2, 3, 12), table(model)[IDS[:, TAIL]]], 1
    )
    expected = tokens + embeddings.position_embedding.weight[:7]
    with inject(model, ctx):
        assert agree(embeddings(input_ids=IDS), expected)
    learnable = LearnableTextEmbeddings(embeddings, init=ctx)
    assert agree(learnable(IDS), expected)
    positions = torch.tensor([[8, 7, 6, 5, 4, 3, 2]])
    moved = tokens + embeddings.position_embedding.weight[positions]
    assert agree(learnable(IDS, positions), moved)
    with inject(model, ctx):
        assert agree(embeddings(IDS, positions), moved)


def train(model, parameters, forward):
    """A few steps with weight decay over *everything*, as somebody may well write it."""
    optimizer = torch.optim.AdamW([*parameters, *model.parameters()], lr=0.1, weight_decay=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        forward()[:, :, :3].square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("kind", KINDS)
def test_inject_trains_the_context_and_no_bit_of_the_rest(kind):
    model = make(kind)
    flags, before = mixed_flags(model), weights(model)
    ctx = nn.Parameter(torch.zeros(3, 12))

    def forward():
        with inject(model, ctx):
            return run(model)  # backward runs after the context is left

    train(model, [ctx], forward)
    assert ctx.abs().min() > 0
    assert all(weight.grad is None for weight in model.parameters())
    assert_untouched(model, before, flags)


@pytest.mark.parametrize("kind", KINDS)
def test_replace_trains_the_context_and_no_bit_of_the_rest(kind):
    model = make(kind)
    flags, before = mixed_flags(model), weights(model)
    original = text_tower(model).embeddings
    learnable = LearnableTextEmbeddings.replace(model, 3)
    start = learnable.ctx.detach().clone()
    trained = [name for name, w in model.named_parameters() if w.requires_grad]
    assert [name.split(".")[-1] for name in trained] == ["ctx"]
    assert set(model.state_dict()) - set(before) == set(trained)
    train(model, [], lambda: run(model))
    assert (learnable.ctx != start).all()
    assert torch.equal(learnable.token_embedding.weight, original.token_embedding.weight)
    learnable.restore()
    assert text_tower(model).embeddings is original
    assert_untouched(model, before, flags)


# The hook


def test_inject_leaves_nothing_behind_also_after_an_exception():
    model = make("CLIPModel")
    flags, before = mixed_flags(model), weights(model)
    plain = run(model)

    def stopped():
        with inject(model, torch.zeros(2, 12)):
            assert not any(weight.requires_grad for weight in model.parameters())
            raise RuntimeError("in between")

    def too_short():
        with inject(model, torch.zeros(2, 12)):
            run(model, IDS[:, :2])

    for call, error in ((stopped, RuntimeError), (too_short, ValueError)):
        with pytest.raises(error, match=r"in between|the text has 2 tokens"):
            call()
        assert_untouched(model, before, flags)
    assert agree(run(model), plain)


def test_contexts_can_be_nested():
    model = make("text")
    both, first, last = torch.randn(3, 12), torch.randn(2, 12), torch.randn(1, 12)
    both[:2], both[2:] = first, last
    first.requires_grad_(), last.requires_grad_()
    with inject(model, both):
        expected = run(model)
    with inject(model, first, start=1):
        with inject(model, last, start=3):
            nested = run(model)
        with torch.no_grad(), inject(model, last, start=1):
            assert not agree(run(model), nested)
        assert not any(weight.requires_grad for weight in model.parameters())
    assert agree(nested, expected)
    nested[:, :, 0].sum().backward()
    assert first.grad.abs().sum() > 0 and last.grad.abs().sum() > 0
    assert all(weight.requires_grad for weight in model.parameters())


def test_a_context_in_parts_and_one_for_each_text():
    model = make("text")
    ctx = torch.randn(2, 2, 12)
    positions = torch.tensor([[3, 1], [2, 3]])  # in any order
    expected = table(model)[IDS].clone()
    expected[0, 3], expected[0, 1], expected[1, 2], expected[1, 3] = *ctx[0], *ctx[1]
    expected = expected + text_tower(model).embeddings.position_embedding.weight[:7]
    with inject(model, ctx, positions):
        assert agree(text_tower(model).embeddings(IDS), expected)
    with inject(model, ctx[0], positions[0]):
        assert agree(text_tower(model).embeddings(IDS)[0], expected[0])
    learnable = LearnableTextEmbeddings.replace(model, start=positions[0], init=ctx[0])
    assert agree(learnable(IDS)[0], expected[0])


def test_a_context_that_is_one_of_the_model_s_own_parameters_keeps_its_flag():
    model = make("text")
    model.own = nn.Parameter(torch.randn(2, 12))
    with inject(model, model.own):
        assert [name for name, w in model.named_parameters() if w.requires_grad] == ["own"]
        run(model)[:, :, 0].sum().backward()
    assert model.own.grad.abs().sum() > 0


def test_the_context_is_cast_to_the_model_and_its_gradient_back():
    model = make("text").to(torch.bfloat16)
    ctx = torch.randn(3, 12, requires_grad=True)
    with inject(model, ctx):
        out = run(model)
    assert out.dtype == torch.bfloat16
    out[:, :, 0].sum().backward()
    assert ctx.grad.dtype == torch.float32
    learnable = LearnableTextEmbeddings.replace(model, 3)
    assert learnable.ctx.dtype == torch.bfloat16
    assert run(model).dtype == torch.bfloat16


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_works_inside(reentrant):
    model = make("text").train()
    ctx = torch.randn(3, 12, requires_grad=True)

    def gradient():
        ctx.grad = None
        with inject(model, ctx):
            run(model)[:, :, 0].sum().backward()
        return ctx.grad

    plain = gradient()
    checkpoint_layers(model, use_reentrant=reentrant)
    assert_close("gradient", gradient(), plain)
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize(
    ("ctx", "start", "error", "message"),
    [
        ([[0.0] * 12], 1, TypeError, r"ctx is a list: give a tensor of shape \(n_ctx, 12\)"),
        (torch.zeros(2, 11), 1, ValueError, r"shape \(2, 11\): give \(n_ctx, 12\)"),
        (torch.zeros(12), 1, ValueError, r"shape \(12,\)"),
        (torch.zeros(0, 12), 1, ValueError, r"shape \(0, 12\)"),
        (torch.zeros(1, 1, 2, 12), 1, ValueError, r"shape \(1, 1, 2, 12\)"),
        (torch.zeros(2, 12).int(), 1, ValueError, "dtype torch.int32"),
        (torch.zeros(3, 12), -1, ValueError, "places -1 to 1.*positions 0 to 8"),
        (torch.zeros(3, 12), 7, ValueError, "places 7 to 9.*positions 0 to 8"),
        (torch.zeros(3, 12), "1", TypeError, "start is a str"),
        (torch.zeros(3, 12), True, TypeError, "start is a bool"),
        (torch.zeros(3, 12), torch.tensor([1, 2]), ValueError, r"shape \(2,\).*give 3 places"),
        (torch.zeros(3, 12), torch.tensor(1), ValueError, r"shape \(\)"),
        (torch.zeros(2, 3, 12), torch.ones(4, 3), ValueError, r"\(4, 3\) and ctx has shape \(2, 3"),
        (torch.zeros(2, 12), torch.tensor([1.0, 2.0]), ValueError, "dtype torch.float32"),
        (torch.zeros(2, 12), torch.tensor([3, 3]), ValueError, "name one twice"),
        (torch.zeros(3, 12), torch.tensor([[1, 2, 3], [4, 2, 4]]), ValueError, "name one twice"),
    ],
)
def test_inject_says_what_it_cannot_take_before_anything_changes(ctx, start, error, message):
    model = make("text")
    flags, before = mixed_flags(model), weights(model)
    with pytest.raises(error, match=message), inject(model, ctx, start):
        pytest.fail("it was entered")
    assert_untouched(model, before, flags)


@pytest.mark.parametrize(
    ("ctx", "start", "message"),
    [
        (torch.zeros(3, 2, 12), 1, "ctx is for 3 texts and 2 are encoded"),
        (torch.zeros(2, 12), torch.tensor([[1, 2]] * 3), "positions is for 3 texts and 2 are"),
        (torch.zeros(4, 12), 4, r"the text has 7 tokens.* places 4 to 7"),
        (torch.zeros(4, 12), 1, "text 1 ends at place 4, where a context vector"),
    ],
)
@pytest.mark.parametrize("eos_token_id", [2, 19])
def test_what_only_shows_when_a_text_comes_is_said_then(ctx, start, message, eos_token_id):
    model = make("text", eos_token_id=eos_token_id)
    with inject(model, ctx, start), pytest.raises(ValueError, match=message):
        run(model)


def test_no_tower_no_context():
    for form in (
        lambda m: inject(m, torch.zeros(2, 3)).__enter__(),
        LearnableTextEmbeddings.replace,
    ):
        with pytest.raises(TypeError, match="no CLIP text tower in a Linear"):
            form(nn.Linear(3, 3))


# The module


def test_a_hook_on_the_original_is_not_copied():
    model = make("text")
    plain = text_tower(model).embeddings(IDS)
    with inject(model, torch.randn(2, 12)):
        learnable = LearnableTextEmbeddings(text_tower(model).embeddings, 1)
    assert agree(learnable(IDS)[:, 2:], plain[:, 2:])


def test_it_takes_the_arguments_of_the_original():
    original = text_tower(make("text")).embeddings
    learnable = LearnableTextEmbeddings(original, n_ctx=2)
    vectors = torch.randn(2, 7, 12, requires_grad=True)
    kept = vectors.detach().clone()
    out = learnable(inputs_embeds=vectors)
    same = torch.isclose(out, original(inputs_embeds=vectors)).all(-1)
    assert same.tolist() == [[True, False, False, True, True, True, True]] * 2
    out.sum().backward()
    assert torch.equal(vectors, kept)
    assert (vectors.grad.sum(-1) == 0).tolist() == (~same).tolist()
    # As in the original, vectors go before ids.
    assert agree(learnable(IDS, inputs_embeds=vectors), out)
    with pytest.raises(ValueError, match="no text was given"):
        learnable()
    with pytest.raises(ValueError, match="the text has 10 tokens and the model positions for 9"):
        learnable(torch.ones(1, 10, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"the text has 2 tokens.* places 1 to 2"):
        learnable(IDS[:, :2])


def test_the_end_of_a_text_must_be_readable():
    model = make("text")
    LearnableTextEmbeddings.replace(model, 4)
    run(model, IDS[:1])
    with pytest.raises(ValueError, match="text 1 ends at place 4, where a context vector"):
        run(model)


def test_the_end_is_where_the_tower_reads_it():
    """By the rule for old configs it stands at the largest id, here an added token."""
    ids = torch.tensor([[1, 5, 19, 7, 15, 15]])
    for eos_token_id, fine in ((15, True), (2, False)):
        model = make("text", eos_token_id=eos_token_id)
        expected = nullcontext() if fine else pytest.raises(ValueError, match="ends at place 2")
        with inject(model, torch.zeros(2, 12)), expected:
            run(model, ids)


def test_where_the_context_starts():
    model = make("text", vocab_size=4000, hidden_size=64, num_attention_heads=4)
    embeddings, before = text_tower(model).embeddings, torch.get_rng_state()
    drawn = LearnableTextEmbeddings(embeddings, 8, seed=1).ctx
    assert drawn.std().item() == pytest.approx(0.02, rel=0.1)
    assert torch.equal(LearnableTextEmbeddings(embeddings, 8, seed=1).ctx, drawn)
    assert not torch.equal(LearnableTextEmbeddings(embeddings, 8, seed=2).ctx, drawn)
    assert torch.equal(torch.get_rng_state(), before)
    ids = torch.tensor([5, 3, 5])
    assert torch.equal(LearnableTextEmbeddings(embeddings, init=ids).ctx, table(model)[ids])
    vectors = torch.randn(2, 64)
    learnable = LearnableTextEmbeddings(embeddings, 2, init=vectors)
    assert torch.equal(learnable.ctx, vectors)
    with torch.no_grad():
        learnable.ctx.zero_()
        learnable.token_embedding.weight.zero_()
    assert vectors.abs().sum() > 0
    assert table(model).abs().sum() > 0


def test_the_default_is_16_vectors_behind_the_start():
    model = make("text", max_position_embeddings=24)
    learnable = LearnableTextEmbeddings.replace(model)
    assert learnable.ctx.shape == (16, 12)
    assert learnable.ctx_positions.tolist() == list(range(1, 17))


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"n_ctx": 0}, ValueError, "n_ctx is 0"),
        ({"n_ctx": 1.5}, TypeError, "n_ctx is 1.5"),
        ({}, ValueError, "16 vectors would stand at places 1 to 16.*positions 0 to 8"),
        ({"n_ctx": 3, "start": 7}, ValueError, "3 vectors would stand at places 7 to 9"),
        ({"n_ctx": 2, "start": None}, TypeError, "start is a NoneType"),
        ({"init": "a photo"}, TypeError, "init is a str: give a tensor"),
        ({"init": torch.tensor([5, 20])}, ValueError, "the table goes to 19"),
        ({"init": torch.tensor([-1])}, ValueError, "the table goes to 19"),
        ({"init": torch.tensor([[5, 6]])}, ValueError, r"shape \(1, 2\)"),
        ({"init": torch.tensor([], dtype=torch.int64)}, ValueError, r"shape \(0,\)"),
        ({"init": torch.zeros(2, 2, 12)}, ValueError, r"shape \(2, 2, 12\)"),
        ({"init": torch.zeros(2, 13)}, ValueError, r"shape \(2, 13\)"),
        ({"init": torch.zeros(3, 12), "n_ctx": 2}, ValueError, "3 vectors and n_ctx is 2"),
    ],
)
def test_replace_says_what_it_cannot_take_before_anything_changes(kwargs, error, message):
    model = make("text")
    flags, before = mixed_flags(model), weights(model)
    with pytest.raises(error, match=message):
        LearnableTextEmbeddings.replace(model, **kwargs)
    assert_untouched(model, before, flags)


def test_once_in_and_once_out():
    model = make("CLIPModel")
    tower = text_tower(model)
    learnable = LearnableTextEmbeddings.replace(model, 2)
    with pytest.raises(ValueError, match="were replaced before, with 2 context vectors"):
        LearnableTextEmbeddings.replace(model, 3)
    assert tower.embeddings is learnable
    tower.embeddings = nn.Identity()
    with pytest.raises(ValueError, match="a Identity stands where these embeddings were put"):
        learnable.restore()
    tower.embeddings = learnable
    learnable.restore()
    with pytest.raises(ValueError, match="nothing to restore"):
        learnable.restore()
    with pytest.raises(ValueError, match="nothing to restore"):
        LearnableTextEmbeddings(tower.embeddings, 2).restore()
    LearnableTextEmbeddings.replace(model, 2).restore()


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_kept_and_followed(training):
    model = make("text").train(training)
    learnable = LearnableTextEmbeddings.replace(model, 2)
    assert {module.training for module in model.modules()} == {training}
    model.train(not training)
    learnable.restore()
    assert {module.training for module in model.modules()} == {not training}


def test_the_original_follows_to_another_dtype_and_device():
    model = make("text")
    learnable = LearnableTextEmbeddings.replace(model, 2)
    model.bfloat16()
    run(model)
    learnable.restore()
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    learnable = LearnableTextEmbeddings.replace(model, 2)
    model.to("meta")
    assert text_tower(model)(input_ids=IDS.to("meta"))[1].shape == (2, 12)
    learnable.restore()
    tensors = [*model.parameters(), *model.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_a_round_trip_through_half_precision_does_not_cost_the_original_a_bit():
    model = make("text")
    before = text_tower(model).embeddings.token_embedding.weight.clone()
    learnable = LearnableTextEmbeddings.replace(model, 2)
    model.half().float()
    assert not torch.equal(learnable.token_embedding.weight, before)
    learnable.restore()
    assert torch.equal(text_tower(model).embeddings.token_embedding.weight, before)


def test_a_deep_copy_of_a_replaced_model_is_a_model_of_its_own():
    model = make("CLIPModel")
    flags, before = mixed_flags(model), weights(model)
    learnable = LearnableTextEmbeddings.replace(model, 2)
    twin = copy.deepcopy(model)
    text_tower(twin).embeddings.restore()
    assert_untouched(twin, before, flags)
    assert text_tower(model).embeddings is learnable
    assert not learnable.token_embedding.weight.requires_grad
    learnable.restore()
    assert_untouched(model, before, flags)


def test_saved_after_restore_it_is_the_original_checkpoint(tmp_path):
    model = make("CLIPModel")
    model.save_pretrained(tmp_path / "before")
    learnable = LearnableTextEmbeddings.replace(model, 2)
    train(model, [], lambda: run(model))
    learnable.restore()
    model.save_pretrained(tmp_path / "after")
    files = sorted(path.name for path in (tmp_path / "before").iterdir())
    assert "model.safetensors" in files
    assert sorted(path.name for path in (tmp_path / "after").iterdir()) == files
    for name in files:
        assert (tmp_path / "after" / name).read_bytes() == (tmp_path / "before" / name).read_bytes()
    assert_close("loaded", run(CLIPModel.from_pretrained(tmp_path / "after")), run(model))


def test_both_forms_work_in_the_whole_forward_of_emoji_clip(clip):
    model = copy.deepcopy(clip.model)
    ids = clip.tokenize(["x x x x a tulip", "x x x x a dog"])["input_ids"]
    pixel_values = torch.randn(2, 3, 64, 64)
    own = clip.tokenize(["a photo of the"])["input_ids"][0, 1:-1]
    plain_ids = clip.tokenize(["a photo of the a tulip", "a photo of the a dog"])["input_ids"]
    with torch.no_grad():
        plain = model(input_ids=plain_ids, pixel_values=pixel_values).logits_per_image
        with inject(model, table(model)[own]):
            injected = model(input_ids=ids, pixel_values=pixel_values).logits_per_image
        LearnableTextEmbeddings.replace(model, init=own)
        replaced = model(input_ids=ids, pixel_values=pixel_values).logits_per_image
    assert agree(injected, plain)
    assert agree(replaced, plain)


# The pieces


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


def test_places_as_they_are_given():
    assert places(torch.tensor([2, 1]).int(), torch.zeros(2, 3), 9).dtype == torch.int64
    both = torch.tensor([[1, 2], [3, 1]])
    assert torch.equal(places(both, torch.zeros(2, 3), 9), both)
    check_ctx(torch.zeros(5, 2, 3).half(), 3)


@pytest.mark.parametrize("seed", [0, 1])
def test_inject_into_our_own_tower(seed):
    theirs = tiny_text(seed, **SIZES)
    ours, ctx = TextTower.from_transformers(theirs), torch.randn(3, theirs.config.hidden_size)
    with inject(ours, ctx), inject(theirs, ctx):
        assert_close("states", run(ours), run(theirs))
