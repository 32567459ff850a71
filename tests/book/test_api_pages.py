"""The API pages hold every public name, and say where the book first uses it."""

import importlib
import re

import pytest
from sphinx.util.inventory import InventoryFile

from _ext import documented_names, first_used
from _tools import build, chapters, inventories
from repository import ROOT

REFERENCE = ROOT / "book" / "reference"
PAGE = re.compile(r"^\.\. automodule:: (\S+)$", re.MULTILINE)
LIST = re.compile(
    r"^\.\. currentmodule:: (\S+)\n\n\.\. autosummary::\n.*?\n\n((?:   \w+\n)+)", re.M
)
LINE = re.compile(r"First used in .*?chapter \d+|No chapter uses it by name")


def public_names(module):
    """The names of `__all__`, or else what is defined in the module and has no underscore."""
    module = importlib.import_module(module)
    defined = [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__
    ]
    return list(getattr(module, "__all__", defined))


def is_constant(module, name):
    thing = getattr(importlib.import_module(module), name)
    return not isinstance(thing, type) and not callable(thing)


def pages():
    """Module -> the text of its page."""
    texts = [path.read_text(encoding="utf-8") for path in (REFERENCE / "api").glob("*.md")]
    return {PAGE.search(text)[1]: text for text in texts}


def listed():
    """Module -> its names on the overview."""
    text = (REFERENCE / "api.md").read_text(encoding="utf-8")
    return {module: names.split() for module, names in LIST.findall(text)}


def test_every_module_that_the_book_takes_names_from_has_a_page():
    rooms = {"clipnotes"}
    for chapter in chapters.chapters():
        for module, name in first_used.uses(chapter.read_text(encoding="utf-8")):
            inner = first_used.module_or_none(f"{module}.{name}")
            parts = (f"{module}.{name}" if inner else module).split(".")
            if parts[0] == "clipnotes":
                rooms.add(".".join(parts[:2]))
    assert len(rooms) > 8
    assert rooms == set(pages())


def test_the_overview_lists_every_public_name_and_no_other():
    assert {m: sorted(names) for m, names in listed().items()} == {
        module: sorted(public_names(module)) for module in pages()
    }


@pytest.mark.parametrize("module", sorted(pages()))
def test_a_page_describes_its_constants(module):
    # Functions and classes come by themselves, as members of the module.
    constants = {name for name in public_names(module) if is_constant(module, name)}
    assert set(re.findall(r"^\.\. autodata:: (\w+)$", pages()[module], re.M)) == constants


def test_every_public_name_is_on_the_built_pages():
    if not build.DIGEST.exists() or build.DIGEST.read_text() != build.sources_digest():
        pytest.skip("the book is not built, or something changed since: run make book first")
    with (build.HTML / "objects.inv").open("rb") as file:
        known = InventoryFile.load(file, "", lambda base, path: path)
    for module in pages():
        names = public_names(module)
        kinds = ("py:class", "py:function", "py:data")
        found = {name for kind in kinds for name in known[kind]}
        assert {f"{module}.{name}" for name in names} <= found
        page = build.HTML / "book" / "reference" / "api" / f"{module.split('.')[-1]}.html"
        assert len(LINE.findall(page.read_text(encoding="utf-8"))) >= len(names)


# Where a name is first used

CHAPTER = """\
```{code-cell} ipython3
:tags: [hide-input]

%matplotlib inline
import clipnotes as notes
from clipnotes import plots as p
from clipnotes.model.encoder import MLP
```

```{code-cell} ipython3
---
mystnb:
  image:
    alt: A map
---
_ = p.maps(notes.load())
maps.patches
```

`plots.curves` in prose, and code that is no cell:

```python
p.confusion()
```
"""


def test_uses_are_found():
    assert set(first_used.uses(CHAPTER)) == {
        ("clipnotes", "plots"),
        ("clipnotes.model.encoder", "MLP"),
        ("clipnotes.plots", "maps"),
        ("clipnotes", "load"),
        ("", "patches"),
    }


def test_the_first_chapter_counts_also_for_a_name_that_comes_from_an_inner_module(monkeypatch):
    used = [
        ("01-a", [("clipnotes.plots", "maps"), ("other", "Attention"), ("clipnotes.data", "fit")]),
        ("02-b", [("clipnotes.model.encoder", "Attention"), ("clipnotes.plots.theme", "INK")]),
        ("03-c", [("clipnotes.model", "Attention"), ("clipnotes.plots", "maps")]),
    ]
    monkeypatch.setattr(first_used, "chapters_uses", lambda: used)
    assert first_used.first_chapter("clipnotes.plots", "maps") == "01-a"
    assert first_used.first_chapter("clipnotes.model", "Attention") == "02-b"
    assert first_used.first_chapter("clipnotes.prompts", "fit") is None


def test_what_is_said_about_the_book_s_own_chapters():
    assert first_used.first_chapter("clipnotes", "load") == "01-meet-the-model"
    assert first_used.first_chapter("clipnotes.model", "quick_gelu").startswith("03-")
    for module in pages():
        for name in public_names(module):
            chapter = first_used.first_chapter(module, name)
            text = (chapters.CHAPTERS / f"{chapter}.md").read_text("utf-8") if chapter else name
            assert re.search(rf"\b{name}\b", text), f"{module}.{name} is not in {chapter}"


# What a docstring becomes


def test_names_that_share_a_description_get_a_line_each():
    lines = ["", ":ivar a, b: Of both,", "    further down.", ":param c: One."]
    first_used.one_name_each(None, "class", "x", None, None, lines)
    said = [":ivar a: Of both,", "    further down.", ":ivar b: Of both,", "    further down."]
    assert lines == ["", *said, ":param c: One."]


def test_a_constant_is_described_by_the_comment_beside_it():
    assert first_used.comment_of(None, "clipnotes.plots.HEAT")[0].startswith("One colour map")
    assert first_used.comment_of(None, "clipnotes.prompts.METHODS")


# Names of other projects


def test_the_inventories_are_up_to_date():
    assert inventories.main(["--check"]) == 0, "run `python book/_tools inventories`"
    assert {p.stem for p in inventories.FOLDER.iterdir()} == set(inventories.PAGES)


def test_a_name_that_is_not_installed_does_not_get_into_an_inventory(monkeypatch):
    monkeypatch.setitem(inventories.PAGES, "torch", {"torch.nn.Modul": "nn.html"})
    with pytest.raises(AttributeError):
        inventories.text("torch")


def test_a_class_is_known_under_its_documented_name():
    names = inventories.also_called()
    assert names["torch.nn.modules.module.Module"] == "torch.nn.Module"
    assert names["matplotlib.axes._axes.Axes"] == "matplotlib.axes.Axes"


def test_annotations_hold_types():
    def function(a: "int") -> "list[str]": ...

    documented_names.name_types(None, function, False)
    assert function.__annotations__ == {"a": int, "return": list[str]}


@pytest.mark.parametrize("module", pages())
def test_no_description_is_one_letter(module):
    """Sphinx would take "D." for the fourth line of a list, and show an empty one."""
    found = importlib.import_module(module)
    things = [getattr(found, name) for name in public_names(module)]
    classes = [thing for thing in things if isinstance(thing, type)]
    things += [member for one in classes for member in vars(one).values()]
    described = "\n".join(getattr(thing, "__doc__", None) or "" for thing in things)
    assert re.findall(r"^ +\*{0,2}\w+: \w\.$", described, re.MULTILINE) == []
