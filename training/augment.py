"""Augment a whole batch of emoji, float tensors in [0, 1]: shape, colour, outline, background.

``strength`` is 0 for a drawing on white and 1 for full. Designers differ most in outlines, flat
colours and the size of a drawing, so these vary most.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

GREY = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


def _coin(n: int, p: float, rng: torch.Generator) -> Tensor:
    """Draw (n, 1, 1, 1) booleans that are True with probability p, on the CPU."""
    return (torch.rand(n, generator=rng) < p).view(-1, 1, 1, 1)


def _uniform(n: int, low: float, high: float, rng: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=rng)


def move(rgba: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Rotate, scale, stretch and shift drawings; premultiplied alpha keeps their edges clean."""
    n = rgba.shape[0]
    angle = _uniform(n, -20, 20, rng) * strength * math.pi / 180
    scale = torch.exp(_uniform(n, math.log(0.6), math.log(1.15), rng) * strength)
    stretch = torch.exp(_uniform(n, -0.15, 0.15, rng) * strength)
    shift = torch.stack([_uniform(n, -0.2, 0.2, rng), _uniform(n, -0.2, 0.2, rng)], 1) * strength
    mirror = torch.where(torch.rand(n, generator=rng) < 0.15 * strength, -1.0, 1.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    row1 = torch.stack([cos * mirror / (scale * stretch), -sin / scale], 1)
    row2 = torch.stack([sin * mirror / scale, cos / (scale / stretch)], 1)
    theta = torch.cat([torch.stack([row1, row2], 1), shift[..., None]], 2)  # (n, 2, 3)
    grid = F.affine_grid(theta, list(rgba.shape), align_corners=False).to(rgba.device)
    return F.grid_sample(rgba, grid, align_corners=False)


def recolour(rgb: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Change hue, saturation, brightness and contrast by a random matrix near the identity."""
    n = rgb.shape[0]
    eye, grey = torch.eye(3).expand(n, 3, 3), GREY.view(1, 1, 3).expand(n, 3, 3)
    saturation = torch.exp(_uniform(n, -0.7, 0.5, rng) * strength).view(-1, 1, 1)
    to_grey = _coin(n, 0.15 * strength, rng)[..., 0]
    saturation = torch.where(to_grey, 0.0, saturation)
    mixing = torch.randn(n, 3, 3, generator=rng) * 0.12 * strength
    contrast = torch.exp(_uniform(n, -0.4, 0.3, rng) * strength).view(-1, 1, 1)
    matrix = (grey + (eye - grey) * saturation + mixing) * contrast  # (n, 3, 3)
    offset = (1 - contrast) / 2 + _uniform(n, -0.12, 0.12, rng).view(-1, 1, 1) * strength
    flat = torch.einsum("nij,njp->nip", matrix.to(rgb.device), rgb.flatten(2)) + offset.to(
        rgb.device
    )
    return flat.view_as(rgb).clamp(0, 1)


def outline(rgb: Tensor, alpha: Tensor, wide: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a dark line around each drawing and along its inner edges, a thick one where `wide`."""
    grey = (rgb * GREY.to(rgb.device)).sum(1, keepdim=True) * alpha
    dx = F.pad((grey[..., :, 1:] - grey[..., :, :-1]).abs(), (0, 1, 0, 0))
    dy = F.pad((grey[..., 1:, :] - grey[..., :-1, :]).abs(), (0, 0, 0, 1))
    grown, line = F.max_pool2d(alpha, 3, 1, 1), ((dx + dy - 0.08) * 6).clamp(0, 1)
    grown = torch.where(wide, F.max_pool2d(grown, 3, 1, 1), grown)
    line = torch.where(wide, F.max_pool2d(line, 3, 1, 1), line)
    line = torch.maximum(line, (grown - alpha).clamp(0, 1))
    return rgb * (1 - line), grown


def background(n: int, size: int, strength: float, rng: torch.Generator) -> Tensor:
    """Make backgrounds, (n, 3, size, size): white for half, else a colour or a soft gradient."""
    colour = 1 - torch.rand(n, 3, 1, 1, generator=rng) * _uniform(n, 0, 0.9, rng).view(-1, 1, 1, 1)
    second = 1 - torch.rand(n, 3, 1, 1, generator=rng) * _uniform(n, 0, 0.9, rng).view(-1, 1, 1, 1)
    ramp = torch.rand(n, 1, 2, 2, generator=rng)
    ramp = F.interpolate(ramp, size=(size, size), mode="bilinear", align_corners=True)
    mixed = torch.where(
        _coin(n, 0.4, rng), colour + (second - colour) * ramp, colour.expand(-1, -1, size, size)
    )
    return torch.where(_coin(n, 0.5 * strength, rng), mixed, torch.ones(()))


def augment(rgba: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Augment straight-alpha (n, 4, size, size) uint8 to (n, 3, size, size) in [0, 1]."""
    # The generator is the CPU's, so the same state gives the same drawings on every device.
    n, _, size, _ = rgba.shape
    device = rgba.device
    picture = rgba.float() / 255
    alpha = picture[:, 3:]
    picture = move(torch.cat([picture[:, :3] * alpha, alpha], 1), strength, rng)
    alpha = picture[:, 3:].clamp(0, 1)
    rgb = (picture[:, :3] / alpha.clamp(min=1e-3)).clamp(0, 1)

    flat = _coin(n, 0.15 * strength, rng).to(device)
    rgb = torch.where(flat, (rgb * 4).round() / 4, rgb)  # few colours, hard borders
    rgb = torch.where(_coin(n, 0.8, rng).to(device), recolour(rgb, strength, rng), rgb)
    some = _coin(n, 0.3 * strength, rng).flatten().to(device)
    rgb[some], alpha[some] = outline(rgb[some], alpha[some], _coin(n, 0.25, rng).to(device)[some])

    seen = rgb * alpha + background(n, size, strength, rng).to(device) * (1 - alpha)
    some = _coin(n, 0.2 * strength, rng).flatten().to(device)
    if some.any():
        count = int(some.sum())
        # A kernel close to the identity changes the texture, but not the shape.
        kernel = torch.randn(count, 1, 3, 3, generator=rng).to(device) * 0.12
        kernel[:, :, 1, 1] += 1
        seen[some] = F.conv2d(
            seen[some].transpose(0, 1), kernel, padding=1, groups=count
        ).transpose(0, 1)
    some = _coin(n, 0.1 * strength, rng).flatten().to(device)
    seen[some] += torch.randn(seen[some].shape, generator=rng).to(device) * 0.04
    return seen.clamp(0, 1)
