"""Train the BPE tokenizer of Emoji-CLIP, in the style of CLIP's.

    python training/train_tokenizer.py OUT_DIR

It follows OpenAI's CLIP tokenizer as transformers builds it: 256 byte letters, the same with
``</w>``, then merges, then ``<|startoftext|>`` and ``<|endoftext|>``. The end token has the largest
id and is also the padding, as on the hub. The result is written in the two forms that versions of
transformers read: vocab.json with merges.txt, and tokenizer.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from build_emoji import EMOJIBASE, Package
from captions import TEMPLATES

VOCAB_SIZE = 4000
MAX_LENGTH = 32  # text positions of Emoji-CLIP
SOS, EOS = "<|startoftext|>", "<|endoftext|>"
# OpenAI's word pattern: contractions, letters, single digits, runs of anything else.
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def corpus() -> list[str]:
    """List every English name of an emoji with its keywords, and the templates."""
    emoji = Package(*EMOJIBASE).json("en/data.json")
    texts = [x["label"].replace("\u2019", "'") for x in emoji]
    texts += [tag for x in emoji for tag in x.get("tags", [])]
    subgroups = Package(*EMOJIBASE).json("meta/groups.json")["subgroups"].values()
    return (
        texts
        + [s.replace("-", " ") for s in subgroups]
        + [t.format("thing") for t in TEMPLATES] * 20
    )


def pipeline(
    vocab: dict[str, int] | None = None, merges: list[tuple[str, str]] | None = None
) -> Tokenizer:
    """Build CLIP's steps around a BPE model: lower case, then words, then byte letters."""
    tokenizer = Tokenizer(models.BPE(vocab, merges, end_of_word_suffix="</w>", unk_token=EOS))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def build() -> Tokenizer:
    """Train the tokenizer; the same corpus gives the same merges."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters += [letter + "</w>" for letter in letters]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - 2,
        special_tokens=letters,  # letters get their ids in advance, since ids decide ties
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    trained = pipeline()
    trained.train_from_iterator(corpus(), trainer)

    merges = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    # Two merges can give the same token, which a dict holds once.
    tokens = dict.fromkeys(letters + ["".join(pair) for pair in merges])
    vocab = {token: i for i, token in enumerate([*tokens, SOS, EOS])}
    assert len(vocab) == VOCAB_SIZE, len(vocab)

    tokenizer = pipeline(vocab, merges)
    tokenizer.add_special_tokens([SOS, EOS])
    tokenizer.post_processor = processors.RobertaProcessing(
        (EOS, vocab[EOS]), (SOS, vocab[SOS]), trim_offsets=False, add_prefix_space=False
    )
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json, vocab.json, merges.txt and transformers' two JSON cards."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    model = json.loads(tokenizer.to_str())["model"]
    special = {"bos_token": SOS, "eos_token": EOS, "unk_token": EOS, "pad_token": EOS}
    config = {
        **special,
        "model_max_length": MAX_LENGTH,
        "tokenizer_class": "CLIPTokenizer",
        "do_lower_case": True,
        "errors": "replace",
        "clean_up_tokenization_spaces": False,
    }
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    files = {
        "vocab.json": json.dumps(model["vocab"], ensure_ascii=False),
        "merges.txt": "\n".join(lines) + "\n",
        "special_tokens_map.json": json.dumps(special, indent=2) + "\n",
        "tokenizer_config.json": json.dumps(config, indent=2) + "\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    save(build(), Path(sys.argv[1]))
    print(f"{VOCAB_SIZE} tokens in {sys.argv[1]}")
