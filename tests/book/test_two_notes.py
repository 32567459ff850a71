"""The page about the two notes: each point has a verdict, and what it links to is there.

The notes themselves are not in the repository, so what is known of them stands here: the names in
their code, and which of the recorded facts has changed since they were written.
"""

import re
from functools import cache
from typing import NamedTuple

import docutils.core
import pytest
import yaml
from myst_parser.parsers.docutils_ import Parser

from _tools import chapters
from clipnotes.compat import recorded
from prose_names import in_code_font, missing
from repository import ROOT, pages_in_toc

PAGE = chapters.REFERENCE / "two-notes.md"
PAGES = {ROOT / f"{page}.md" for page in pages_in_toc()}
TEXT = PAGE.read_text(encoding="utf-8")
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
ANCHORS = CONFIG["sphinx"]["config"]["myst_heading_anchors"]
VERDICTS = ("Holds", "Changed", "Wrong")
VERSION = re.compile(r"\b[45]\.\d+\b")
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]*)\)")

#: The classes, functions and modules in the notes' code, and the names that they give and miss.
THEIRS = """
    CLIPVisionModel CLIPImageProcessor CLIPVisionConfig CLIPVisionTransformer CLIPVisionEmbeddings
    CLIPEncoder CLIPEncoderLayer CLIPAttention CLIPMLP BaseModelOutput BaseModelOutputWithPooling
    CLIPModel CLIPOutput CLIPTextModel CLIPTextTransformer CLIPTextEmbeddings AutoProcessor
    CLIPTextLearnableEmbeddings
    nn.Embedding nn.Linear nn.Module nn.ModuleList nn.Parameter Conv2d LayerNorm ValueError
    forward expand from_pretrained _from_config load_state_dict state_dict register_buffer
    torch.matmul torch.randn torch.cat _get_vector_norm clip_loss _gradient_checkpointing_func
    class_embedding position_embedding position_ids pre_layrnorm post_layernorm norm_first
    last_hidden_state visual_projection text_projection logit_scale vision_model text_model
    embeddings token_embedding inputs_embeds learnable_prompts n_ctx start_idx end_idx batch_size
    CLIPTextModel.text_model model_info.path clip_model.text_model.embeddings
    causal_attention_mask use_return_dict
"""
NAMES = set(THEIRS.split())

#: What the answers speak of besides, and is no name in torch, transformers and clipnotes.
BESIDES = {"CLIPSdpaAttention", "modeling_clip"}

#: What the records know about points that have changed: words of the statement, and the question.
CHANGES = {
    "`CLIPVisionModel` holds one child": lambda facts: facts["vision_children"],
    "given two masks": lambda facts: len(facts["layer_gets"]),
    "A layer returns a tuple": lambda facts: facts["layer_returns"].split()[0],
    "The loop collects": lambda facts: facts["hidden_states_of_encoder_alone"],
    "`return_dict` decides": lambda facts: facts["return_dict_false_of_encoder"],
    "What the encoder returns": lambda facts: facts["hidden_states_of_encoder_alone"],
    "Without `pixel_values`": lambda facts: facts["without_pixel_values"],
    "names all that can be given": lambda facts: facts["text_chain"]["unset"],
    "takes the second entry": lambda facts: facts["vector_text_model_output"],
    "keeps what is inside": lambda facts: facts["text_model_of_clip"],
    "`CLIPTextModel` holds a": lambda facts: facts["classes"]["CLIPTextTransformer"],
    "holds the `CLIPTextEmbeddings`": lambda facts: facts["text_links"]["CLIPTextModel"],
}
#: What no record knows: it was older than all of them, or is a name inside a file.
UNRECORDED = (
    "takes `pixel_values` and",
    "`_gradient_checkpointing_func`",
    "the loss is `clip_loss`",
    "`use_return_dict` of the configuration",
)


class Point(NamedTuple):
    """A statement of the notes, and what the page says about it."""

    statement: str
    answer: str

    @property
    def links(self):
        return LINK.findall(self.answer)


def points(text):
    """Read the definition lists: a line, and the one that begins with a colon below it."""
    return [Point(*found) for found in re.findall(r"^(\S.*)\n: (.*)$", text, flags=re.MULTILINE)]


def verdicts(answer):
    return [word for word in re.findall(r"\*\*(\w+)\b", answer) if word in VERDICTS]


@cache
def sections(path):
    """{anchor: title} of a page's headings, as MyST makes them."""
    prose = chapters.prose(path.read_text(encoding="utf-8"))
    headings = "\n\n".join(re.findall(r"^#+ .*$", prose, flags=re.MULTILINE))
    settings = {"myst_heading_anchors": ANCHORS, "report_level": 5, "halt_level": 5}
    tree = docutils.core.publish_doctree(headings, parser=Parser(), settings_overrides=settings)
    return {anchor: title for anchor, (_, _, title) in tree.myst_slugs.items()}


