"""Which names the prose puts in code font, and whether there is anything of that name."""

import ast
import builtins
import importlib
import inspect
import keyword
import re
import sys
from contextlib import suppress
from functools import cache

import torch
import transformers
from markdown_it import MarkdownIt
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import CLIPTextModel, CLIPVisionModel
from transformers.activations import ACT2FN
from transformers.models.clip import modeling_clip

import clipnotes
from _ext import first_used
from _tools import chapters
from clipnotes.prompts.methods import PUBLISHED
from reference import tiny_clip
from repository import ROOT

CODE = re.compile(r"^```(?!\{admonition).*?^```$", flags=re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^(?:```|:::).*$", flags=re.MULTILINE)  # of a box, whose text is prose
ROLE = re.compile(r"\{[\w:.-]+\}$")  # what stands before it is markup: {cite:p}`radford2021`
#: Modules of which prose may name the contents without naming the module.
ROOMS = "compat data explorer looking measured model plots prompts trace"
OURS = {room: importlib.import_module(f"clipnotes.{room}") for room in ROOMS.split()}
MODULES = (torch, nn, nn.functional, torch.optim, torch.Tensor, transformers, modeling_clip)
#: Where an argument in prose (`truncation=True`) may belong to, besides CLIP and clipnotes.
CALLED = (
    checkpoint,
    nn.TransformerEncoderLayer,
    nn.Module.register_forward_hook,
    torch.optim.SGD,
    transformers.PreTrainedTokenizerBase.__call__,
)
#: What is in code font and names nothing in Python.
OTHER = {"make", ".venv", "CLIPNOTES_MODEL", *keyword.kwlist}
OTHER |= {"prompt.safetensors", "HF_HUB_OFFLINE"}  # a file; what the hub's library reads
OTHER |= {"visual.ln_pre", "visual.proj", "in_proj_bias"}  # open_clip's


# What the prose says


def in_code_font(text):
    """Yield (code, the section that it stands in) for each piece of prose in code font."""
    prose = FENCE.sub("", CODE.sub("", chapters.prose(text)))
    for section in re.split(r"^(?=#+ )", prose, flags=re.MULTILINE):
        for token in MarkdownIt("commonmark").enable("table").parse(section):
            before = ""
            for child in token.children or []:
                if child.type == "code_inline" and not ROLE.search(before):
                    yield child.content, section
                before = child.content if child.type == "text" else ""


def parsed(code):
    """Read a piece of code; None for what names nothing, as a shape, a number or a file."""
    if code in OTHER or (ROOT / code).exists() or re.search(r"\.(ipynb|json|md|py|yml)$", code):
        return None
    for form in ("{}", "_({})", "_{}"):
        try:
            tree = ast.parse(form.format(code), mode="eval").body
        except SyntaxError:
            continue
        return None if isinstance(tree, ast.Constant | ast.Tuple) else tree
    return None


def code_names(text):
    """Every name, attribute and text in a chapter's cells, which run, so all are there."""
    found = set()
    for cell in first_used.code_of(text):
        for node in ast.walk(cell):
            for field in ("id", "attr", "arg", "name", "asname", "value"):
                word = getattr(node, field, None)
                if isinstance(word, str):
                    found |= set(word.split(".") if isinstance(node, ast.alias) else [word])
    return found


# What there is


@cache
def models():
    """Small models of transformers: both towers, and each alone."""
    clip = tiny_clip(0)
    return clip, CLIPVisionModel(clip.config.vision_config), CLIPTextModel(clip.config.text_config)


def members(thing):
    """The names inside something: attributes, fields of a dataclass, arguments."""
    found = {name for name in dir(thing) if not name.startswith("_")}
    for kind in getattr(thing, "__mro__", [thing]):
        found |= set(vars(kind).get("__annotations__", {}) if hasattr(kind, "__dict__") else ())
    if callable(thing):
        with suppress(TypeError, ValueError):  # written in C
            found |= set(inspect.signature(thing).parameters)
    return found


def inner(thing, name):
    """Say whether a name is that of a module inside a package."""
    return inspect.ismodule(thing) and first_used.module_or_none(f"{thing.__name__}.{name}")


def ours():
    """The public functions and classes of clipnotes."""
    for module in (clipnotes, *OURS.values()):
        for name in getattr(module, "__all__", vars(module)):
            thing = getattr(module, name)
            if (getattr(thing, "__module__", None) or "").startswith("clipnotes"):
                yield name, thing


@cache
def names():
    """All names that may stand alone in prose."""
    found = {*dir(builtins), *ACT2FN, "eager", "sdpa", "attn_implementation"}
    found |= {"clipnotes", "transformers", "datasets", *OURS}
    found |= set(PUBLISHED)  # of the command line
    things = [*MODULES, *CALLED, clipnotes, *OURS.values()]
    things += [kind for kind in vars(modeling_clip).values() if isinstance(kind, type)]
    things += [thing for _, thing in ours()]
    for model in models():
        for module in model.modules():
            things += [module, type(module).forward]
        things.append(model.config)
        things += [getattr(model.config, f"{k}_config", 0) for k in ("text", "vision")]
    return found.union(*map(members, things))


@cache
def objects():
    """What a name before a dot stands for: name -> the things that it can be."""
    found = {name: [thing] for name, thing in [*ours(), *OURS.items()]}
    found |= {"torch": [torch], "transformers": [transformers], "clipnotes": [clipnotes]}
    for name, kind in vars(modeling_clip).items():
        if name.startswith("CLIP") and isinstance(kind, type):
            found[name] = [kind]
    clip = clipnotes.load()
    found |= {"model": list(models()), "clip": [clip]}
    return found | {"page": found["Page"], "learner": [found["PromptLearner"][0](clip, ["rose"])]}


def missing(code, own=frozenset()):
    """The parts of a piece of code that stand for nothing; ``own`` are the chapter's own names."""
    tree = parsed(code)
    return [] if tree is None else list(_missing(tree, own)[0])


def _missing(node, own):
    """(what is missing in a tree, the things that it stands for if they are known)."""
    if isinstance(node, ast.Name):
        there = len(node.id) == 1 or node.id == "_" or node.id in own | names()
        return [] if there else [node.id], objects().get(node.id, [])
    if isinstance(node, ast.Attribute):
        wrong, bases = _missing(node.value, own)
        name = ast.unparse(node.value)
        if not bases and name in sys.stdlib_module_names and name not in own:
            wrong, bases = [], [importlib.import_module(name)]
        found = [base for base in bases if node.attr in members(base) or inner(base, node.attr)]
        if not wrong and not found and (bases or node.attr not in own | names()):
            wrong = [ast.unparse(node)]
        return wrong, [getattr(b, node.attr) for b in found if hasattr(b, node.attr)]
    known = own | names() | {None}  # None: **named
    wrong = [f"{k.arg}=" for k in getattr(node, "keywords", []) if k.arg not in known]
    for child in ast.iter_child_nodes(node):
        wrong += _missing(child.value if isinstance(child, ast.keyword) else child, own)[0]
    return wrong, []
