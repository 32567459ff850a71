"""Sphinx extension: types of arguments lead to their documentation, in this book or elsewhere.

Inventories list `torch.nn.Module`; a signature has where it is defined, `torch.nn.modules.module`.
"""

from types import FunctionType
from typing import Any, get_type_hints

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.intersphinx import missing_reference

from _tools.inventories import also_called


def look_up(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> Any:
    """Resolve a reference that nothing in the book answers to."""
    name = also_called().get(node.get("reftarget", ""))
    if name is None:
        return None
    node["reftarget"] = name
    return missing_reference(app, env, node, content)


def name_types(app: Sphinx, thing: Any, bound: bool) -> None:
    """Annotate with types, not names: autodoc omits classes documented outside their module."""
    if isinstance(thing, FunctionType):
        thing.__annotations__ = get_type_hints(thing)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the hooks."""
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.intersphinx")
    app.connect("autodoc-before-process-signature", name_types)
    app.connect("missing-reference", look_up)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
