"""The facts about transformers' versions that the book prints were seen in those versions."""

import pytest
import transformers

from clipnotes.compat import recorded
from facts import facts


def test_the_installed_version_still_does_what_was_recorded():
    known = recorded()
    if transformers.__version__ not in known:
        pytest.fail(f"nothing recorded for {transformers.__version__}: run python book/record.py")
    assert facts() == known[transformers.__version__]


def test_versions_come_oldest_first():
    assert next(iter(recorded())) == "4.49.0" and len(recorded()) >= 4
