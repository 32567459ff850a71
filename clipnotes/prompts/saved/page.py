"""The page that a prompt has on the hub, ``README.md``: made from its card, and from nothing else.

Above it stand the lines in YAML that the hub reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from clipnotes.prompts.saved.card import EMBEDDED

PAGE = "README.md"
SHOWN = 30  # class names on the page; card.json has all
#: The title of each method and its number on arXiv, by its name. The table of methods, which is on
#: a higher floor, writes them here.
PAPERS: dict[str, tuple[str, str]] = {}
# What the hub takes for each of the two names, beside rules about dots and hyphens.
PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"


def is_repo_id(name: str) -> bool:
    """Tell whether a text is of the form ``name/name``, as the hub has it."""
    form = re.fullmatch(f"{PART}/{PART}", name)
    return form is not None and not re.search(r"--|\.\.|\.git$", name)


def page(card: Mapping[str, Any], repo_id: str) -> str:
    """Write the page of a prompt."""
    parts = [_metadata(card), f"# {repo_id.split('/')[1]}", _what(card), _classes(card)]
    parts += [_scores(card)] * bool(card["scores"])
    return "\n\n".join([*parts, _use(card, repo_id), _end(card)]) + "\n"


def _metadata(card: Mapping[str, Any]) -> str:
    """What the hub reads. A text in JSON is one in YAML; without a licence, none is claimed."""
    lines = ["library_name: clipnotes"]
    if is_repo_id(card["model"]):
        lines += [f"base_model: {json.dumps(card['model'])}", "base_model_relation: adapter"]
    tags = ["clipnotes", "clip", "prompt-learning", "few-shot", "image-classification"]
    lines += ["tags:", *(f"- {json.dumps(tag)}" for tag in [*tags, _method(card)])]
    if "learned" in card["scores"] or any("accuracy" in name for name in card["scores"]):
        lines += ["metrics:", "- accuracy"]
    return "\n".join(["---", *lines, "---"])


def _method(card: Mapping[str, Any]) -> str:
    """The short name: some methods share a class, and only the recipe says which it was."""
    return str(card["recipe"].get("method", card["method"]))


def _what(card: Mapping[str, Any]) -> str:
    name = _method(card)
    title, paper = PAPERS.get(name, (name, ""))
    method = f"[{_plain(title)}](https://arxiv.org/abs/{paper})" if paper else _code(title)
    model = f"of {_code(card['model'])}" if card["model"] else "of a model that is not on the hub"
    if card["model"] in EMBEDDED.values():
        model += ", which comes with clipnotes,"
    learned = [
        f"{card['shots']} images of each class" * (card["shots"] is not None),
        f"seed {card['seed']}" * (card["seed"] is not None),
        *(f"{key} {value}" for key, value in card["recipe"].items() if key != "method"),
    ]
    how = ", ".join(_plain(one) for one in learned if one)
    return (
        f"What {method} has learned on top {model} to name images. Only what was learned is here; "
        "the model itself stayed as it was, and has to be loaded beside it."
        + f"\n\nLearned from: {how}."
        * bool(how)
    )


def _classes(card: Mapping[str, Any]) -> str:
    names = card["classnames"]
    some = ", ".join(map(_code, names[:SHOWN]))
    more = f", and {len(names) - SHOWN} more, which `card.json` names" * (len(names) > SHOWN)
    return f"## What it tells apart\n\n{len(names)} classes: {some}{more}."


def _scores(card: Mapping[str, Any]) -> str:
    """What `learn` measured are shares of images; what other numbers mean, their names must say."""
    scores = card["scores"]
    if "learned" in scores:
        above = "Accuracy on images that were not learnt from, of one draw and one training:"
        rows = [f"| {_plain(name)} | {value:.1%} |" for name, value in scores.items()]
    else:
        above = "What its author measured:"
        rows = [f"| {_plain(name)} | {value:.4g} |" for name, value in scores.items()]
    return "\n".join(["## How good it is", "", above, "", "| | |", "|---|---|", *rows])


def _use(card: Mapping[str, Any], repo_id: str) -> str:
    model, embedded = card["model"], card["model"] in EMBEDDED.values()
    where = model.lower() if embedded else model or "the folder of the model it was learned with"
    option = "" if model else " --model FOLDER"
    peft = " peft" if _method(card) == "lora" else ""
    return f"""## How to use it

```console
pip install "git+https://github.com/clipnotes/clipnotes"{peft}
clipnotes predict {repo_id} IMAGE{option}
```

Or from Python:

```python
import clipnotes
from clipnotes.prompts import load_prompt

clip = clipnotes.load({json.dumps(where)})
learner = load_prompt({json.dumps(repo_id)}, clip)  # refuses another model
logits = learner.logits(learner.inputs(images))  # a list of PIL images -> (n, n_classes)
names = [learner.classnames[i] for i in logits.argmax(dim=-1)]
```"""


def _end(card: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in card["versions"].items())
    return (
        f"It belongs to the text tower whose weights have the SHA-256 `{card['text_tower']}`, and "
        f"was made with {_plain(versions)}. This page was made from the prompt's card, and the "
        "next push makes it again."
    )


def _code(text: str) -> str:
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"


def _plain(text: str) -> str:
    """Take from a text what would mean something in Markdown."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(text).split()))
