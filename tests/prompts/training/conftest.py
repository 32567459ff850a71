"""The features of a few pictures."""

import pytest

from few_pictures import fruits


@pytest.fixture(scope="module")
def shots(clip):
    """Features and names of three pictures a class."""
    images, names = fruits()
    return clip.encode_image(images), names
