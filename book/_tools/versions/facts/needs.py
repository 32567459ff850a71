"""What this version asks for beside itself: its metadata, which pip reads."""

from __future__ import annotations

from importlib.metadata import metadata, requires

from packaging.requirements import Requirement


def facts() -> dict[str, object]:
    """The releases of Python, torch and huggingface-hub that go with it."""
    wanted = {}
    for need in map(Requirement, requires("transformers") or []):
        if need.marker is None or need.marker.evaluate({"extra": "torch"}):
            wanted[need.name] = str(need.specifier)
    return {
        "needs": {
            "Python": metadata("transformers")["Requires-Python"],
            **{name: wanted[name] for name in ("torch", "huggingface-hub")},
        }
    }
