"""What the text tower cannot take: each a clear error before any work."""

import pytest
import torch

from clipnotes.model import TextEmbeddings, TextTower
from reference_text import SMALL

IDS = torch.tensor([[1, 5, 19, 0], [1, 7, 8, 19]])
ENDS = torch.tensor([1, 2])
WRONG = [
    ({}, r"no text was given: pass input_ids of shape \(B, L\), or inputs_embeds"),
    ({"input_ids": IDS, "inputs_embeds": torch.zeros(2, 4, 8)}, r"two inputs .* not both"),
    ({"input_ids": IDS[0]}, r"shape \(4,\): pass \(B, L\).*unsqueeze\(0\)"),
    ({"input_ids": IDS[:0]}, r"\(0, 4\) holds no token: pass at least one text"),
    ({"input_ids": IDS[:, :0]}, r"\(2, 0\) holds no token"),
    ({"input_ids": IDS.float()}, r"input_ids has dtype torch\.float32: pass integers"),
    ({"input_ids": IDS > 3}, r"input_ids has dtype torch\.bool: pass integers"),
    ({"input_ids": IDS + 1}, r"input_ids is 20 at \(0, 2\): the vocabulary goes from 0 to 19"),
    ({"input_ids": IDS - 1}, r"input_ids is -1 at \(0, 3\): the vocabulary goes from 0 to 19"),
    ({"input_ids": IDS.repeat(1, 3)}, r"has 12 tokens and the model has positions for 9.*trunc"),
    ({"inputs_embeds": torch.zeros(1, 10, 8)}, r"has 10 tokens .* positions for 9"),
    ({"inputs_embeds": torch.zeros(2, 4, 7)}, r"\(2, 4, 7\): pass \(B, L, 8\)"),
    ({"inputs_embeds": torch.zeros(4, 8)}, r"\(4, 8\): pass \(B, L, 8\)"),
    ({"inputs_embeds": torch.zeros(2, 4, 8).int()}, r"int32: pass floating point"),
    ({"inputs_embeds": torch.zeros(2, 4, 8)}, r"pass eos_positions of shape \(2,\), for instance"),
    ({"input_ids": IDS, "attention_mask": IDS[:, 1:]}, r"mask has shape \(2, 3\): pass \(2, 4\)"),
    ({"input_ids": IDS, "attention_mask": IDS}, r"attention_mask has the value 5: pass 1 for"),
    (
        {"input_ids": IDS, "position_ids": IDS[:, 1:]},
        r"position_ids has shape \(2, 3\): pass \(4,\) or \(1, 4\) or \(2, 4\)",
    ),
    (
        {"input_ids": IDS, "position_ids": IDS},
        r"position_ids is 19 at \(0, 2\): the table of positions goes from 0 to 8",
    ),
    ({"input_ids": IDS, "eos_positions": ENDS[:1]}, r"eos_positions has shape \(1,\): pass \(2,\)"),
    (
        {"input_ids": IDS, "eos_positions": ENDS + 2},
        r"eos_positions is 4 at \(1,\): a text goes from 0 to 3",
    ),
]


@pytest.mark.parametrize(("inputs", "says"), WRONG)
def test_wrong_texts_are_named_before_any_work(inputs, says):
    tower = TextTower(**SMALL)
    for table in tower.embeddings.children():
        table.forward = None  # any work would fail with something else
    with pytest.raises(ValueError, match=says):
        tower(**inputs)


def test_a_width_that_the_heads_cannot_share_is_named():
    with pytest.raises(ValueError, match=r"hidden_size 8 is not a multiple .* 3"):
        TextTower(**{**SMALL, "num_attention_heads": 3})


def test_embeddings_check_for_themselves():
    embed = TextEmbeddings(vocab_size=5, hidden_size=4, max_position_embeddings=3)
    with pytest.raises(ValueError, match="4 tokens and the model has positions for 3"):
        embed(torch.ones(1, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="position_ids is 3 at"):
        embed(torch.ones(1, 2, dtype=torch.int64), position_ids=torch.tensor([3, 0]))
