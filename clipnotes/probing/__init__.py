"""What kind of two-tower model this is, measured on the model and not read off its name.

Relatives of CLIP share its methods and differ in what these do: where a text is read out, whether
padding changes it, which loss the logits are made for. ``probe`` runs a model on a few random texts
and images, looks at what moves when one thing is changed, and writes the answers in a table.

Below, B is the batch size, L the number of tokens, N of patches, D the width of a tower and P the
width of the space that both towers share.
"""

from clipnotes.probing.report import Probe
from clipnotes.probing.run import probe

__all__ = ["Probe", "probe"]
