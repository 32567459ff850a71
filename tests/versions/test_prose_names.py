"""A name in code font is the name of something: of torch, transformers, clipnotes or the chapter.

Under each version of transformers the whole book is looked at, so a name that a version does not
have is found there. Then it is history, and the section that names it has to say so.
"""

import re
from importlib.metadata import version

import pytest

from _tools import chapters
from prose_names import OTHER, code_names, in_code_font, missing
from repository import ROOT

PAGES = [*chapters.chapters(), ROOT / "README.md", ROOT / "book" / "index.md"]
#: Names that not every version has, and those of the tested versions that have them.
HISTORY = {
    "CLIPVisionTransformer": ("4.49.0", "4.57.6", "5.5.4"),
    "CLIPTextTransformer": ("4.49.0", "4.57.6", "5.5.4"),
    "clip_loss": ("4.49.0", "4.57.6", "5.5.4"),
    "causal_attention_mask": ("4.49.0", "4.57.6"),
    "model.encoder": ("5.18.0", "5.24.0"),
    "activation_checkpointing_enable": ("5.24.0",),
    "Siglip2Processor": ("4.57.6", "5.5.4", "5.18.0", "5.24.0"),
}
#: How a section says that it speaks about a version.
SAYS_VERSION = re.compile(r"\b(?:transformers|versions?) [45]\b|\b[45]\.(?:x|\d+)\b")
INSTALLED = version("transformers")


def unknown(text):
    """(code, its parts that stand for nothing) for each piece of prose that is neither."""
    own = code_names(text)
    found = []
    for code, section in in_code_font(text):
        wrong = missing(code, own)
        past = [name for name in wrong if INSTALLED not in HISTORY.get(name, (INSTALLED,))]
        if past and not SAYS_VERSION.search(section):
            found.append((code, ["history, and the section names no version"]))
        if set(wrong) - set(past):
            found.append((code, wrong))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_name_in_the_prose_is_there(page):
    """What to do: correct it, or use it in a cell, or put it into HISTORY or OTHER."""
    assert unknown(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", HISTORY)
def test_history_is_true_of_the_installed_version(name):
    # The chapter's own cells do not count here: they may show what another version did.
    assert (missing(name) == []) == (INSTALLED in HISTORY[name])


@pytest.mark.parametrize("name", HISTORY)
def test_history_is_told_somewhere(name):
    assert any(
        code == name for page in PAGES for code, _ in in_code_font(page.read_text(encoding="utf-8"))
    )


@pytest.mark.parametrize("name", sorted({"make", ".venv", "CLIPNOTES_MODEL"} & set(OTHER)))
def test_what_is_no_name_is_in_the_prose(name):
    assert any(f"`{name}`" in page.read_text(encoding="utf-8") for page in PAGES)


TEXT = """\
---
title: "`header_name`"
---

# About `in_a_heading`

Some `first_name` and {cite:p}`radford2021`, {term}`x` `after_role`.

```{code-cell} ipython3
own = thing.attribute(keyword="word")
# `in_a_cell`
```

## Of transformers 4

| a | `in_a_table` |
|---|---|

:::{admonition} A trap
:class: warning
With `in_a_box`.
:::
"""


def test_names_are_read_from_prose_alone():
    found = {code: section.splitlines()[0] for code, section in in_code_font(TEXT)}
    assert set(found) == {"in_a_heading", "first_name", "after_role", "in_a_table", "in_a_box"}
    assert found["first_name"] == "# About `in_a_heading`"
    assert found["in_a_table"] == "## Of transformers 4"
    assert {"own", "thing", "attribute", "keyword", "word"} <= code_names(TEXT)


@pytest.mark.parametrize(
    "code",
    [
        "pre_layernorm",
        "CLIPVisionTowerModel",
        "compat.vision_towers(model)",
        "compat.vision_tower(modell)",
        "vision_towers()",
        "get_img_features",
        "all_hidden_states[-2]",
        "model.vision_model.encoders",
        "model.vision_encoder",
        "CLIPOutput.text_output",
        "PromptLearner.from_cocoop",
        "clip.encode_images",
        "torch.randnorm",
        "fast_way=True",
        "inspect.getsources",
        "clipnotes.plot",
        ".too(text_embeds.device)",
        "text_embeds.devise",
    ],
)
def test_an_invented_name_is_found(code):
    assert missing(code)
    assert unknown(f"# A page\n\nSay `{code}` here.\n") == [(code, missing(code))]


@pytest.mark.parametrize(
    "code",
    [
        *("pre_layrnorm", "get_image_features", "hidden_states[-2]", "model.vision_model.encoder"),
        *("compat.vision_tower(model)", "CLIPOutput.text_model_output", "CLIPModel.forward"),
        *("PromptLearner.from_coop", "torch.randn", "fast=False", "norm_first=True"),
        *("use_reentrant=False", "eos_token_id=2", "quick_gelu", "sdpa", "inspect.getsource"),
        *("clipnotes.plots", ".to(text_embeds.device)", "**named", "(B, N, D)", "[:, 1:]"),
        *("make test", "README.md", "clipnotes learn FOLDER", "None", "'a text'", "x * (1 - x)"),
    ],
)
def test_what_is_there_is_not_complained_about(code):
    assert missing(code, {"named"}) == []


def test_history_needs_a_version_beside_it(monkeypatch):
    monkeypatch.setitem(HISTORY, "old_name", ("4.49.0",))
    monkeypatch.setattr("test_prose_names.INSTALLED", "5.18.0")
    assert unknown("## Once\n\nThere was `old_name`.")
    assert unknown("## Once\n\nIn 4.49 there was `old_name`.\n\n## Now\n\nNo `old_name`.")
    assert unknown("## Once\n\nIn 4.49 there was `old_name`.") == []
    monkeypatch.setattr("test_prose_names.INSTALLED", "4.49.0")
    assert unknown("## Once\n\nThere is `old_name`.") == [("old_name", ["old_name"])]
