"""The files of two pages of annotated source."""

import pytest
import torch

from annotated_page import notes
from clipnotes.trace.annotation import annotate
from clipnotes.trace.notes_html import notes_page


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The file of the page of a small model."""
    file = tmp_path_factory.mktemp("annotated") / "small.html"
    file.write_text(notes_page(notes()), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def whole(tmp_path_factory, clip):
    """The file of the page of the whole CLIPModel."""
    inputs = clip.tokenize(["a red fox", "a tulip"])
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    remarks = {"CLIPModel.forward": {"def": "Two towers with `one` space."}}
    found = annotate(clip.model, **inputs, pixel_values=pixels, deep=True, notes=remarks)
    file = tmp_path_factory.mktemp("annotated") / "whole.html"
    file.write_text(found.to_html(), encoding="utf-8")
    return file
