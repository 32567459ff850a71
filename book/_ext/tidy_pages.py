"""Sphinx extension: take from each page what this book does not use."""

from typing import Any

from sphinx.application import Sphinx


def drop_thebe(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Drop thebe's scripts.

    Jupyter Book always loads sphinx-thebe, which puts its script on every page twice; the second
    load is an error in the reader's console. The book has no thebe button.
    """
    kept = [script for script in context.get("script_files", []) if "thebe" not in str(script)]
    context["script_files"] = kept


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the hook, after those of the other extensions."""
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
