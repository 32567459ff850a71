"""What was learned, on the Hugging Face hub: put there by one person, opened there by another.

The hub is asked only after somebody has named a repository, and only its own library asks it. Of a
repository one file is fetched: ``prompt.safetensors``, which holds the card too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clipnotes.prompts.saved.page import PAGE, is_repo_id, page
from clipnotes.prompts.saved.storage import COPY, FILE, pack, read_prompt, readable

LOG_IN = (
    "make a token at https://huggingface.co/settings/tokens, then log in once with "
    "`hf auth login`, or set HF_TOKEN"
)
MESSAGE = "Upload a prompt of clipnotes"  # of a commit, unless the user has another
# What a repository may hold before the first push, as the hub's own form makes it.
BLANK = {".gitattributes", PAGE}


def find_prompt(name: str | os.PathLike[str]) -> Path:
    """Give the folder of a prompt: the one that was named, or where the hub's was put.

    What is there on this machine comes first. A text ``name/name`` that is not there is a
    repository of the hub; a ``Path`` never is.
    """
    path = Path(name).expanduser()
    if os.path.lexists(path) or not isinstance(name, str) or not is_repo_id(name):
        return path  # whoever reads it says what is missing
    return _fetch(name)


def _fetch(repo_id: str) -> Path:
    """Fetch a prompt unless the cache has it as it is on the hub, and look into it."""
    from huggingface_hub import hf_hub_download

    try:
        file = Path(hf_hub_download(repo_id, FILE))  # renamed into its place only when it is whole
    except Exception as error:  # what connections raise has another class in each version
        raise _not_fetched(repo_id, error) from error
    try:
        read_prompt(file.parent)
    except ValueError as error:
        raise ValueError(
            f"the prompt {repo_id} of the hub cannot be used: {error}. That is for its owner to "
            "do; if it is the download that was damaged, remove "
            f"{file.parent.parent.parent} and try again"
        ) from error
    return file.parent


def _not_fetched(repo_id: str, error: Exception) -> Exception:
    """Say why there is no prompt, and what to do."""
    from huggingface_hub import constants, errors

    here = f"{repo_id} is not a folder here"
    if isinstance(error, errors.RepositoryNotFoundError):  # a gated one, too
        return ValueError(
            f"{here}, and the hub shows you no repository of this name: check both names. If it is "
            f"private or gated, ask its owner for access, and {LOG_IN}"
        )
    if isinstance(error, errors.LocalEntryNotFoundError):
        if constants.HF_HUB_OFFLINE:
            return ConnectionError(
                f"{here}, and not in the hub's cache, and HF_HUB_OFFLINE keeps us from asking the "
                "hub: unset it, or open the prompt once while it is not set"
            )
        return ConnectionError(
            f"{here}, not in the hub's cache, and the hub cannot be reached "
            f"({_reason(error.__cause__ or error)}): try again when it can, or give a folder"
        )
    if isinstance(error, (errors.EntryNotFoundError, errors.RevisionNotFoundError)):
        return ValueError(
            f"the repository {repo_id} of the hub holds no prompt: {FILE} is missing; give one "
            "that `clipnotes push` has filled"
        )
    return ConnectionError(
        f"the download of {repo_id} stopped ({_reason(error)}), and nothing was loaded: try again"
    )


def check_push(repo_id: str, token: str | None = None, commit_message: str = MESSAGE) -> str:
    """Check what a push needs, without asking the hub; return the token."""
    from huggingface_hub import constants, get_token

    if not isinstance(repo_id, str) or not is_repo_id(repo_id):
        raise ValueError(
            f"{repo_id!r} names no repository of the hub: give your name there and a new one, as "
            "in me/my-prompt; letters, digits, and single -, _ and . inside a name"
        )
    if not commit_message.strip():
        raise ValueError("commit_message is blank; give a line that says what is new, or leave it")
    if constants.HF_HUB_OFFLINE:
        raise ValueError(f"HF_HUB_OFFLINE is set, so nothing can go to {repo_id}: unset it")
    token = token or get_token()
    if not token:
        raise ValueError(f"there is no token, without which the hub lets nobody write: {LOG_IN}")
    return token


def push_prompt(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    commit_message: str = MESSAGE,
) -> str:
    """Put a saved prompt on the Hugging Face hub, where ``load_prompt(repo_id, clip)`` opens it.

    The repository is made if there is none. It gets ``prompt.safetensors``, ``card.json`` and a
    page, ``README.md``, which is made from the card, in one commit: all of it or nothing. A later
    push replaces all three, the page too. Where the card names a folder of this machine as the
    model, the copy on the hub does not: nobody there could open it.

    Args:
        folder: Written by a learner's ``save``, or by ``clipnotes learn``.
        repo_id: Your name on the hub and one for the prompt, as in ``"me/my-prompt"``.
        private: Whether a new repository is for you alone.
        token: One that may write. None: that of ``hf auth login``, or ``HF_TOKEN``.
        commit_message: What the repository's history says.

    Returns:
        The address of its page.

    Raises:
        ValueError: No such name, no token, no prompt in the folder: the hub has not been asked
            then. Or the hub does not know the token, or does not let it write there; the repository
            holds something else; it is public, and ``private`` was asked for.
        ConnectionError: The hub could not be reached, or did not take it. Call it again.

    Example:
        >>> push_prompt("prompt", "my-prompt")
        Traceback (most recent call last):
        ValueError: 'my-prompt' names no repository of the hub: give your name there and a new...
    """
    token = check_push(repo_id, token, commit_message)
    tensors, card = read_prompt(folder)
    card = _for_others(card)
    files = {FILE: pack(tensors, card), COPY: readable(card), PAGE: page(card, repo_id).encode()}

    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(token=token)
    with _explained(repo_id):
        _make_repository(api, repo_id, private)
        add = [CommitOperationAdd(name, content) for name, content in files.items()]
        api.create_commit(repo_id, add, commit_message=commit_message)
    return f"{api.endpoint}/{repo_id}"


def _for_others(card: dict[str, Any]) -> dict[str, Any]:
    """Leave out where a model lies on this machine: it opens nothing elsewhere, and tells names."""
    there = Path(card["model"]).is_absolute() or re.match(r"[A-Za-z]:[\\/]", card["model"])
    return {**card, "model": ""} if there else card


def _make_repository(api: Any, repo_id: str, private: bool) -> None:
    """Make a repository; of one that is there, check that a prompt may go into it."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api.create_repo(repo_id, private=private)
        return
    except HfHubHTTPError as error:
        if error.response is None or error.response.status_code != 409:  # "is there already"
            raise
    there = api.model_info(repo_id)
    if private and not there.private:
        raise ValueError(
            f"{repo_id} is on the hub already, and public: make it private on its page there, or "
            "give another name"
        )
    names = {file.rfilename for file in there.siblings or []} - BLANK
    if names and FILE not in names:
        some = ", ".join(sorted(names)[:3]) + ", ..." * (len(names) > 3)
        raise ValueError(
            f"{repo_id} is on the hub already and holds no prompt, but {some}: give another name"
        )


@contextmanager
def _explained(repo_id: str) -> Iterator[None]:
    """Turn what an upload raises into an error that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HfHubHTTPError as error:  # which some versions take for a ValueError, too
        status = None if error.response is None else error.response.status_code
        if status == 401:
            raise ValueError(f"the hub does not know the token: {LOG_IN}") from error
        if status == 403:
            raise ValueError(
                f"the token may not write to {repo_id}: the first name must be yours, or an "
                "organisation's that lets you write, and the token one with the right to write"
            ) from error
        raise ConnectionError(
            f"the hub did not take {repo_id} ({_reason(error)}); it has all of a push or nothing, "
            "so push again later"
        ) from error
    except ValueError:
        raise  # one of ours, or of the hub's about the page
    except Exception as error:  # what connections raise has another class in each version
        raise ConnectionError(
            f"the upload to {repo_id} stopped ({_reason(error)}); the hub has all of a push or "
            "nothing, so push again"
        ) from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
