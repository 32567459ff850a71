"""SigLIP's pooling and loss: equal to those of transformers, forward and backward."""

import random

import pytest
import torch
from torch.nn.functional import normalize
from transformers import SiglipConfig, SiglipModel

from clipnotes.model import AttentionPooling, CrossAttention, sigmoid_loss
from clipnotes.model.encoder import ACTIVATIONS
from reference import agree, assert_close, randomise


def siglip(seed, **fixed):
    """A small SiglipModel; every number that the arithmetic depends on varies with the seed."""
    draw = random.Random(seed)
    heads, patch_size = draw.choice([1, 2, 3, 4]), draw.choice([2, 3, 4])
    width = heads * draw.choice([8, 10] if heads == 1 else [4, 5, 8])
    shared = {"num_hidden_layers": 1, "hidden_size": width, "num_attention_heads": heads}
    vision = {
        **shared,
        "intermediate_size": draw.choice([7, 16, 33]),
        "patch_size": patch_size,
        "image_size": patch_size * draw.choice([1, 2, 3, 4]),
        "hidden_act": sorted(ACTIVATIONS)[seed % len(ACTIVATIONS)],
        "layer_norm_eps": draw.choice([1e-6, 1e-5, 1e-3, 1e-1]),
        **fixed,
    }
    # A text's vector has the width of an image's: that is where the two are compared.
    text = {**shared, "vocab_size": 20, "max_position_embeddings": 6, "intermediate_size": 12}
    config = SiglipConfig(text_config=text, vision_config=vision)
    return randomise(SiglipModel(config), seed)


def patches_for(model, seed, batch=3):
    config = model.config.vision_config
    n = (config.image_size // config.patch_size) ** 2
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, n, config.hidden_size, generator=generator)


def head_of(seed, **fixed):
    """SigLIP's pooling head, every weight at random, and patches for it."""
    model = siglip(seed, **fixed)
    return model.vision_model.head, patches_for(model, seed)


# The pooling


def pooled_and_gradients(pool, patches):
    patches = patches.clone().requires_grad_()
    wanted = {"patches": patches, **dict(pool.named_parameters())}
    pooled = pool(patches)
    direction = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad(pooled, list(wanted.values()), direction)
    return pooled, dict(zip(wanted, gradients, strict=True))


@pytest.mark.parametrize("seed", range(12))
def test_the_pooling_is_that_of_transformers(seed):
    head, patches = head_of(seed)
    theirs, their_gradients = pooled_and_gradients(head, patches)
    ours, our_gradients = pooled_and_gradients(AttentionPooling.from_transformers(head), patches)
    assert_close("pooled", ours, theirs)
    assert our_gradients.keys() == their_gradients.keys()
    # Behind the softmax, query and key get differences of numbers as large as the value's.
    largest = max(g.abs().max().item() for g in their_gradients.values())
    for name, gradient in their_gradients.items():
        scale = largest if name.startswith("attention.in_proj") or name == "probe" else 1.0
        assert_close(f"gradient of {name}", our_gradients[name], gradient, scale=scale)


def test_it_pools_in_a_siglip():
    model = siglip(2)
    pixel_values = torch.randn(2, 3, *[model.config.vision_config.image_size] * 2)
    with torch.no_grad():
        theirs = model.vision_model(pixel_values)
        patches = theirs.last_hidden_state
        ours = AttentionPooling.from_transformers(model.vision_model.head)(patches)
    assert_close("pooled", ours, theirs.pooler_output)


def test_the_weights_say_where_the_probe_looks():
    head, patches = head_of(5, num_attention_heads=2, hidden_size=16)
    ours = AttentionPooling.from_transformers(head)
    mixed, weights = ours.attention(ours.probe, patches)
    asked = ours.probe.expand(len(patches), -1, -1)
    theirs = head.attention(asked, patches, patches, average_attn_weights=False)
    assert_close("mixed", mixed, theirs[0])
    assert_close("weights", weights, theirs[1])


def test_several_may_ask():
    attend = randomise(CrossAttention(hidden_size=12, num_attention_heads=3), 0)
    asking, answering = torch.randn(2, 4, 12), torch.randn(2, 7, 12)
    together, weights = attend(asking, answering)
    assert weights.shape == (2, 3, 4, 7)
    for n in range(4):
        assert agree(together[:, n : n + 1], attend(asking[:, n : n + 1], answering)[0])


def test_it_copies_and_draws_nothing():
    head, patches = head_of(1)
    before = torch.get_rng_state()
    ours = AttentionPooling.from_transformers(head.train())
    assert torch.equal(torch.get_rng_state(), before)
    assert ours.training and not AttentionPooling.from_transformers(head.eval()).training
    assert list(ours.state_dict()) == list(head.state_dict())
    pooled = ours(patches)
    with torch.no_grad():
        for weight in head.parameters():
            weight.zero_()
    assert agree(ours(patches), pooled)
    assert AttentionPooling.from_transformers(head.bfloat16()).probe.dtype == torch.bfloat16


