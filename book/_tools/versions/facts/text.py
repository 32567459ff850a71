"""The text tower in this version: who calls whom, who takes `inputs_embeds`, where it pools."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
)

from _tools.versions.facts.words import SMALL, VISION, attempt, kind
from clipnotes import compat
from clipnotes.trace import Call, trace

#: Start and end of a text, and how many tokens there are.
START, END, VOCABULARY = 1, 8, 10
TEXT: dict[str, Any] = {
    **SMALL,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 12,
    "projection_dim": 8,
    "bos_token_id": START,
    "eos_token_id": END,
    "pad_token_id": END,
}
IDS = torch.tensor([[START, 5, 6, 7, END, END]])


def pooled_at(ids: list[int], eos_token_id: int) -> int:
    """Find the position of a text whose last state is the pooled vector."""
    model = CLIPTextModel(CLIPTextConfig(**{**TEXT, "eos_token_id": eos_token_id})).eval()
    with torch.no_grad():
        output = model(torch.tensor([ids]))
    same: Tensor = (output.last_hidden_state == output.pooler_output[:, None]).all(-1)[0]
    (position,) = same.nonzero().flatten().tolist()
    return position


def text_chain(model: CLIPModel) -> Call:
    """Trace a whole CLIP and keep what has to do with the text."""
    with torch.no_grad():
        chain = trace(model, input_ids=IDS, pixel_values=torch.randn(1, 3, 16, 16))
    chain.calls = [call for call in chain.calls if not call.path.startswith("vis")]
    chain.output = None
    return chain


def links(model: torch.nn.Module) -> list[str]:
    """Name the classes from a text model down to its embeddings."""
    with torch.no_grad():
        return [call.class_name for call in trace(model, IDS).chain("CLIPTextEmbeddings")]


def facts() -> dict[str, object]:
    """What chapter 7 says about this version."""
    torch.manual_seed(0)
    both = CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=8)).eval()
    model = CLIPTextModel(CLIPTextConfig(**TEXT)).eval()
    projected = CLIPTextModelWithProjection(CLIPTextConfig(**TEXT)).eval()
    embeddings: Any = compat.text_tower(model)
    embeddings = embeddings.embeddings
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        states = model(IDS, output_hidden_states=True)
        vectors = embeddings.token_embedding(IDS)
        passed = attempt(lambda: model(inputs_embeds=vectors))
        passed_too = attempt(lambda: model(IDS, inputs_embeds=vectors))
    modules = {type(module).__name__: module for module in (both, model, projected)}
    modules |= {type(m).__name__: m for m in (compat.text_tower(model), embeddings)}
    takes = {
        name: "inputs_embeds" in inspect.signature(type(module).forward).parameters
        for name, module in modules.items()
    }
    last = torch.equal(states.hidden_states[-1], states.last_hidden_state)
    return {
        "text_chain": text_chain(both).to_dict(),
        "text_links": {type(m).__name__: links(m) for m in (model, projected)},
        "takes_inputs_embeds": takes,
        "inputs_embeds_given_to_text_model": passed,
        "inputs_embeds_given_beside_input_ids": passed_too,
        "text_hidden_states_end_with_last_hidden_state": last,
        "get_text_features": kind(both.get_text_features(IDS)),
        "pooled_at": {
            "the end": pooled_at([START, 5, 6, END, END], END),
            "the end, eos_token_id=2": pooled_at([START, 5, 6, 7, 7], 2),
            "a larger id before the end": pooled_at([START, 5, 9, END, END], END),
            "a larger id before the end, eos_token_id=2": pooled_at([START, 5, 9, END, END], 2),
            "padding by the end in front": pooled_at([END, END, START, 5, 6, END], END),
            "no end": pooled_at([START, 5, 6, 7, 5], END),
        },
    }
