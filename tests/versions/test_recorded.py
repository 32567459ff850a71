"""The facts about transformers' versions that the book prints were seen in those versions."""

import pytest
import transformers

from _tools.versions.facts import facts
from clipnotes.compat import recorded


def test_the_installed_version_still_does_what_was_recorded():
    known = recorded()
    if transformers.__version__ not in known:
        pytest.fail(f"nothing recorded for {transformers.__version__}: run `make record`")
    assert facts() == known[transformers.__version__]


def test_clip_preprocess_gives_the_same_numbers_in_every_version():
    found = recorded().values()
    for known in found:
        for source in ("transparent_red", "transparent_red_of_a_palette"):
            assert known[source]["clip.preprocess"] == "255 255 255"
    alone = {known["transparent_red"]["the processor alone"] for known in found}
    assert alone == {"255 0 0", "255 255 255"}  # which is why it does more than the processor
    (same,) = {tuple(known["checksum_of_what_clip_preprocess_gives"].items()) for known in found}
    assert len({checksum for _, checksum in same}) == len(same)
