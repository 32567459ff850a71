"""The prose of the page about versions, and which facts each of its sections shows.

No version is named here: the recorded answers say which one does what.
"""

from dataclasses import dataclass

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
    """A section of the page."""

    title: str
    text: str  # what the facts mean to a reader, without naming a version
    #: A label, and where its fact is recorded. A label with ``{}`` stands for each name below that.
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
