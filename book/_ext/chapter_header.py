"""Sphinx extension: what a chapter asks of its reader stands on top of it, with its buttons.

A paragraph of the source begins with "You need". It moves below the first one, the chapter's
question. The chapters that it names become links, and below come the time that the page takes and
the buttons. What the reader will be able to do is folded, so that the page begins with its matter.
"""

import re
from pathlib import PurePosixPath
from typing import Any

from docutils import nodes
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.transforms import SphinxTransform

from _tools import ROOT, page_shape
from _tools.failed import failure

CHAPTERS = "book/chapters/"
OPENING = "You need "
AIMS = "You will be able to"
#: "chapter 5", "chapters 3" and, of a list that goes on after it, "6".
NUMBER = re.compile(r"(?:chapters? )?\b(\d+)\b")


def spoken(seconds: float) -> str:
    """Say how long something took, as one would tell a person."""
    minutes, rest = divmod(max(1, round(seconds)), 60)
    parts = [(minutes, "minute"), (rest, "second")]
    return " ".join(f"{n} {unit}{'s' * (n != 1)}" for n, unit in parts if n)


def chapter_pages(env: BuildEnvironment) -> dict[int, str]:
    """Return the chapters' pages by the number in their file name."""
    names = (PurePosixPath(page) for page in env.found_docs if page.startswith(CHAPTERS))
    return {int(name.name.split("-")[0]): str(name) for name in names}


def time_needed(page: str) -> str:
    """Say how long a chapter takes a person."""
    reading, exercises = page_shape.minutes(ROOT / f"{page}.md")
    more = f", and {exercises} more for the exercises" if exercises else ""
    return f" Allow about {reading} minutes to read{more}."


def folded(paragraph: nodes.paragraph) -> list[nodes.Node]:
    """Fold the list that follows a paragraph, under the paragraph's own words."""
    following = paragraph.next_node(nodes.bullet_list, descend=False, siblings=True)
    if following is None:
        raise ExtensionError(f"no list follows {paragraph.astext()!r}")
    for moved in (paragraph, following):
        moved.parent.remove(moved)
    begin = f'<details class="fold"><summary>{paragraph.astext()} …</summary>'
    return [
        nodes.raw("", begin, format="html"),
        following,
        nodes.raw("", "</details>", format="html"),
    ]


def with_links(text: str, pages: dict[int, str], here: str) -> list[nodes.Node]:
    """Turn each chapter number in a text into a link to that chapter."""
    found: list[nodes.Node] = []
    end = 0
    for match in NUMBER.finditer(text):
        if int(match[1]) not in pages:
            raise ExtensionError(f"{here} needs chapter {match[1]}, which is not there: {text!r}")
        to = {"reftarget": f"/{pages[int(match[1])]}", "refdoc": here, "refwarn": True}
        kind = {"refdomain": "std", "reftype": "doc", "refexplicit": True}
        link = addnodes.pending_xref("", nodes.inline("", match[0]), **kind, **to)
        found += [nodes.Text(text[end : match.start()]), link]
        end = match.end()
    return [*found, nodes.Text(text[end:])]


def buttons(page: str, options: dict[str, Any]) -> nodes.paragraph:
    """Make the row of buttons; the repository's address comes from the theme's options."""
    repository, branch = options["repository_url"], options["repository_branch"]
    colab = options["launch_buttons"]["colab_url"]
    project = repository.removeprefix("https://github.com/")
    elsewhere = {
        "Open in Colab": f"{colab}/github/{project}/blob/{branch}/{page}.ipynb",
        "Edit on GitHub": f"{repository}/edit/{branch}/{page}.md",
    }
    row = nodes.paragraph(classes=["chapter-buttons"])
    for said, address in elsewhere.items():
        row += nodes.reference("", said, refuri=address)
    for place, form in enumerate((".ipynb", ".md"), start=1):
        to = {"reftarget": f"/{page}{form}", "refdoc": page, "refwarn": True}
        link = addnodes.download_reference("", "", nodes.inline("", f"Download {form}"), **to)
        row.insert(place, link)
    return row


class ChapterHeader(SphinxTransform):
    """Makes the header of a chapter out of its paragraph about what one needs."""

    default_priority = 300  # long before downloads are collected and references resolved

    def apply(self, **kwargs: Any) -> None:
        """Change the page, if it is a chapter's."""
        page = self.env.docname
        if not page.startswith(CHAPTERS):
            return
        needs = [
            p for p in self.document.findall(nodes.paragraph) if p.astext().startswith(OPENING)
        ]
        ran = NbMetadataCollector.get_exec_data(self.env, page)
        if len(needs) != 1 or ran is None or ran["runtime"] is None:
            raise ExtensionError(
                f"{page} has {len(needs)} paragraphs that begin with {OPENING!r}, and the time of "
                f"its run is {ran and ran['runtime']}. A chapter needs one paragraph and a time."
            )
        (paragraph,) = needs
        question = next(paragraph.parent.findall(nodes.paragraph))
        aims = [p for p in self.document.findall(nodes.paragraph) if p.astext() == AIMS]
        took = f" When this page was made, its cells took {spoken(ran['runtime'])}."
        if failure(PurePosixPath(page).name):
            took = ""  # not all of them ran
        parts = with_links(paragraph.astext(), chapter_pages(self.env), page)
        header = nodes.container(classes=["chapter-header"])
        header += nodes.paragraph("", "", *parts, nodes.Text(time_needed(page) + took))
        header += [node for paragraph in aims for node in folded(paragraph)]
        header += buttons(page, self.config.html_theme_options)
        paragraph.parent.remove(paragraph)
        question.parent.insert(question.parent.index(question) + 1, header)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform."""
    app.add_transform(ChapterHeader)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
