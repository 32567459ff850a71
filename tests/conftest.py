"""What every test shares: no network, few threads, and one loaded model."""

import importlib.util
import logging
import os
import re
from importlib.metadata import version
from pathlib import Path

import pytest

from strict import STRICT

ROOT = Path(__file__).resolve().parent.parent

# Before torch is imported anywhere: a machine with many cores is not faster on models this small.
os.environ.setdefault("OMP_NUM_THREADS", "2")
# Of several test processes each has one thread: two that wait for the same core wait long. What
# stands there already is the line above, from the process that started this one.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"


def _block_the_network():
    """Load the guard by its path: its name, sitecustomize, may be taken in this process."""
    path = ROOT / "book" / "_tools" / "_offline" / "sitecustomize.py"
    spec = importlib.util.spec_from_file_location("clipnotes_offline", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.block()


_block_the_network()


DEPRECATED = re.compile(r"deprecat|will be removed", flags=re.IGNORECASE)


def pytest_configure(config):
    """Under the newest transformers a deprecation warning is an error.

    A warning counts for the file that `stacklevel` points at, and that may be ours or anybody's:
    so all count, but those of torch, which transformers and the tests reach through it.
    """
    if STRICT:
        for category in ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning"):
            config.addinivalue_line("filterwarnings", f"error::{category}")
            config.addinivalue_line("filterwarnings", rf"default::{category}:torch\b")


class Deprecations(logging.Handler):
    """Keeps what transformers says in its log about things that it will drop."""

    def __init__(self):
        super().__init__()
        self.said = []

    def emit(self, record):
        if DEPRECATED.search(record.getMessage()):
            self.said.append(record.getMessage())


@pytest.fixture(autouse=True)
def no_deprecations_in_the_log():
    """Transformers writes most deprecations to its log, where no warnings filter sees them."""
    handler, log = Deprecations(), logging.getLogger("transformers")
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)
    if STRICT:
        assert handler.said == []


def pytest_report_header():
    """Say which versions this run is about."""
    names = ("torch", "transformers", "datasets")
    return ", ".join(f"{name} {version(name)}" for name in names)


@pytest.fixture(scope="session")
def clip():
    """The embedded Emoji-CLIP, loaded once a run. Whoever changes it works on a deep copy."""
    import clipnotes

    return clipnotes.load()


@pytest.fixture(scope="module")
def browser():
    """Chromium. It ends with the module, as its event loop would disturb others."""
    from browser import started_browser

    with started_browser() as started:
        yield started


@pytest.fixture(scope="module")
def site():
    """The address of the built book, served as a host would serve it."""
    import built

    if not STRICT:
        pytest.skip("the book is built with the newest version of transformers only")
    if not built.is_fresh():
        pytest.skip("the book is not built, or something changed since: run make book first")
    with built.served(built.FOLDER) as address:
        yield address


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
    from clipnotes.trace import trace
    from tracing import clip_inputs

    return trace(tiny, **clip_inputs(tiny))


@pytest.fixture
def nothing_shown(monkeypatch):
    """For the tests of figures: none calls show, and none is left behind."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("Agg")
    monkeypatch.setattr(plt, "show", lambda *_: pytest.fail("a figure function called show"))
    yield
    plt.close("all")
