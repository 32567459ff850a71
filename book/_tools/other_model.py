"""Run the chapters on another CLIP than the book's own, kept nowhere: none may lean on its sizes.

    python book/_tools other_model [NAME ...]   all chapters, or those whose file name begins so

It has the shapes of `openai/clip-vit-base-patch32`, random weights and 49,408 tokens, and is made
in `_build/vit-b-32/` (600 MB). With `CLIPNOTES_MODEL` set, that one is taken: a directory, or a hub
id, which is fetched into `_build/` first.
"""

import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import CLIPConfig, CLIPModel

import clipnotes
from _tools import BUILD, ROOT, execute
from _tools.chapters import read
from clipnotes.data import load_emoji

FOLDER = "vit-b-32"
EMOJI_CLIP = ROOT / "clipnotes" / "emoji_clip"
IMAGE_SIZE, VOCABULARY, MAX_LENGTH = 224, 49408, 77
SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def pairs_to_join(model: Tokenizer, words: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of tokens: first those that make one token of each word, then any two."""
    for word in words:
        first, *others = model.encode(word, add_special_tokens=False).tokens
        for other in others:
            yield first, other
            first += other
    tokens = sorted(model.get_vocab())
    starts = [token for token in tokens if not token.endswith("</w>") and token not in SPECIAL]
    yield from itertools.product(starts, (token for token in tokens if token not in SPECIAL))


def tokenizer(size: int) -> dict[str, Any]:
    """Return Emoji-CLIP's `tokenizer.json` with more tokens; the special ones are the last."""
    path = EMOJI_CLIP / "tokenizer.json"
    made = json.loads(path.read_text(encoding="utf-8"))
    tokens = dict.fromkeys(token for token in made["model"]["vocab"] if token not in SPECIAL)
    words = sorted({word for name in load_emoji()["name"] for word in name.split()})
    for pair in pairs_to_join(Tokenizer.from_file(str(path)), words):
        if len(tokens) == size - len(SPECIAL):
            break
        if "".join(pair) not in tokens:
            tokens["".join(pair)] = None
            made["model"]["merges"].append(list(pair))
    ids = {token: number for number, token in enumerate([*tokens, *SPECIAL])}
    made["model"]["vocab"] = ids
    for token in made["added_tokens"]:
        token["id"] = ids[token["content"]]
    for place in ("cls", "sep"):
        name = made["post_processor"][place][0]
        made["post_processor"][place] = [name, ids[name]]
    return made


def make(draft: Path) -> None:
    """Write the model of ViT-B/32's size, with its tokenizer and image processor."""
    torch.manual_seed(0)
    CLIPModel(CLIPConfig()).save_pretrained(draft)
    cards: dict[str, dict[str, Any]] = {"tokenizer.json": tokenizer(VOCABULARY)}
    for name in ("tokenizer_config.json", "preprocessor_config.json"):
        cards[name] = json.loads((EMOJI_CLIP / name).read_text(encoding="utf-8"))
    cards["tokenizer_config.json"]["model_max_length"] = MAX_LENGTH
    cards["preprocessor_config.json"] |= {
        "size": {"shortest_edge": IMAGE_SIZE},
        "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    }
    for name, card in cards.items():
        (draft / name).write_text(json.dumps(card, ensure_ascii=False), encoding="utf-8")


def fetch(name: str, draft: Path) -> None:
    """Write a model of the hub."""
    clip = clipnotes.load(name)
    for part in (clip.model, clip.tokenizer, clip.image_processor):
        part.save_pretrained(draft)


def directory(name: str | None) -> Path:
    """Return a model's directory, made if missing; without a name it has ViT-B/32's size."""
    if name and Path(name).is_dir():
        return Path(name).resolve()
    folder = BUILD / (name.replace("/", "--") if name else FOLDER)
    if not folder.exists():
        print(f"==> {'Fetching' if name else 'Making'} a CLIP: {folder}", flush=True)
        draft = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        fetch(name, draft) if name else make(draft)
        os.replace(draft, folder)
    return folder


def main(names: list[str]) -> int:
    """Run the chapters, and return 1 if one fails."""
    sources = execute.chosen(names)
    if not sources:
        return 1
    model = directory(os.environ.get("CLIPNOTES_MODEL"))
    os.environ["CLIPNOTES_MODEL"] = str(model)
    print(f"==> {len(sources)} chapters with {model}", flush=True)
    return execute.run({source.stem: read(source) for source in sources})[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
