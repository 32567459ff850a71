"""Write names in figures letter by letter: as no formula, and in a font that has the letters."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterable
from typing import Any

from matplotlib import font_manager, rcParams
from matplotlib.ft2font import FT2Font

NO_GLYPH = {"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"}  # kinds of characters that are not drawn
BOXES = "Last Resort"  # matplotlib's own font that has a box for every character


def as_text(texts: Iterable[str]) -> dict[str, Any]:
    """Return the arguments with which matplotlib writes these texts letter by letter.

    A ``$`` begins no formula. If the font of the figure lacks a character, an installed font that
    has it steps in; if there is none, a warning says what to install.
    """
    families, missing = _families(texts)
    if missing:
        warnings.warn(_advice(missing), stacklevel=3)
    return {"parse_math": False, "fontfamily": families}


def lacking(texts: Iterable[str]) -> str:
    """Say which characters no installed font has and what to install; empty if none is missing."""
    missing = _families(texts)[1]
    return _advice(missing) if missing else ""


def _families(texts: Iterable[str]) -> tuple[list[str], set[int]]:
    """Choose fonts for texts, the figure's own first, and return the characters that none has."""
    families = list(rcParams["font.family"])
    letters = {letter for text in texts for letter in text}
    # They choose a form of the character before them, and are not drawn themselves.
    selectors = {chr(code) for code in range(0xFE00, 0xFE10)}
    visible = (each for each in letters - selectors if unicodedata.category(each) not in NO_GLYPH)
    missing = {ord(letter) for letter in visible}
    first_font = font_manager.findfont(font_manager.FontProperties(family=families))
    missing -= set(FT2Font(first_font).get_charmap())
    drawn_by = _fonts_for(missing) if missing else {}
    while drawn_by:
        best = max(drawn_by, key=lambda name: len(drawn_by[name] & missing))
        drawn = drawn_by.pop(best) & missing
        if not drawn:
            break
        families.append(best)
        missing -= drawn
    return families, missing


def _fonts_for(wanted: set[int]) -> dict[str, set[int]]:
    """Find the installed fonts that draw any of these characters, and which of them each draws."""
    _add_new_fonts()
    installed = font_manager.fontManager.ttflist
    names = {entry.name for entry in installed if _drawn(entry.fname, wanted)}
    # Several files may share a name. matplotlib takes one of them, so we look at that one.
    return {
        name: _drawn(font_manager.findfont(font_manager.FontProperties(family=[name])), wanted)
        for name in sorted(names)
        if not name.startswith(BOXES)
    }


def _drawn(path: str, wanted: set[int]) -> set[int]:
    """Return the characters that a font can draw; of colour fonts only outlines count."""
    try:
        font = FT2Font(path)
        return {code for code in wanted & set(font.get_charmap()) if font.load_char(code).height}
    except (OSError, RuntimeError, ValueError):  # the font is damaged or has no outlines
        return set()


def _add_new_fonts() -> None:
    """Add fonts to matplotlib's stored list that were installed after it was made."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:
            try:
                font_manager.fontManager.addfont(path)
            except (OSError, RuntimeError, NotImplementedError):
                continue  # matplotlib, too, skips the fonts that it cannot use


def _advice(missing: set[int]) -> str:
    letters = sorted(map(chr, missing))
    some = " ".join(letters[:8]) + f" and {len(letters) - 8} more" * (len(letters) > 8)
    names = " ".join(unicodedata.name(letter, "") for letter in letters)
    install = []
    if any(word in names for word in ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "FULLWIDTH")):
        install.append("Noto Sans CJK (on Debian and Ubuntu the package fonts-noto-cjk)")
    if any(0x2600 <= code < 0x2800 or 0x1F000 <= code < 0x20000 for code in missing):
        install.append("Symbola for emoji, in black and white (fonts-symbola)")
    what = " and ".join(install) or "one that has them"
    return f"no installed font has {some}, which are drawn as boxes; install {what}"
