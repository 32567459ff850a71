"""Tiny random CLIP models of transformers, and the comparison that equality tests share."""

import random
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig, CLIPVisionModel

from clipnotes.compat import eager_attention, vision_states, vision_tower
from clipnotes.model import VisionTower, quick_gelu

TOLERANCE = 1e-5


def vision_config(seed: int, **fixed: Any) -> CLIPVisionConfig:
    """Draw a small config; every number that the arithmetic depends on varies with the seed."""
    draw = random.Random(seed)
    heads, patch_size = draw.choice([1, 2, 3, 4]), draw.choice([2, 3, 4, 5, 7])
    # It is not narrower than 8: a norm over two nearly equal numbers blows up any rounding.
    head_dim = draw.choice([8, 10] if heads == 1 else [4, 5, 8])
    chosen = {
        "hidden_size": heads * head_dim,
        "num_attention_heads": heads,
        "num_hidden_layers": draw.choice([1, 2, 3]),
        "intermediate_size": draw.choice([7, 16, 33]),
        "patch_size": patch_size,
        # Every other image has pixels left over that fill no patch.
        "image_size": patch_size * draw.choice([1, 2, 3, 4]) + draw.choice([0, 1]),
        "num_channels": draw.choice([1, 3, 4]),
        "hidden_act": draw.choice(["quick_gelu", "gelu"]),
        "layer_norm_eps": draw.choice([1e-6, 1e-5, 1e-3, 1e-1]),
        "projection_dim": draw.choice([4, 6]),
    }
    return CLIPVisionConfig(**{**chosen, **fixed})


def randomise(model: nn.Module, seed: int) -> nn.Module:
    """Set every weight at random: a bias left at 0 or a norm left at 1 would hide an omission."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if "norm" in name or "layrnorm" in name:
                weight.copy_(0.3 * noise + (1 if name.endswith("weight") else 0))
            elif weight.dim() > 1 and "embedding" not in name:
                weight.copy_(1.5 * noise * weight[0].numel() ** -0.5)
            elif weight.dim() > 0:
                weight.copy_(0.3 * noise)
    return model.eval()


def tiny_vision(seed: int, **fixed: Any) -> CLIPVisionModel:
    return randomise(CLIPVisionModel(vision_config(seed, **fixed)), seed)


def tiny_clip(seed: int, *, width: int = 16, projection_dim: int = 12, **fixed: Any) -> CLIPModel:
    """Build a small ``CLIPModel``; both towers are ``width`` wide. EOS is 3, the vocabulary 20."""
    shared = {"hidden_size": width, "num_attention_heads": 2, "num_hidden_layers": 2}
    text = CLIPTextConfig(
        **shared, vocab_size=20, eos_token_id=3, bos_token_id=2, max_position_embeddings=9, **fixed
    )
    vision = vision_config(seed, **shared, image_size=8, patch_size=4, num_channels=3, **fixed)
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=projection_dim
    )
    return randomise(CLIPModel(config), seed)


def pixels(
    config: Any, seed: int, *, size: tuple[int, int] | None = None, batch: int = 2
) -> Tensor:
    """Draw a batch of random images, of the config's size unless another is given."""
    height, width = size or (config.image_size, config.image_size)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, config.num_channels, height, width, generator=generator)


def agree(ours: Tensor, theirs: Tensor, tolerance: float = TOLERANCE) -> bool:
    """Say whether two computations gave the same, within `tolerance` of the largest number."""
    # Only what was moved, copied or left alone is equal to the last bit: a computation depends on
    # where a tensor lies in memory. Training multiplies such differences: 1e-4 there.
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return False
    return bool((ours - theirs).abs().max() <= tolerance * theirs.abs().max())


def assert_close(
    stage: str, ours: Tensor, theirs: Tensor, tolerance: float = TOLERANCE, scale: float = 1.0
) -> None:
    """Require equal shapes, and values within ``tolerance`` of the largest (at least ``scale``)."""
    assert ours.shape == theirs.shape, f"{stage}: {tuple(ours.shape)} and {tuple(theirs.shape)}"
    difference = (ours - theirs).abs().max().item()
    allowed = tolerance * max(scale, theirs.abs().max().item())
    assert difference <= allowed, f"{stage}: differs by {difference:.2e}, {allowed:.2e} allowed"


