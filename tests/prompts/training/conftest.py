"""The features of a few images."""

import pytest

from few_pictures import fruits


@pytest.fixture(scope="module")
def shots(clip):
    """Features and names of three images per class."""
    images, names = fruits()
    return clip.encode_image(images), names
