"""Attention is switched for every family and put back."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from clipnotes.compat.implementations import attention_as, says_it_has_sdpa
from two_towers import two_towers

IDS = torch.tensor([[1, 5, 6, 7, 3]])


class Calls(TorchFunctionMode):
    fused = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.fused += func is torch.nn.functional.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


def run_text(model):
    """Run the text tower. In 4.57 Chinese-CLIP's own get_text_features fails."""
    if type(model).__name__ == "ChineseCLIPModel":
        model.text_model(input_ids=IDS)
    else:
        model.get_text_features(input_ids=IDS)


@pytest.mark.parametrize("name", ["CLIP", "Siglip", "ChineseCLIP", "Dual+BERT", "OwlViT"])
def test_attention_is_switched_and_put_back(name):
    model = two_towers(name)
    classes = [type(module) for module in model.modules()]
    before = model.config._attn_implementation
    counts = {}
    with torch.no_grad():
        for way in ("eager", "sdpa", "eager"):
            with attention_as(model, way), Calls() as calls:
                run_text(model)
            counts[way] = calls.fused
    assert counts["eager"] == 0
    # In 5.5 Chinese-CLIP has it, and does not say so.
    assert counts["sdpa"] == 2 or not says_it_has_sdpa(model)
    with pytest.raises(KeyError), attention_as(model, "eager"):
        raise KeyError("and it is put back all the same")
    assert [type(module) for module in model.modules()] == classes
    assert model.config._attn_implementation == before
