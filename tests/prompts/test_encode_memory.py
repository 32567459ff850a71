"""With the smallest budget: one class and one context at once, and again for the gradient."""

import pytest
import torch

from clipnotes.prompts import encode as encoding
from clipnotes.prompts.layout import Layout


@pytest.mark.parametrize(
    ("n_classes", "n_contexts", "before", "after"),
    [(1, 1, 1, 1), (1, 2, 2, 4), (2, 1, 2, 4), (2, 2, 4, 8)],
)
def test_what_is_computed_in_parts_is_computed_again(
    clip, monkeypatch, n_classes, n_contexts, before, after
):
    layout = Layout.build(clip.tokenizer, ["tulip", "dog"][:n_classes], 2, limit=32)
    ctxs = torch.zeros(n_contexts, 2, 128, requires_grad=True)
    sizes, run = [], encoding.run_chunk

    def counted(tower, chunk, vectors):
        sizes.append(vectors.shape[1])
        return run(tower, chunk, vectors)

    monkeypatch.setattr(encoding, "run_chunk", counted)
    features = encoding.encode_each(clip.model, layout, ctxs, memory=1)
    assert sizes == [1] * before
    features[:, :, 0].sum().backward()
    assert sizes == [1] * after, "of one part alone, what was computed is kept"
    sizes.clear()
    encoding.encode_each(clip.model, layout, ctxs.detach(), memory=1)
    assert sizes == [1] * before
