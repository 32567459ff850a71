"""The parts of the encoder: against their formulas, against each other, and in their errors."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers.activations import ACT2FN

from clipnotes.model import MLP, Attention, Encoder, EncoderLayer, quick_gelu
from clipnotes.model.encoder import ACTIVATIONS
from reference import agree, assert_close, check_defaults_of_layers, randomise

SIZES = {"hidden_size": 12, "num_attention_heads": 3, "intermediate_size": 20}

ATTENTION = {"hidden_size": 12, "num_attention_heads": 3}


def causal(n, dtype=torch.float32):
    return torch.full((n, n), -torch.inf, dtype=dtype).triu(1)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_activations_are_those_of_transformers(dtype):
    x = torch.linspace(-6, 6, 101).to(dtype)
    assert quick_gelu(x).dtype == dtype
    for name in ACTIVATIONS:
        mlp = MLP(hidden_size=4, intermediate_size=4, hidden_act=name)
        torch.testing.assert_close(mlp.activation(x), ACT2FN[name](x))


@pytest.mark.parametrize("mask", [None, "causal", "padding", "per head"])
@pytest.mark.parametrize("tokens", [1, 2, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_attention_paths_agree(tokens, mask, dtype):
    fused = randomise(Attention(**ATTENTION), 0).to(dtype)
    written = Attention(**ATTENTION, attention="written_out").to(dtype)
    written.load_state_dict(fused.state_dict())
    x, direction = torch.randn(2, 2, tokens, 12, dtype=dtype)
    if mask == "causal":
        mask = causal(tokens, dtype)
    elif mask == "padding":  # the second sequence has a token less to look at
        mask = torch.zeros(2, 1, 1, tokens, dtype=dtype)
        mask[1, ..., 1:2] = -torch.inf
    elif mask == "per head":
        mask = torch.randn(2, 3, tokens, tokens, dtype=dtype)

    results = []
    for attend in (fused, written):
        inputs = x.clone().requires_grad_()
        mixed, weights = attend(inputs, mask)
        assert weights is None
        gradients = torch.autograd.grad(mixed, [inputs, *attend.parameters()], direction)
        results.append([mixed, *gradients])
    # On the way back the softmax subtracts nearly equal numbers, and float32 shows it.
    tolerance = 3e-5 if dtype == torch.float32 else 1e-12
    for n, (a, b) in enumerate(zip(*results, strict=True)):
        assert_close(f"tensor {n}", a, b, tolerance)


def test_attention_is_that_of_pytorch():
    """The formula once more, from a third hand."""
    ours = randomise(Attention(**ATTENTION), 0)
    theirs = torch.nn.MultiheadAttention(12, 3, batch_first=True)
    inputs = (ours.q_proj, ours.k_proj, ours.v_proj)
    theirs.in_proj_weight.data = torch.cat([linear.weight.data for linear in inputs])
    theirs.in_proj_bias.data = torch.cat([linear.bias.data for linear in inputs])
    theirs.out_proj.load_state_dict(ours.out_proj.state_dict())
    x, mask = torch.randn(2, 7, 12), causal(7)
    mixed, weights = ours(x, mask, output_attentions=True)
    expected, expected_weights = theirs(x, x, x, attn_mask=mask, average_attn_weights=False)
    assert_close("weights", weights, expected_weights)
    assert_close("mixed", mixed, expected)


def test_only_the_fused_path_uses_the_fused_kernel(monkeypatch):
    calls = []
    original = F.scaled_dot_product_attention

    def counted(*args, **kwargs):
        calls.append(kwargs)
        return original(*args, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    x = torch.randn(1, 5, 12)
    Attention(**ATTENTION)(x)
    assert len(calls) == 1
    Attention(**ATTENTION)(x, output_attentions=True)
    Attention(**ATTENTION, attention="written_out")(x)
    assert len(calls) == 1


def test_dropout_only_in_training_and_on_both_paths():
    x = torch.randn(1, 5, 12)
    for path in ("sdpa", "written_out"):
        attend = Attention(**ATTENTION, attention_dropout=0.5, attention=path)
        assert not agree(attend(x)[0], attend(x)[0])
        attend.eval()
        assert agree(attend(x)[0], attend(x)[0])
    # The same random numbers through PyTorch's unfused kernel and through ours.
    attend = randomise(Attention(**ATTENTION, attention_dropout=0.5), 0).train()
    with sdpa_kernel(SDPBackend.MATH):
        torch.manual_seed(1)
        fused, _ = attend(x)
    torch.manual_seed(1)
    written, weights = attend(x, output_attentions=True)
    assert_close("mixed", fused, written)
    assert (weights == 0).any()


def test_softmax_of_half_precision_is_taken_in_float32():
    attend = Attention(hidden_size=4, num_attention_heads=1, attention="written_out").bfloat16()
    for linear in (attend.q_proj, attend.k_proj, attend.v_proj):
        linear.weight.data.zero_()
        linear.bias.data.fill_(1)
    _, weights = attend(torch.zeros(1, 300, 4, dtype=torch.bfloat16), output_attentions=True)
    assert weights.dtype == torch.bfloat16
    assert torch.equal(weights[0, 0, 0, 0], torch.tensor(1 / 300).bfloat16())
    # Shares add up to 1 whatever the query is. Rounded to bfloat16 before the way back they add up
    # to 0.998, and that would leave a gradient of 0.3.
    weights.sum().backward()
    assert attend.q_proj.bias.grad.abs().max() < 1e-3


def test_encoder_collects_what_goes_in_and_comes_out():
    encoder = randomise(Encoder(num_hidden_layers=3, **SIZES), 0)
    x = torch.randn(2, 5, 12)
    out = encoder(x, causal(5), output_hidden_states=True, output_attentions=True)
    assert out.hidden_states[0] is x
    assert out.hidden_states[-1] is out.last_hidden_state
    for n, layer in enumerate(encoder.layers):
        state, weights = layer(out.hidden_states[n], causal(5), output_attentions=True)
        assert agree(out.hidden_states[n + 1], state)
        assert agree(out.attentions[n], weights)
    assert encoder(x)[1:] == (None, None)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("output_attentions", [False, True])
def test_gradient_checkpointing_changes_nothing_but_the_work(dropout, output_attentions):
    encoder = randomise(Encoder(num_hidden_layers=3, **SIZES, attention_dropout=dropout), 0).train()
    x = torch.randn(2, 5, 12)
    calls = []
    encoder.layers[1].mlp.fc1.register_forward_pre_hook(lambda *_: calls.append(1))

    results = []
    for checkpointing in (False, True):
        encoder.gradient_checkpointing = checkpointing
        torch.manual_seed(1)
        calls.clear()
        out = encoder(x, causal(5), output_hidden_states=True, output_attentions=output_attentions)
        assert len(calls) == 1
        loss = sum((state**2).sum() for state in out.hidden_states)
        gradients = torch.autograd.grad(loss, list(encoder.parameters()))
        assert len(calls) == (2 if checkpointing else 1)  # computed again on the way back
        results.append([*out.hidden_states, *(out.attentions or ()), *gradients])
    for n, (a, b) in enumerate(zip(*results, strict=True)):
        assert_close(f"tensor {n}", a, b)


def test_gradient_checkpointing_rests_in_evaluation_mode():
    encoder = Encoder(num_hidden_layers=1, **SIZES, gradient_checkpointing=True).eval()
    calls = []
    encoder.layers[0].mlp.fc1.register_forward_pre_hook(lambda *_: calls.append(1))
    encoder(torch.randn(1, 5, 12)).last_hidden_state.sum().backward()
    assert len(calls) == 1


def test_gradient_checkpointing_keeps_less():
    kept = {}
    encoder = Encoder(num_hidden_layers=4, **SIZES).train()
    for checkpointing in (False, True):
        encoder.gradient_checkpointing = checkpointing
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t
        ):
            encoder(torch.randn(2, 50, 12))
        kept[checkpointing] = sum(sizes)
    assert kept[True] < kept[False] / 4


def test_defaults_are_those_of_clip():
    check_defaults_of_layers(EncoderLayer(**SIZES))
    check_defaults_of_layers(Attention(**ATTENTION))
    check_defaults_of_layers(MLP(hidden_size=4, intermediate_size=8))
    assert Encoder(num_hidden_layers=1, **SIZES).gradient_checkpointing is False


def test_errors_say_what_was_given_and_what_is_allowed():
    with pytest.raises(ValueError, match=r"hidden_size 10 .*num_attention_heads 3"):
        Attention(hidden_size=10, num_attention_heads=3)
    with pytest.raises(ValueError, match="hidden_size is 0: it must be at least 1"):
        Attention(hidden_size=0, num_attention_heads=3)
    with pytest.raises(ValueError, match=r"attention 'flash' is not one of 'sdpa', 'written_out'"):
        Attention(**ATTENTION, attention="flash")
    with pytest.raises(ValueError, match=r"hidden_act 'relu' is not one of \['gelu', "):
        Encoder(num_hidden_layers=1, **SIZES, hidden_act="relu")
    with pytest.raises(TypeError):
        Attention(12, 3)
