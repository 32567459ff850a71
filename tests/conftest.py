"""What every test shares: no network, few threads, and one loaded model."""

import importlib.util
import os
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Before torch is imported anywhere: a machine with many cores is not faster on models this small.
os.environ.setdefault("OMP_NUM_THREADS", "2")


def _block_the_network():
    """Load the guard by its path: its name, sitecustomize, may be taken in this process."""
    path = ROOT / "book" / "_offline" / "sitecustomize.py"
    spec = importlib.util.spec_from_file_location("clipnotes_offline", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.block()


_block_the_network()


def pytest_report_header():
    """Say which versions this run is about."""
    names = ("torch", "transformers", "datasets")
    return ", ".join(f"{name} {version(name)}" for name in names)


@pytest.fixture(scope="session")
def clip():
    """The embedded Emoji-CLIP, loaded once a run. Whoever changes it works on a deep copy."""
    import clipnotes

    return clipnotes.load()


@pytest.fixture(scope="session")
def root():
    """The repository's folder."""
    return ROOT


@pytest.fixture(scope="session")
def tiny():
    """A small CLIPModel with random weights, for the tests of the call tracer."""
    from reference import tiny_clip

    return tiny_clip(0)


@pytest.fixture(scope="session")
def calls(tiny):
    """Its call chain."""
    from tracing import clip_inputs

    from clipnotes.trace import trace

    return trace(tiny, **clip_inputs(tiny))