def check_defaults_of_layers(tower: nn.Module) -> None:
    """Require what all of CLIP's towers have in common unless something else is asked for."""
    for module in tower.modules():
        assert getattr(module, "eps", 1e-5) == 1e-5
        assert getattr(module, "activation", quick_gelu) is quick_gelu
        assert getattr(module, "attention_dropout", 0.0) == 0.0
        assert getattr(module, "attention", "sdpa") == "sdpa"


def assert_same_stages(
    ours: VisionTower, theirs: nn.Module, pixel_values: Tensor, *, interpolate: bool = False
) -> None:
    """Compare a tower with the reference by stage, then by gradient; name the first fault."""
    tower: Any = vision_tower(theirs)
    size = {"interpolate_pos_encoding": interpolate}

    with torch.no_grad():
        a = ours.embeddings.patch_embedding(pixel_values)
        assert_close("patches", a, tower.embeddings.patch_embedding(pixel_values))
        a = ours.embeddings(pixel_values, **size)
        b = tower.embeddings(pixel_values, **size)
        assert_close("class token", a[:, :1], b[:, :1])
        assert_close("positions", a, b)

        b = vision_states(theirs, pixel_values, **size)
        # It runs once with the weights and all states, and once on the plain path, which is SDPA.
        full = ours(pixel_values, **size, output_hidden_states=True, output_attentions=True)
        plain = ours(pixel_values, **size)
        assert_close("pre_layrnorm", full.hidden_states[0], b.hidden_states[0])
        assert len(full.hidden_states) == len(b.hidden_states), "number of hidden states"
        assert len(full.attentions) == len(b.attentions), "number of attention weights"
        for n, weights in enumerate(b.attentions):
            assert_close(f"attention weights {n}", full.attentions[n], weights)
            assert_close(f"layer {n}", full.hidden_states[n + 1], b.hidden_states[n + 1])
        for a in (full, plain):
            assert_close("last_hidden_state", a.last_hidden_state, b.last_hidden_state)
            assert_close("pooler_output", a.pooler_output, b.pooler_output)

    # Like is compared with like: the paths round differently on the way back through the softmax.
    for path, context in (({}, nullcontext), ({"output_attentions": True}, eager_attention)):
        with context(tower):
            b = _gradients(tower, pixel_values, **size)
        assert_same_gradients(_gradients(ours, pixel_values, **size, **path), b)


def assert_same_gradients(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """Compare gradients by name, each within the rounding of what it was computed from."""
    assert ours.keys() == theirs.keys(), f"parameters: {sorted(ours.keys() ^ theirs.keys())}"
    for name in theirs:
        scale = _scale(theirs, name)
        assert_close(f"gradient of {name}", ours[name], theirs[name], scale=scale)


def _scale(gradients: dict[str, Tensor], name: str) -> float:
    """Return how large the numbers are that a gradient was computed from."""
    # Behind the softmax, query and key get differences of numbers as large as the value's. For the
    # bias of the key that is 0, so what is left of it is rounding.
    if ".self_attn." not in name:
        return 1.0
    attention = name.rsplit(".", 2)[0]
    return max(
        1.0, *(g.abs().max().item() for n, g in gradients.items() if n.startswith(attention))
    )


def _gradients(tower: nn.Module, pixel_values: Tensor, **kwargs: bool) -> dict[str, Tensor]:
    """Differentiate a random sum of both outputs, leaving no gradient behind on the parameters."""
    pixel_values = pixel_values.clone().requires_grad_()
    output = tower(pixel_values=pixel_values, **kwargs)
    generator = torch.Generator().manual_seed(0)
    last, pooled = output.last_hidden_state, output.pooler_output
    loss = (last * torch.randn(last.shape, generator=generator)).sum()
    loss = loss + (pooled * torch.randn(pooled.shape, generator=generator)).sum()
    wanted = {"pixel_values": pixel_values, **dict(tower.named_parameters())}
    # A weight that the result does not depend on counts as one with a gradient of 0.
    gradients = torch.autograd.grad(loss, list(wanted.values()), materialize_grads=True)
    return dict(zip(wanted, gradients, strict=True))
