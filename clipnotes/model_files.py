"""Look at a model directory before transformers reads it, and at its parts afterwards.

Which types of models are opened, and with which classes, is in ``compat.kinds``.

transformers repairs much in silence: what is missing it makes up. Here, what is missing or damaged
is an error that names the file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clipnotes import compat
from clipnotes.compat.carried import end_rule
from clipnotes.compat.quiet import quiet
from clipnotes.compat.texts import read_tokenizer

# Each line is satisfied by any one of its alternatives, each alternative by all of its files.
NEEDED: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("config.json",),),
    (("model.safetensors",), ("model.safetensors.index.json",)),
    (("preprocessor_config.json",), ("processor_config.json",)),
    (
        ("tokenizer.json",),
        ("vocab.json", "merges.txt"),  # CLIP's
        ("vocab.txt",),  # BERT's
        ("spiece.model",),  # SentencePiece, as SigLIP, RoBERTa and Gemma call it
        ("sentencepiece.bpe.model",),
        ("tokenizer.model",),
    ),
)
# Of the JSON files beside a model, those that transformers reads. Others may hold what they like.
READ = {name for line in NEEDED for files in line for name in files if name.endswith(".json")}
READ |= {"added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"}
FILES = ", ".join(" or ".join(" and ".join(files) for files in line) for line in NEEDED)
SUM = re.compile(r"([0-9a-f]{64}) [ *]([^/\\]+)")


def check_directory(folder: Path) -> None:
    """Raise unless a directory holds an undamaged two-tower model in Hugging Face's format."""
    try:
        present = {file.name for file in folder.iterdir()}
    except OSError as error:
        raise ValueError(f"the directory {folder} cannot be read: {error}") from error
    for line in NEEDED:
        if not any(present.issuperset(files) for files in line):
            missing = " or ".join(" and ".join(files) for files in line)
            raise ValueError(
                f"{folder} lacks {missing}. A model directory holds {FILES}, as save_pretrained "
                "of model, tokenizer and image processor write them"
            )
    for name in sorted(present & READ):
        read_json(folder / name)
    check_kind(str(folder), read_json(folder / "config.json"))
    if "SHA256SUMS" in present:
        check_sums(folder)


def check_kind(name: str, config: dict[str, Any]) -> compat.Kind:
    """Raise unless a config.json describes a model that can be opened; say what opens it."""
    try:
        return compat.kind_of_config(config)
    except ValueError as error:
        raise ValueError(f"{name} holds {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that must hold an object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: no JSON, or no UTF-8
        raise ValueError(f"{path} cannot be read as JSON ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not an object; fetch it again")
    return content


def check_sums(folder: Path) -> None:
    """Raise unless every file that SHA256SUMS names is the one that it describes."""
    sums = folder / "SHA256SUMS"
    lines = [line for line in sums.read_text(encoding="utf-8").splitlines() if line.strip()]
    named = {}
    for line in lines:
        match = SUM.fullmatch(line)
        if match is None:
            raise ValueError(f"{sums} has the line {line[:80]!r}; it needs 'CHECKSUM  FILE'")
        named[match[2]] = match[1]
    if "model.safetensors" not in named:
        raise ValueError(f"{sums} does not name model.safetensors; remove it or make it again")
    for name, expected in named.items():
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise ValueError(f"{sums} names {name}, which cannot be read: {error}") from error
        if hashlib.sha256(content).hexdigest() != expected:
            raise ValueError(
                f"{folder / name} is not the file that SHA256SUMS beside it describes: it was "
                "changed or is damaged. Install clipnotes again, or remove SHA256SUMS if you "
                "changed the file yourself"
            )


def check_parts_fit(model: Any, tokenizer: Any, shape: tuple[int, ...], name: str) -> None:
    """Raise unless model, tokenizer and the shape of an image's pixels fit each other."""
    for key, tensor in model.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"the tensor {key} in {name} is not finite; fetch the model again")
    family = compat.family_of(model)
    try:
        text = family.text_tower(model)
        family.vision_tower(model)
    except TypeError as error:
        raise ValueError(f"{name} holds a model that gives no features: {error}") from error
    size = model.config.vision_config.image_size
    if shape[2:] != (size, size) and not compat.kind_of(model).any_size:
        raise ValueError(
            f"the image processor of {name} makes images of {shape[2:]} pixels, and its model "
            f"takes {(size, size)}; fetch preprocessor_config.json again"
        )
    ids, vocab = tokenizer(["a"])["input_ids"][0], family.token_table(model).num_embeddings
    turns = f"the tokenizer of {name} turns 'a' into {ids}, and its model has {vocab} tokens"
    again = "fetch the tokenizer's files again"
    if family.reads(model) == "end":
        rule = end_rule(text)
        # Old configurations say 2 and mean the largest id; see transformers' CLIPTextTransformer.
        by_size = rule.eos_token_id == 2 and not rule.by_place
        if max(ids) >= vocab or not (by_size or ids[-1] == rule.eos_token_id):
            raise ValueError(f"{turns} and ends a text with {rule.eos_token_id}; {again}")
        return
    padding, own = tokenizer.pad_token_id, family.padding_id(model)
    if padding is None or max(*ids, padding) >= vocab or own not in (None, padding):
        takes = "" if own is None else f", and takes {own} for padding"
        raise ValueError(f"{turns}{takes}. The tokenizer pads with {padding}; {again}")


