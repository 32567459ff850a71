"""A hub for the tests of what is shared."""

import pytest

import some_hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on loopback, which the hub's library asks in this process; with an empty cache."""
    with some_hub.served() as hub:
        hub.cache = tmp_path / "cache"
        hub.cache.mkdir()
        some_hub.point_at(hub, hub.cache, monkeypatch)
        yield hub
    some_hub.forget_connections()
