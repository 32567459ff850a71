"""Annotated source of every class that the book shows, line by line, against hooks.

The book's tabs are recorded from `annotate`. Here each class runs once more, and hooks and patched
functions say what every line of it made (`seen_by_hooks`), in the installed version.
"""

import sys
from collections.abc import Mapping
from importlib.metadata import version
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from transformers.models.clip import modeling_clip

import clipnotes
from _tools.versions import tabs
from clipnotes import compat
from clipnotes.remarks import REMARKS, remarks
from clipnotes.remarks.places import fitting
from clipnotes.trace.annotation import annotate
from clipnotes.trace.notes import MIME
from seen_by_hooks import record

B, L, D, TEXT = 2, 65, 128, 8  # images, tokens of an image, width, tokens of a text
#: What names hold that are no tensors, worked out by hand.
OWN = {
    "batch_size": B,
    "bsz": B,
    "target_dtype": torch.float32,
    "dtype": torch.float32,
    "device": torch.device("cpu"),
    "embed_dim": D,
    "src_len": L,
    "proj_shape": (B * 4, -1, 32),
    "hidden_shape": (B, L, -1, 32),
    "max_position_embedding": 32,
    "seq_length": TEXT,
    "tgt_len": TEXT,
    "q_length": TEXT,
    "kv_length": TEXT,
    "key_value_length": TEXT,
    "q_offset": 0,
    "kv_offset": 0,
    "past_key_values_length": 0,
    "attn_mask_converter": SimpleNamespace(is_causal=True, sliding_window=None),
    "layer_idx": 0,
    "early_exit": False,
    "use_vmap": False,
    "allow_is_causal_skip": True,
    "output_attentions": False,
    "output_hidden_states": False,
    "return_dict": True,
}
IN_ATTENTION = {"tgt_len": L, "seq_length": L, "input_shape": torch.Size((B, L))}
IN_TEXT = {"input_shape": torch.Size((B, TEXT))}


