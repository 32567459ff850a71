"""A hub for the tests of what is shared."""

import pytest

import some_hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on loopback, which the hub's library asks in this process; with an empty cache."""
    with some_hub.asked_here(tmp_path, monkeypatch) as hub:
        yield hub
