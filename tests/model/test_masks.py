"""Which tokens may look at which: not ahead, not at padding, and nobody becomes NaN."""

import pytest
import torch

from clipnotes.model import TextTower, causal_mask
from reference_text import SMALL

IDS = torch.tensor([[1, 5, 19, 0], [1, 7, 8, 19]])


def test_no_token_looks_ahead_or_at_padding():
    tower = TextTower(**SMALL).eval()
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 0]])
    weights = tower(IDS, mask, output_attentions=True).attentions
    for layer in weights:
        assert layer[1].triu(1).abs().max() == 0
        assert layer[1, :, :, 3].max() == 0
        assert layer[0, :, 1:, 0].max() == 0
        assert torch.allclose(layer.sum(-1), torch.ones(()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_mask_leaves_no_token_without_a_number(dtype):
    mask = causal_mask(3, torch.zeros(1, 3, dtype=torch.bool), dtype=dtype)
    scores = torch.randn(1, 1, 3, 3, dtype=dtype)
    assert (scores + mask).softmax(-1).isfinite().all()
    assert causal_mask(3, dtype=dtype).shape == (1, 1, 3, 3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_mask_has_the_dtype_that_attention_asks_for(dtype):
    tower, seen = TextTower(**SMALL).to(dtype), []
    tower.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1].dtype))
    tower(IDS)
    assert seen == [dtype]