def lost(link):
    """What is wrong with a link to a section, or None."""
    words, address = link
    target, _, anchor = address.partition("#")
    path = (PAGE.parent / target).resolve()
    if path not in PAGES:
        return f"{address}: there is no such page in the book"
    titles = sections(path)
    if anchor not in titles:
        return f"{address}: the page has no such section"
    number = re.match(r"\d+", path.stem)
    first = next(iter(titles.values()))  # of Versions of transformers, say Versions
    right = f"Chapter {int(number[0])}" if number else first.split()[0]
    right += f', "{titles[anchor]}"'
    return None if words.replace("`", "") == right else f"{address}: {words} should be {right}"


POINTS = points(TEXT)


def test_no_point_is_missed():
    assert "book/reference/two-notes" in pages_in_toc()
    assert len(POINTS) == len(re.findall(r"^:", TEXT, flags=re.MULTILINE)) > 50
    assert len({point.statement for point in POINTS}) == len(POINTS)
    # Below a heading with points stands nothing else.
    for section in re.split(r"^### .*$", TEXT, flags=re.MULTILINE)[1:]:
        body = section.partition("\n## ")[0]
        assert "\n\n".join("\n: ".join(point) for point in points(body)) == body.strip()


def test_each_point_has_one_verdict_and_begins_with_it():
    begins = tuple(f"**{word}" for word in VERDICTS)
    kinds = [(len(verdicts(a)), len(verdicts(s)), a.startswith(begins)) for s, a in POINTS]
    assert [point for point, kind in zip(POINTS, kinds, strict=True) if kind != (1, 0, True)] == []


def test_each_point_links_to_a_section_that_is_there():
    """What to do when a section was renamed or moved: link the one that shows it now."""
    assert [point for point in POINTS if not point.links] == []
    assert [said for point in POINTS for link in point.links if (said := lost(link))] == []


TOKEN = "02-from-pixels-to-tokens.md#the-class-token"


@pytest.mark.parametrize(
    ("words", "address", "said"),
    [
        ('Chapter 2, "The class token"', TOKEN, None),
        ('Chapter 2, "The class token"', f"{TOKEN}s", "no such section"),
        ('Chapter 2, "The class token"', TOKEN.partition("#")[0], "no such section"),
        ('Chapter 2, "The class token"', TOKEN.replace("02", "2"), "no such page"),
        ('Chapter 3, "The class token"', TOKEN, "should be Chapter 2"),
        ('Chapter 2, "The token"', TOKEN, 'should be Chapter 2, "The class token"'),
    ],
)
def test_a_lost_link_is_found(words, address, said):
    found = lost((words, f"../chapters/{address}"))
    assert found is None if said is None else said in found


def test_anchors_are_those_of_myst(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A `b_c`: D's?\n\nText.\n\n## Two\n\n```{code-cell}\n# no\n```\n\n## Two\n")
    assert list(sections(page)) == ["a-b_c-ds", "two", "two-1"]


def test_other_links_lead_to_pages():
    introduction = TEXT.partition("\n## ")[0]
    found = [address for _, address in LINK.findall(introduction)]
    assert found
    assert all((PAGE.parent / address).is_file() for address in found)


def test_the_counts_are_right():
    said = re.search(r"Of the (\d+) points below, (\d+) hold, (\d+) have changed and (\d+)", TEXT)
    kinds = [verdict for point in POINTS for verdict in verdicts(point.answer)]
    assert [int(n) for n in said.groups()] == [len(kinds), *map(kinds.count, VERDICTS)]


def since(question):
    """The first version that answers otherwise than the oldest one."""
    first, *others = recorded().items()
    return next(version for version, facts in others if question(facts) != question(first[1]))


@pytest.mark.parametrize("words", CHANGES)
def test_what_changed_is_what_was_recorded(words):
    (point,) = (point for point in POINTS if words in point.statement)
    version = ".".join(since(CHANGES[words]).split(".")[:2])
    assert verdicts(point.answer) == ["Changed"]
    assert version in VERSION.findall(point.answer)


def test_every_change_is_accounted_for_and_names_a_tested_version():
    known = {".".join(version.split(".")[:2]) for version in recorded()}
    changed = [point for point in POINTS if verdicts(point.answer) == ["Changed"]]
    assert len(changed) == len(CHANGES) + len(UNRECORDED)
    for point in changed:
        assert VERSION.search(point.answer), point.statement
        assert sum(words in point.statement for words in [*CHANGES, *UNRECORDED]) == 1
    assert set(VERSION.findall(TEXT)) <= known


def test_every_class_and_function_of_the_notes_is_spoken_of():
    said = " ".join(code for code, _ in in_code_font(TEXT))
    there = {name for name in NAMES if re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", said)}
    assert NAMES - there == set()


def test_names_in_code_font_are_there_or_are_the_notes():
    own = BESIDES.union(*(name.split(".") for name in NAMES))
    found = {code: missing(code, own) for code, _ in in_code_font(TEXT) if code not in NAMES}
    assert {code: wrong for code, wrong in found.items() if wrong} == {}
    assert missing("CLIPTextLearnableEmbedding", own)
