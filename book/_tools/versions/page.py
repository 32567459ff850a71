"""Write the reference page about versions from what was recorded in each of them.

    python book/_tools versions.page            write book/reference/versions.md
    python book/_tools versions.page --check    write nothing, exit 1 if the page differs

The prose below names no version: which one does what is said by the answers alone, and they are
what `records.py` saw.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from _tools import ROOT
from clipnotes.compat import recorded

PAGE = ROOT / "book" / "reference" / "versions.md"

SHORT = 12  # characters of an answer that fits into a table's column

INTRODUCTION = """\
# Versions of transformers

Hugging Face's CLIP computes the same numbers in every version. What changes is where things are,
what they are called and in what they are wrapped. This page says so for the versions that this book
and its package are tested with.

No answer below was typed. A program asked small models with random weights in each version and
wrote the answers down. `make matrix` runs all unit tests and all chapters in each of these
versions, and asks again. Of a version that lies between two of them, it says nothing.

First comes what differs, then what is the same in all of them. A dash means that there is no such
thing.
"""


@dataclass(frozen=True)
class Group:
    """A section of the page.

    Attributes:
        title: its heading.
        text: what the facts mean to a reader. It names no version.
        rows: a label, and where the fact stands in the record. A label with ``{}`` stands for a
            row for each name below that place.
    """

    title: str
    text: str
    rows: tuple[tuple[str, tuple[str, ...]], ...]


GROUPS = (
    Group(
        "What it needs",
        "From each version's own metadata. Python and huggingface-hub are looked at by pip. torch "
        "is not, since it is optional there: with an older one pip says nothing, and newer "
        "versions of transformers then go without PyTorch, as a line in their log says.",
        (("{}", ("needs",)),),
    ),
    Group(
        "Classes that you import",
        "Listed by `dir(transformers)`. A class can be listed and still need a package that is "
        "not installed. Old names that only forward to new ones are not listed. For pictures, "
        "`compat.image_processor_class()` finds the class that works on PIL pictures in every "
        "version.",
        (("`{}` is listed", ("layout", "names")),),
    ),
    Group(
        "Modules that they are written in",
        "Below `transformers.models`. Importing from `transformers` itself works in every version; "
        "these paths matter to whoever reads or patches the source.",
        (("`{}`", ("layout", "home")),),
    ),
    Group(
        "Classes inside `modeling_clip`",
        "Code that imports one of these, or compares a type with it, breaks where it is "
        "missing. Look for attributes instead of types: `compat.vision_tower(model)` and "
        "`compat.text_tower(model)` find the module with the layers in every version.",
        (("`{}` is there", ("layout", "inside")),),
    ),
    Group(
        "What a model holds",
        "The children of each model, with their types. Where `CLIPVisionModel` holds the layers "
        "itself, `model.vision_model.encoder` raises an `AttributeError`. [Chapter "
        "1](../chapters/01-meet-the-model.md) walks through both trees.",
        (("`{}`", ("layout", "parts")),),
    ),
    Group(
        "Names of weights",
        "One tensor of each tower stands for all. `CLIPModel` and the `…WithProjection` models "
        "keep their names. The plain towers do not, and this bites: a file that a version "
        "writes without the prefix is not read by one that expects it. It only warns, and the "
        "model keeps its random weights. To pass a tower on to any version, save the "
        "`…WithProjection` model or the whole `CLIPModel`.",
        (
            ("`{}` in memory", ("layout", "keys_in_memory")),
            ("`{}`, new, saved", ("layout", "keys_on_disk")),
            ("`{}…`: taken from the file", ("layout", "read_from_file")),
            ("`{}…`: saved again as", ("layout", "saved_again")),
            ("`{}.base_model_prefix`", ("layout", "base_model_prefix")),
        ),
    ),
    Group(
        "Who is called how",
        "A forward hook sees only arguments that are passed by position, unless it is "
        "registered with `with_kwargs=True`. Code that replaces a layer has to return what the "
        "loop around it expects: a tensor or a tuple.",
        (
            ("the {} gets", ("layout", "gets")),
            ("the {} returns", ("layout", "returns")),
        ),
    ),
    Group(
        "What comes back",
        "Two traps. `get_text_features` and `get_image_features` may give an object, not a "
        "tensor. And its `pooler_output` is then not the tower's: the projection has replaced "
        "it, and where both widths are equal nothing tells. `compat.image_features` and "
        "`compat.text_features` give the projected tensor everywhere, `compat.vision_states` "
        "and `compat.text_states` the tower's own states. [Chapter "
        "4](../chapters/04-the-encoder-loop.md) and [chapter "
        "6](../chapters/06-two-towers-one-space.md) show them at work.",
        (
            ("`get_text_features`", ("vector_get_text_features",)),
            ("`get_image_features`", ("vector_get_image_features",)),
            ("`CLIPModel(…).text_model_output`", ("vector_text_model_output",)),
            ("`CLIPModel(…).vision_model_output`", ("vector_vision_model_output",)),
            (
                "`hidden_states[-1]` of the text tower is its `last_hidden_state`",
                ("text_hidden_states_end_with_last_hidden_state",),
            ),
            ("`hidden_states` of a tower", ("hidden_states",)),
            (
                "`output_hidden_states=[0, -1]`, of a tower with two layers",
                ("hidden_states_asked_for_by_places",),
            ),
            ("`hidden_states` of the encoder alone", ("hidden_states_of_encoder_alone",)),
            ("`return_dict=False` to `CLIPVisionModel`", ("return_dict_false",)),
            ("`return_dict=False` to `CLIPModel`'s tower", ("return_dict_false_of_clips_tower",)),
            ("`return_dict=False` to the encoder", ("return_dict_false_of_encoder",)),
        ),
    ),
    Group(
        "Attention weights",
        "SDPA, the default, never forms the weights. What `output_attentions=True` gives then "
        "is not the same everywhere, and only one kind is of use. "
        "`compat.eager_attention(model)` makes a model hand them out in every version.",
        (
            ("the default", ("layout", "default_attention")),
            ("`attentions` of the vision tower under SDPA", ("attentions_under_sdpa",)),
            ("`attentions` of the text tower under SDPA", ("layout", "text_attentions_under_sdpa")),
            ("`CLIPModel.set_attn_implementation` is there", ("layout", "set_attn_implementation")),
        ),
    ),
    Group(
        "Pictures",
        "A transparent pixel has a colour, too, and whether a processor shows it depends on the "
        "version; the pixel here is of transparent red. `clip.preprocess` lays a picture on white "
        "before the processor sees it, and gives the same numbers everywhere, as the checksums "
        "say. [Chapter 1](../chapters/01-meet-the-model.md) shows both on a drawing.",
        (
            ("from RGBA, {} makes", ("transparent_red",)),
            ("from a palette, {} makes", ("transparent_red_of_a_palette",)),
            (
                "`image_utils.get_image_size` of a picture 90 wide and 40 high",
                ("size_of_a_picture_90_wide_and_40_high",),
            ),
            (
                "`clip.preprocess` of a picture ({}): checksum",
                ("checksum_of_what_clip_preprocess_gives",),
            ),
        ),
    ),
    Group(
        "Configurations",
        "A configuration of both towers holds one for each. Where it keeps the very object that "
        "it was given, two models can share one, and what is changed for the one changes for the "
        "other: give each its own `copy.deepcopy`.",
        (
            (
                "`CLIPConfig(text_config=own).text_config is own`",
                ("layout", "sub_config_is_the_one_given"),
            ),
        ),
    ),
    Group(
        "The causal mask",
        "The function that `modeling_clip` asks for the text tower's mask, and what it can be "
        "given. Its home and its arguments are nobody's promise: code that calls it belongs to "
        "one version.",
        (("the function", ("layout", "mask_function")),),
    ),
    Group(
        "What goes in, and which error comes out",
        "No text model takes `inputs_embeds`; only the embeddings inside do, and nothing above "
        "passes it to them. Learnable prompts need a way around that. Where `forward` swallows "
        "unknown names, the error does not even mention the argument that was wrong.",
        (
            ("`inputs_embeds` in {}", ("takes_inputs_embeds",)),
            ("`CLIPTextModel` given only `inputs_embeds`", ("inputs_embeds_given_to_text_model",)),
            ("… given `inputs_embeds` and ids", ("inputs_embeds_given_beside_input_ids",)),
            ("`CLIPTextModel` given nothing", ("layout", "text_model_given_nothing")),
            ("`CLIPVisionModel` given nothing", ("without_pixel_values",)),
            ("a picture of another size", ("layout", "another_image_size")),
        ),
    ),
    Group(
        "Where the text tower pools",
        "Where each end of a text is, positions counted from 0. With an `eos_token_id` of 2, as "
        "in old configurations, the highest id wins, even if it is an added token. [Chapter "
        "7](../chapters/07-the-text-call-chain.md) shows the cases.",
        (
            ("`CLIPTextConfig().eos_token_id`", ("layout", "eos_token_id")),
            ("{}: pooled at", ("pooled_at",)),
        ),
    ),
    Group(
        "Gradient checkpointing",
        "Whether the layers get gradients when the embeddings below them are frozen. Where the "
        "answer is no, the loss can stay where it is without an error. A checkpointed layer runs "
        "twice, and where a hook *on* it hears one run only, the layer's hooks stay outside of "
        "what is computed again. The method that switches it on has got another name, and the old "
        "one warns; `compat.checkpoint_layers` takes the right one.",
        (
            ("with {}", ("checkpointed_layers_learn_above_frozen_embeddings",)),
            ("`{}` is there", ("checkpointing_methods",)),
            ("runs that a hook {} hears", ("checkpointed_runs_heard",)),
        ),
    ),
)


def look_up(facts: dict[str, Any], place: tuple[str, ...]) -> Any:
    """Find a fact; `None` if this version has nothing there."""
    found: Any = facts
    for name in place:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def cell(value: Any) -> str:
    """Write a fact into a table's cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{value}`".replace("|", "\\|")


