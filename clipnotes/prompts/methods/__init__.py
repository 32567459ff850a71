"""The table of all methods, and the one call that loads what any of them has learned."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from clipnotes.checkpoints import Clip
from clipnotes.prompts.learner import Learner
from clipnotes.prompts.methods.cocoop import COCOOP
from clipnotes.prompts.methods.coop import COOP, CSC
from clipnotes.prompts.methods.kgcoop import KGCOOP
from clipnotes.prompts.methods.lora import LORA
from clipnotes.prompts.methods.lp_plus_plus import LP_PLUS_PLUS
from clipnotes.prompts.methods.maple import MAPLE
from clipnotes.prompts.methods.prolip import PROLIP
from clipnotes.prompts.methods.promptsrc import PROMPTSRC
from clipnotes.prompts.methods.published import Published
from clipnotes.prompts.methods.tip import TIP
from clipnotes.prompts.methods.vpt import VPT_DEEP
from clipnotes.prompts.saved.card import damaged
from clipnotes.prompts.saved.hub import find_prompt
from clipnotes.prompts.saved.page import PAPERS
from clipnotes.prompts.saved.storage import FILE, read_prompt

#: Every method by its short name, as its authors published it.
PUBLISHED: Mapping[str, Published] = {
    method.name: method
    for method in (
        *(COOP, CSC, KGCOOP, COCOOP, VPT_DEEP, MAPLE, PROMPTSRC, LORA),
        *(TIP, LP_PLUS_PLUS, PROLIP),
    )
}

#: The classes of learners by the name of their method, which stands on the card of a saved prompt.
METHODS: Mapping[str, type[Learner]] = {
    published.learner.method: published.learner for published in PUBLISHED.values()
}

# A page on the hub names the paper, and is made on a lower floor than this one.
PAPERS.update({name: (method.title, method.paper) for name, method in PUBLISHED.items()})


def load_prompt(
    folder: str | os.PathLike[str], clip: Clip, classnames: Sequence[str] | None = None
) -> Learner:
    """Load what a learner has saved, whichever method it is of, from a folder or from the hub.

    A folder of this machine comes first. A text ``"name/name"`` that is no folder here is a
    repository of the Hugging Face hub, which ``push_prompt`` or ``push_to_hub`` has filled: one
    file is fetched from it, checked, and kept in the hub's cache, and nothing is unpickled.
    ``"./name/name"``, or a ``Path``, is never taken for a repository. Without a connection, or with
    ``HF_HUB_OFFLINE=1``, what is in the cache opens.

    Args:
        folder: Written by a learner's ``save``; or a repository, as ``"me/my-prompt"``.
        clip: The model that it was learned with.
        classnames: Other classes, if nothing that was learned belongs to one class. None: those it
            was learned with.

    Returns:
        A learner of the class that wrote it.

    Raises:
        ValueError: As the ``load`` of that class, or the method is not known here; no such
            repository, or one without a prompt.
        ConnectionError: It is not in the cache, and the hub cannot be reached, or the connection
            broke off.

    Example:
        >>> import clipnotes, tempfile
        >>> from clipnotes.prompts import PromptLearner
        >>> clip, folder = clipnotes.load(), tempfile.mkdtemp()
        >>> PromptLearner(clip, ["rose", "tulip"], n_ctx=4).save(folder)
        >>> type(load_prompt(folder, clip)).__name__
        'PromptLearner'
    """
    folder = find_prompt(folder)
    method = read_prompt(folder)[1]["method"]
    if method not in METHODS:
        file = folder / FILE
        known = ", ".join(sorted(METHODS))
        raise damaged(file, f"it is of the method {method!r}, and there are {known}")
    return METHODS[method].load(folder, clip, classnames)
