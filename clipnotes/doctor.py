"""Look at the installation: what is there, what is missing, and the command that fixes it."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shlex
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

PACKAGE = "clipnotes-book"
_MODULES = {"pillow": "PIL", "scikit-learn": "sklearn"}
_PIP = "python -m pip install"
_AGAIN = f'{_PIP} --force-reinstall --no-deps "git+https://github.com/clipnotes/clipnotes"'


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    what: str  # what was looked at
    found: str  # what is there
    problem: str = ""
    mend: str = ""  # the command or step that helps


def examine() -> list[Finding]:
    """Look at Python, at every package that is needed, and at the model.

    Returns:
        A finding for each; those with a ``problem`` keep something from working.

    Example:
        >>> [finding for finding in examine() if finding.problem]
        []
    """
    try:
        python, packages = needs()
    except PackageNotFoundError:
        findings = [_not_installed()]
    else:
        findings = [_python(python)]
        findings += [_package(name, least) for name, least in packages.items()]
    if any(finding.problem for finding in findings if finding.what != "python"):
        return [*findings, Finding("model", "not looked at before the packages are there")]
    return [*findings, _device(), *_embedded(), _chosen()]


def needs() -> tuple[str, dict[str, str]]:
    """Ask the installed package for the least version of Python, and of each package it needs."""
    lines = [re.fullmatch(r"([\w.-]+) *>= *([\w.]+)", line) for line in requires(PACKAGE) or []]
    python = metadata(PACKAGE)["Requires-Python"].removeprefix(">=")
    return python, {line[1]: line[2] for line in lines if line}  # an extra's line has more words


def _not_installed() -> Finding:
    checkout = Path(__file__).parents[1]
    return Finding(
        PACKAGE,
        f"a checkout in {checkout}",
        "not installed, so nothing says which packages it needs",
        f"{_PIP} -e {shlex.quote(str(checkout))}",
    )


def _python(least: str) -> Finding:
    found = platform.python_version()
    too_old = _numbers(found) < _numbers(least)
    return Finding(
        "python",
        f"{found}, {sys.executable}",
        f"older than {least}" if too_old else "",
        f"install Python {least} or later and make a new environment" if too_old else "",
    )


def _numbers(text: str) -> list[int]:
    """The release of a version: 2.13.0+cpu -> [2, 13, 0]."""
    match = re.match(r"\d+(\.\d+)*", text)
    return [int(n) for n in match[0].split(".")] if match else []


def _package(name: str, least: str) -> Finding:
    command = f'{_PIP} "{name}>={least}"'
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding(name, "", "not installed", command)
    if _numbers(found) < _numbers(least):
        return Finding(name, found, f"older than {least}", f"{command} --upgrade")
    try:
        importlib.import_module(_MODULES.get(name, name))
    except Exception as error:  # a broken installation raises anything
        reason = (str(error) or type(error).__name__).split("\n", 1)[0]
        return Finding(
            name, found, f"cannot be imported: {reason}", f"{_PIP} --force-reinstall {name}"
        )
    if name == "transformers":
        from clipnotes.compat import recorded

        tested = list(recorded())
        newer = _numbers(found) > _numbers(tested[-1])
        note = "newer than what it was tested with" if newer else "tested with"
        found = f"{found} ({note}: {', '.join(tested)})"
    return Finding(name, found)


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        found = f"{torch.cuda.get_device_name()} is there; the commands compute on the CPU"
    else:
        found = f"CPU, {torch.get_num_threads()} threads"
    return Finding("device", found)


def _embedded() -> list[Finding]:
    from clipnotes.checkpoints import EMOJI_CLIP, EMOJI_SIGLIP

    findings = [_checked("Emoji-CLIP", EMOJI_CLIP)]
    if (EMOJI_SIGLIP / "config.json").is_file():  # not every installation has it
        findings.append(_checked("Emoji-SigLIP", EMOJI_SIGLIP))
    return findings


def _checked(what: str, folder: Path) -> Finding:
    from clipnotes.model_files import check_directory

    try:
        check_directory(folder)
    except ValueError as error:
        return Finding(what, str(folder), str(error), _AGAIN)
    return Finding(what, f"{folder}, checksums agree")


def _chosen() -> Finding:
    from clipnotes.checkpoints import load
    from clipnotes.compat import shared_width

    name = os.environ.get("CLIPNOTES_MODEL", "")
    what = f"CLIPNOTES_MODEL is {name}" if name else "CLIPNOTES_MODEL is not set: Emoji-CLIP"
    try:
        model = load().model
    except ValueError as error:
        mend = "unset CLIPNOTES_MODEL" if name else _AGAIN
        if name and not Path(name).exists() and "/" in name:
            mend += ", or, with a network, hf download " + name
        return Finding("model", what, str(error), mend)
    vision = model.config.vision_config
    size = f"{vision.image_size} pixels in patches of {vision.patch_size}"
    return Finding("model", f"{what}; {size}, {shared_width(model)} numbers a feature")