def rows(group: Group, versions: dict[str, dict[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """Yield label and cells, a cell a version.

    Raises:
        KeyError: No version has the fact that a row asks for.
    """
    for label, place in group.rows:
        found = [look_up(facts, place) for facts in versions.values()]
        if all(value is None for value in found):
            raise KeyError(f"nothing is recorded at {'/'.join(place)}: run `make record`")
        if "{}" not in label:
            yield label, [cell(value) for value in found]
            continue
        for name in dict.fromkeys(name for value in found for name in value or {}):
            yield label.format(name), [cell((value or {}).get(name)) for value in found]


def by_version(lines: list[tuple[str, list[str]]], names: list[str]) -> list[str]:
    """Lay facts out as a table with a column for each version."""
    head = [f"| | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    return head + [f"| {label} | {' | '.join(cells)} |" for label, cells in lines]


def by_answer(lines: list[tuple[str, list[str]]], names: list[str]) -> list[str]:
    """Lay facts out as a list, a line an answer: a long one fits on a narrow screen."""
    listed = []
    for label, cells in lines:
        listed.append(f"- {label}")
        pairs = zip(names, cells, strict=True)
        for answer, group in groupby(pairs, key=lambda pair: pair[1]):
            listed.append(f"  - {', '.join(name for name, _ in group)}: {answer}")
    return listed


def section(group: Group, versions: dict[str, dict[str, Any]]) -> str:
    """Write a section: its text, what differs, what does not."""
    lines = list(rows(group, versions))
    same = [f"- {label}: {cells[0]}" for label, cells in lines if len(set(cells)) == 1]
    differ = [(label, cells) for label, cells in lines if len(set(cells)) > 1]
    short = all(len(cell) <= SHORT for _, cells in differ for cell in cells)
    parts = [f"## {group.title}", group.text]
    if differ:
        parts.append("\n".join((by_version if short else by_answer)(differ, list(versions))))
    if same:
        parts.append("The same in all of them:\n\n" + "\n".join(same))
    return "\n\n".join(parts) + "\n"


def text() -> str:
    """Return what the page has to hold."""
    versions = recorded()
    return "\n".join([INTRODUCTION, *(section(group, versions) for group in GROUPS)])


def main(arguments: list[str]) -> int:
    """Write the page, or only say whether it differs."""
    check = arguments == ["--check"]
    if arguments and not check:
        sys.exit(__doc__)
    page = text()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print(f"{'differs from the record' if check else 'written'}: {PAGE.name}")
    if not check:
        PAGE.write_text(page, encoding="utf-8")
    return 1 if check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