@pytest.fixture(scope="module")
def calls(clip):
    """Name -> what is called, its arguments, how it is annotated, and which notes are meant."""
    model = clip.model
    vision, text = compat.vision_tower(model), compat.text_tower(model)
    pixels = torch.randn(B, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    batch = dict(clip.tokenize(["a tulip", "an emoji of a red apple"]))
    assert batch["input_ids"].shape == (B, TEXT)
    layer, given = vision.encoder.layers[1], []
    hook = layer.register_forward_pre_hook(
        lambda _, args, named: given.append((args, named)), with_kwargs=True
    )
    vision(pixels)
    hook.remove()
    (states, *rest), named = given[0]
    loss, masks = compat.loss_function(), compat.mask_functions()
    deep = {"deep": True}
    return {
        "CLIPVisionEmbeddings": (vision.embeddings, (pixels,), {}, {}),
        "CLIPMLP": (layer.mlp, (states,), {}, {}),
        "CLIPAttention": (layer.self_attn, (), {"hidden_states": states}, deep),
        "CLIPEncoderLayer": (layer, (states, *rest), named, {}),
        "CLIPEncoder": (vision.encoder, (), {"inputs_embeds": states}, {}),
        "CLIPVisionModel": (vision, (pixels,), {}, {}),
        "CLIPModel": (model, (), {**batch, "pixel_values": pixels, "return_loss": True}, {}),
        "clip_loss": (loss, (torch.randn(B, B),), {}, deep),
        "CLIPTextEmbeddings": (text.embeddings, (batch["input_ids"],), {}, {}),
        "causal mask": (text, (), batch, {**deep, "functions": masks}),
        "CLIPTextModel": (text, (), batch, {}),
    }


def annotated(calls, name):
    """The notes of all functions in transformers that are shown under a name."""
    module, args, kwargs, how = calls[name]
    notes = annotate(module, *args, **kwargs, **how, notes=remarks(name))
    top = notes.find(compat.mask_functions()[0].__name__) if name == "causal mask" else notes
    return [one for one in top.walk() if one.file.startswith("transformers")]


def is_like(described, actual):
    """Whether a value is as it was described, down to the tensors in it."""
    if isinstance(actual, Tensor):
        dtype = str(actual.dtype).removeprefix("torch.")
        return (described.get("shape"), described.get("dtype")) == (list(actual.shape), dtype)
    if described.get("fields") is not None:
        in_order = isinstance(actual, (tuple, list)) and not isinstance(actual, Mapping)
        inside = {str(i): v for i, v in enumerate(actual)} if in_order else dict(named(actual))
        both = described["fields"]
        return both.keys() == inside.keys() and all(is_like(both[k], inside[k]) for k in both)
    is_type = described["type"] == type(actual).__name__
    return is_type and described.get("text") in (None, repr(actual))


def named(actual):
    return actual.items() if isinstance(actual, Mapping) else vars(actual).items()


def tensors(described):
    """The tensors in a described value."""
    if described.get("shape") is not None:
        yield described
    for one in (described.get("fields") or {}).values():
        yield from tensors(one)


def check_values(name, made, statement, values, known):
    """Compare the values that a statement gave to names with those that came from its lines."""
    last = values[-1][1] if values else None
    several = len(made) > 1 and isinstance(last, (tuple, list)) and len(last) == len(made)
    for number, (variable, value) in enumerate(made.items()):
        holds = list(tensors(value))
        if several or (holds and values):
            actual = last[number] if several else last
            assert is_like(value, actual), (name, variable, value, actual)
        elif holds:  # no function of torch ran: it is a tensor that was there before
            for one in holds:
                assert known[one["mark"]] == (one["shape"], one["dtype"]), (name, variable)
        elif variable in known["own"]:
            assert is_like(value, known["own"][variable]), (name, variable, value)
        else:
            nothing = value.get("text") in (None, "None") and not value.get("fields")
            assert nothing, (name, variable, value, "work it out, and put it into OWN")
        known.update((one["mark"], (one["shape"], one["dtype"])) for one in holds)
    for variable in statement["shares"]:
        storage = last.untyped_storage().data_ptr()
        assert storage in known["memory"], (name, variable, "is no view")


def check_function(notes, seen, own, parameters):
    """Compare the notes of one function, statement by statement."""
    made, code, source = notes.to_dict(), notes._record.code, notes._record.source
    known = {"own": {**OWN, **own}, "memory": set(parameters)}
    for value in made["arguments"].values():
        known.update((one["mark"], (one["shape"], one["dtype"])) for one in tensors(value))
    compared = 0
    for statement, parsed in zip(made["statements"], source.statements, strict=True):
        if statement["text"]:
            continue
        name = f"{made['title']}: {made['lines'][statement['first']].strip()}"
        lines = parsed.first, parsed.last
        assert statement["ran"] == (seen.times(code, *lines) > 0), name
        if not statement["ran"]:
            continue
        values = seen.at(code, *lines)
        if statement["taken"] is not None:
            assert statement["taken"] == (seen.times(code, *parsed.body) > 0), name
        if statement["loop"]:
            # The head runs once more than the body, to see that nothing is left.
            assert statement["times"] == seen.times(code, *lines) - 1, name
        else:
            check_values(name, statement["made"], statement, values, known)
        in_place = [of for _, _, of in values if of.endswith("_") and not of.endswith("__")]
        assert bool(statement["written"]) == bool(in_place), name
        if statement["returned"] is not None:
            assert is_like(statement["returned"], seen.returned[code]), name
        for _, value, _ in values:
            if isinstance(value, Tensor):
                known["memory"].add(value.untyped_storage().data_ptr())
        compared += 1
    return compared


@pytest.mark.parametrize("name", REMARKS)
def test_every_line_made_what_hooks_saw(clip, calls, name):
    module, args, kwargs, _ = calls[name]
    with compat.eager_attention(clip.model if name == "CLIPAttention" else torch.nn.Module()):
        notes = annotated(calls, name)
        files = {modeling_clip, *(sys.modules[one._record.module] for one in notes)}
        codes = [one._record.code for one in notes]
        seen = record(lambda: module(*args, **kwargs), codes, files)
    own = {**IN_TEXT, **(IN_ATTENTION if name == "CLIPAttention" else {})}
    inputs = [*args, *kwargs.values(), *clip.model.parameters(), *clip.model.buffers()]
    memory = [one.untyped_storage().data_ptr() for one in inputs if isinstance(one, Tensor)]
    done = set()
    for one in notes:
        if one._record.code not in done:  # of a function that was called twice, the first call
            assert check_function(one, seen, own, memory) > 0
        done.add(one._record.code)


def shown():
    """Every annotated source on the book's pages: title -> its dict, in the installed version."""
    pages = tabs.recorded().get(version("transformers"), {})
    outputs = [one for cells in pages.values() for cell in cells for one in cell["outputs"]]
    return {given["title"]: given for kind, given in outputs if kind == MIME}


@pytest.mark.parametrize("name", REMARKS)
def test_the_book_shows_it_with_the_remarks(clip, calls, name):
    if not (pages := shown()):
        pytest.skip("the book has no tab for this version")
    with compat.eager_attention(clip.model if name == "CLIPAttention" else torch.nn.Module()):
        notes = annotated(calls, name)[0]
    now, page = notes.to_dict(), pages[notes.title]
    assert page["lines"] == now["lines"] and page["file"] == now["file"]
    told = ("first", "ran", "taken", "remark", "written", "shares")
    for one, other in zip(page["statements"], now["statements"], strict=True):
        assert [one.get(key) for key in told] == [other.get(key) for key in told]
    said = [text for one in page["statements"] if (text := one["remark"])] + [page["remark"]]
    assert len([text for text in said if text]) > 1 or page["inside"]


@pytest.mark.parametrize("name", REMARKS)
def test_every_remark_has_its_place_in_this_version(name):
    placed, without = fitting(REMARKS[name])
    assert without == [] and len(placed) == len(REMARKS[name])


def test_the_book_shows_every_class_of_both_notes():
    """They are, in the words of the newest version; the pooling of a text is in its tower."""
    of_the_notes = {
        "CLIPVisionEmbeddings",
        "CLIPMLP",
        "CLIPAttention",
        "CLIPEncoderLayer",
        "CLIPEncoder",
        "CLIPVisionModel",
        "CLIPModel",
        "CLIPTextModel",
        "CLIPTextEmbeddings",
        "causal mask",
        "clip_loss",
    }
    assert set(REMARKS) == of_the_notes
    assert len(shown()) in (0, len(of_the_notes))


def test_remarks_have_names():
    with pytest.raises(ValueError, match="no remarks on 'CLIPEverything'; there are some on CLIPV"):
        remarks("CLIPEverything")
    assert clipnotes.annotate is annotate


def test_a_remark_whose_line_is_gone_is_left_out_and_told():
    gone = {"CLIPMLP.forward: hidden_states = self.fc9": "no", "no_function: x": "no"}
    twice = {"CLIPMLP.forward: hidden_states": "one for three statements"}
    here = {"CLIPMLP.forward: nothing": "no", "CLIPMLP.forward: return": "yes"}
    placed, without = fitting([gone, twice, here])
    assert placed == [("CLIPMLP.forward", "return", "yes")]
    assert without == [gone, twice]
