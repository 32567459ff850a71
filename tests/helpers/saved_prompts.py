"""Saved prompts and their models, changed by hand."""

import copy
import json

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import clipnotes
from clipnotes.prompts.saved import storage

CARD = {"method": "coop", "options": {}, "classnames": ["rose", "kite (bird of prey)"]}


def changed(clip, change):
    """The same CLIP with another model: a copy that was changed."""
    model = copy.deepcopy(clip.model)
    with torch.no_grad():
        change(model)
    return clipnotes.Clip(model, clip.tokenizer, clip.image_processor)


def rewrite(folder, **card):
    """Put other things on the card, by hand."""
    file = folder / "prompt.safetensors"
    with safe_open(file, "pt") as opened:
        old = json.loads(opened.metadata()[storage.KEY])
    save_file(load_file(file), file, metadata={storage.KEY: json.dumps({**old, **card})})
