"""What the newest version of transformers deprecates is an error in every test."""

import logging
import warnings

import pytest

from strict import STRICT


def test_the_log_is_watched_for_deprecations(no_deprecations_in_the_log):
    log = logging.getLogger("transformers.models.clip")
    log.warning("the `old` name is deprecated")
    log.warning("an ordinary warning")
    assert no_deprecations_in_the_log.said == ["the `old` name is deprecated"]
    no_deprecations_in_the_log.said.clear()


@pytest.mark.parametrize("category", [DeprecationWarning, FutureWarning])
def test_deprecation_warnings_are_errors_under_the_newest(category):
    if STRICT:
        with pytest.raises(category):
            warnings.warn("old", category, stacklevel=1)
    else:
        with pytest.warns(category):
            warnings.warn("old", category, stacklevel=1)
