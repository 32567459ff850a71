"""Names in figures, letter by letter as they are: no formulas, and fonts that have the letters."""

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
    """Give what ``set_xticks``, ``set_title`` and ``text`` need to write these texts as they are.

    A ``$`` is a ``$`` and begins no formula. Where the font of the figure lacks a character, an
    installed one that has it stands behind it; where none has it, a warning says what to install.

    Example:
        >>> as_text(["$5 to $10"])
        {'parse_math': False, 'fontfamily': ['sans-serif']}
    """
    families, missing = _families(texts)
    if missing:
        warnings.warn(_advice(missing), stacklevel=3)
    return {"parse_math": False, "fontfamily": families}


def lacking(texts: Iterable[str]) -> str:
    """Say which characters no installed font has, and what to install; nothing if there is none.

    Example:
        >>> lacking(["crème brûlée"])
        ''
    """
    missing = _families(texts)[1]
    return _advice(missing) if missing else ""


def _families(texts: Iterable[str]) -> tuple[list[str], set[int]]:
    """Find the fonts for texts, the figure's own first; and the characters that none has."""
    families = list(rcParams["font.family"])
    letters = {letter for text in texts for letter in text}
    selects = {chr(code) for code in range(0xFE00, 0xFE10)}  # forms of what stands before
    kept = {each for each in letters - selects if unicodedata.category(each) not in NO_GLYPH}
    missing = {ord(letter) for letter in kept}
    own = font_manager.findfont(font_manager.FontProperties(family=families))
    missing -= set(FT2Font(own).get_charmap())
    if not missing:
        return families, missing
    _add_new_fonts()
    installed = font_manager.fontManager.ttflist
    names = {entry.name for entry in installed if _drawn(entry.fname, missing)}
    # Of several files with one name matplotlib takes one, and so do we.
    has = {
        name: _drawn(font_manager.findfont(font_manager.FontProperties(family=[name])), missing)
        for name in sorted(names)
        if not name.startswith(BOXES)
    }
    while has:
        best = max(has, key=lambda name: len(has[name] & missing))
        found = has.pop(best) & missing
        if not found:
            break
        families.append(best)
        missing -= found
    return families, missing


def _drawn(path: str, wanted: set[int]) -> set[int]:
    """Those characters that a font can draw; of pictures in colour it has the outline at most."""
    try:
        font = FT2Font(path)
        return {code for code in wanted & set(font.get_charmap()) if font.load_char(code).height}
    except (OSError, RuntimeError, ValueError):  # damaged, or pictures only
        return set()


def _add_new_fonts() -> None:
    """Let matplotlib know what was installed after it had made its list, which it keeps."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:
            try:
                font_manager.fontManager.addfont(path)
            except (OSError, RuntimeError, NotImplementedError):
                continue  # as it does itself, with fonts that it cannot use


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