def read_parts(name: str, is_directory: bool, choices: str) -> tuple[Any, Any, Any]:
    """Read a model with its tokenizer and image processor; a ValueError says what is wrong.

    Args:
        name: a directory that was checked, or a hub id.
        is_directory: which of the two.
        choices: what an error offers instead of a name that nobody knows.
    """
    import transformers

    with _explained(name, is_directory, choices):
        config, _ = transformers.PretrainedConfig.get_config_dict(name)
    kind = check_kind(name, config)
    with _explained(name, is_directory, choices):
        # The class itself and not AutoModel, and no code but transformers' own, whatever a
        # configuration asks for.
        pretrained: Any = getattr(transformers, kind.model).from_pretrained(
            name, use_safetensors=True, output_loading_info=True
        )
        model, report = pretrained
        tokenizer = read_tokenizer(name, config["model_type"])
        image_processor = compat.read_image_processor(name, kind.image_processor)
    # Old checkpoints hold the numbers 0, 1, 2, ... of the positions, which have no use.
    left = [
        key
        for key in report["unexpected_keys"]
        if not key.endswith("position_ids") and not key.startswith(kind.left)
    ]
    for keys, problem in ((report["missing_keys"], "lack"), (left, "have too much:")):
        if keys:
            some = ", ".join(sorted(keys)[:3])
            raise ValueError(
                f"the weights in {name} do not fit its config.json: they {problem} {len(keys)} "
                f"tensors ({some}, ...). Fetch the model again"
            )
    return model, tokenizer, image_processor


@contextmanager
def _explained(name: str, is_directory: bool, choices: str) -> Iterator[None]:
    """Let transformers read something, quietly, and turn what it raises into a ValueError."""
    from safetensors import SafetensorError

    try:
        with quiet():  # the errors below say what is wrong
            yield
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(
            f"the weights in {name} are damaged or do not fit its config.json ({error}); "
            "fetch the model again"
        ) from error
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{name} needs a package that is not installed: {reason} For a tokenizer of "
            "SentencePiece: python -m pip install sentencepiece protobuf"
        ) from error
    except Exception as error:  # whatever a tokenizer or a processor makes of a damaged file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if is_directory:
            raise ValueError(f"a file in {name} cannot be used: {reason}") from error
        raise ValueError(
            f"no CLIP model {name!r}: it is neither a directory here nor a model that the hub gave "
            f"us. Choose from: {choices}. transformers says: {reason}"
        ) from error