def test_the_defaults_are_those_of_a_siglip():
    config = SiglipConfig().vision_config
    ours = AttentionPooling(hidden_size=8, num_attention_heads=2, intermediate_size=12)
    assert ours.layernorm.eps == config.layer_norm_eps
    assert ours.mlp.activation is ACTIVATIONS[config.hidden_act]
    assert all(weight.isfinite().all() for weight in ours.parameters())


class Adapter(torch.nn.Linear):
    """What an adapter puts in the place of a layer."""

    def forward(self, x):
        return super().forward(x) + 1


def test_what_is_no_head_of_a_siglip_is_refused(clip):
    model, linear = siglip(0), torch.nn.Linear(2, 2)
    linear.probe = torch.nn.Parameter(torch.zeros(1, 1, 2))
    for other in (model, model.vision_model, linear, clip.model, None):
        with pytest.raises(TypeError, match=rf"a {type(other).__name__} is not the pooling head"):
            AttentionPooling.from_transformers(other)
    head, _ = head_of(0)
    head.mlp.fc1 = Adapter(head.mlp.fc1.in_features, head.mlp.fc1.out_features)
    with pytest.raises(TypeError, match=r"head.mlp.fc1 computes with \S*Adapter, not as"):
        AttentionPooling.from_transformers(head)
    with pytest.raises(ValueError, match="hidden_act 'relu' is not one of"):
        AttentionPooling.from_transformers(head_of(0, hidden_act="relu")[0])


@pytest.mark.parametrize("shape", [(5, 8), (2, 0, 8), (2, 5, 7), (1, 2, 5, 8)])
def test_patches_of_another_shape_are_refused(shape):
    pool = AttentionPooling(hidden_size=8, num_attention_heads=2, intermediate_size=12)
    with pytest.raises(ValueError, match=r"hidden_states has shape \(.*\): pass \(B, N, 8\)"):
        pool(torch.zeros(shape))


def test_a_width_that_the_heads_cannot_share_is_refused():
    with pytest.raises(ValueError, match="hidden_size 8 is not a multiple"):
        AttentionPooling(hidden_size=8, num_attention_heads=3, intermediate_size=12)


# The loss


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_the_loss_is_that_of_transformers(seed, batch):
    model = siglip(seed)
    with torch.no_grad():  # as far as it gets in training, and as at its start
        model.logit_scale.fill_([1.0, 2.3, 4.7, 3.0][seed])
        model.logit_bias.fill_([0.5, -10.0, -16.5, -2.0][seed])
    generator = torch.Generator().manual_seed(seed)
    size = model.config.vision_config.image_size
    output = model(
        input_ids=torch.randint(20, (batch, 6), generator=generator),
        pixel_values=torch.randn(batch, 3, size, size, generator=generator),
        return_loss=True,
    )
    given = (output.image_embeds, output.text_embeds, model.logit_scale, model.logit_bias)
    theirs = torch.autograd.grad(output.loss, given, retain_graph=True)
    images, texts, logit_scale, bias = given
    loss = sigmoid_loss(images, texts, logit_scale.exp(), bias)
    assert loss.shape == ()
    assert_close("loss", loss, output.loss)
    ours = torch.autograd.grad(loss, given)
    for name, a, b in zip(("images", "texts", "logit_scale", "bias"), ours, theirs, strict=True):
        assert_close(f"gradient of the {name}", a, b)


def test_pairs_are_what_is_asked_for():
    images = normalize(torch.randn(6, 4), dim=-1)
    right = sigmoid_loss(images, images, 50.0, -25.0)
    assert right < sigmoid_loss(images, images.roll(1, 0), 50.0, -25.0)
    both = sigmoid_loss(images.flip(0), images.flip(0), torch.tensor([50.0]), torch.tensor(-25.0))
    assert_close("in another order", both, right)


def test_half_precision_is_added_up_in_float32():
    images, texts = normalize(torch.randn(2, 40, 8), dim=-1).bfloat16()
    loss = sigmoid_loss(images, texts, 10.0, -10.0)
    assert loss.dtype == torch.float32
    assert_close("loss", loss, sigmoid_loss(images.float(), texts.float(), 10.0, -10.0), 0.01)


@pytest.mark.parametrize(
    ("images", "texts"), [((3, 4), (2, 4)), ((3, 4), (3, 5)), ((4,), (4,)), ((0, 4), (0, 4))]
)
def test_what_is_no_pairs_is_refused(images, texts):
    with pytest.raises(
        ValueError, match=r"the image features have shape .* pass \(B, P\) for both"
    ):
        sigmoid_loss(torch.zeros(images), torch.zeros(texts), 10.0, -10.0)


def test_one_scale_and_one_bias():
    features = torch.zeros(3, 4)
    with pytest.raises(ValueError, match=r"scale has shape \(3,\): pass one number"):
        sigmoid_loss(features, features, torch.ones(3), 0.0)
    with pytest.raises(ValueError, match=r"bias has shape \(2, 1\): pass one number"):
        sigmoid_loss(features, features, 1.0, torch.ones(2, 1))
