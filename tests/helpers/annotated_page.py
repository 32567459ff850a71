"""A small model whose annotated source is shown as a page, and what a browser shows of that."""

import torch
from torch import nn

from clipnotes.trace.annotation import annotate

REMARKS = {
    "Outer.forward": {
        "def": "A `Layer` takes what the last one gave.\n\nSecond <paragraph>.",
        "hidden = self.norm": "It ends here.",
    }
}


class Layer(nn.Module):
    def forward(self, x, scale=None):
        residual = x
        y = x * 2
        return residual + y


class Outer(nn.Module):
    """Two layers that run alike, and one on the way out."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Layer(), Layer()])
        self.norm = Layer()

    def forward(
        self,
        hidden,
        words: str = "<b>&amp;",
    ):
        """Say what it does.

        And <more> of it, down here.
        """
        for layer in self.layers:
            hidden = layer(hidden)
        if hidden is None:
            raise ValueError(f"<b>{words}</b> & never")
        kept, total = hidden, 0.5
        # é: two bytes before a name
        parts = {"é": kept, "sums": [kept.sum() for kept in kept]}
        hidden = self.norm(
            kept,
            scale=total,
        )
        return hidden, parts


def notes(**changes):
    """Its notes as a dict."""
    return annotate(Outer(), torch.ones(2, 3), deep=True, notes=REMARKS).to_dict() | changes


def call(page, name):
    """The button of a call."""
    return page.get_by_role("button", name=name, exact=True)


def lit(page):
    """The names that are lit."""
    return page.locator("code .cn-lit").all_text_contents()


def shown(page):
    """The lines that are to be seen."""
    return page.locator(".cn-line:visible").count()


def unfold(page):
    """Open all that can be opened."""
    page.locator("details").evaluate_all("(all) => all.forEach((one) => { one.open = true; })")
