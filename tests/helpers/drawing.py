"""What the tests of the figures share."""

import numpy as np


def drawn(ax):
    """The numbers of the first image in an Axes."""
    return np.asarray(ax.images[0].get_array())
