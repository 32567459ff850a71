"""An image, and the files of two explorers' pages."""

import pytest

from clipnotes.data import load_emoji
from clipnotes.explorer import explore, explore_text
from tiny_clip import PROMPT, TEXTS


@pytest.fixture(scope="module")
def tiger():
    emoji = load_emoji(style="noto", category="animal-mammal")
    return emoji[emoji["name"].index("tiger face")]["image"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def picture(clip, tiger, folder):
    """The file of an image's page."""
    return explore(clip, tiger, TEXTS).save(folder / "picture.html")


@pytest.fixture(scope="module")
def text(clip, folder):
    """The file of a text's page."""
    return explore_text(clip, PROMPT).save(folder / "text.html")
