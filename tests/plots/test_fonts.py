"""Names in figures: letters as they are, from fonts that have them."""

import warnings

import matplotlib as mpl
import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from PIL import Image

from clipnotes import plots
from clipnotes.plots.fonts import as_text, lacking

pytestmark = pytest.mark.usefixtures("nothing_shown")
RARE = "\U000f1234"  # for private use: no font has it


def make_font(path, name, *letters, empty=False):
    """A font with a square for each letter; or, as fonts of coloured pictures, with nothing."""
    pen = TTGlyphPen(None)
    for point in () if empty else ((0, 0), (0, 800), (800, 800), (800, 0)):
        (pen.lineTo if point != (0, 0) else pen.moveTo)(point)
    if not empty:
        pen.closePath()
    glyphs = {".notdef": TTGlyphPen(None).glyph(), "a": pen.glyph()}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap({ord(letter): "a" for letter in letters})
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": name, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(path)
    return str(path)


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Fonts that were installed after matplotlib had made its list."""
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", list(manager.ttflist))
    paths = []
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda *_, **__: paths)

    def install(name, *letters, **how):
        paths.append(make_font(tmp_path / f"{name}.ttf", name, *letters, **how))

    install("Empty", RARE, empty=True)
    return install


def test_a_dollar_is_no_formula():
    names = ["$5 or $_{10", "a$^$", r"\frac"]
    figures = [
        plots.confusion(torch.eye(3), names),
        plots.similarity(torch.eye(3), [Image.new("RGB", (2, 2))] * 3, names),
        plots.pictures([Image.new("RGB", (2, 2))] * 3, names)[0],
        plots.text_maps(torch.rand(3, 8, 8), torch.rand(3, 2, 2), names)[0],
        plots.token_map(torch.eye(3), names),
        plots.prompt_layout([["s", *names, "e"]], torch.tensor([[9]]), torch.tensor([4])),
        plots.curves([0, 1], {name: [0, 1] for name in names}, "x", "y"),
    ]
    for ax in figures:
        ax.figure.canvas.draw()  # a formula that is none raises here
        texts = [text for text in ax.figure.findobj(mpl.text.Text) if "$" in text.get_text()]
        assert len(texts) >= 2 and not any(text.get_parse_math() for text in texts)


def test_a_font_that_has_the_letters_stands_behind(installed):
    installed("One", RARE)
    installed("Two", RARE, "\U000f1235")
    assert lacking([RARE, "\U000f1235"]) == ""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib's, of glyphs that are missing, too
        ax = plots.confusion(torch.eye(2), [f"tea {RARE}", "\U000f1235"])
        assert ax.get_xticklabels()[0].get_fontfamily() == ["sans-serif", "Two"]
        ax.figure.canvas.draw()
    assert as_text(["é\ufe0f\u200d"])["fontfamily"] == ["sans-serif"]


def test_what_no_font_has_is_said_once_with_what_to_install(installed):
    with pytest.warns(UserWarning, match="no installed font has") as caught:
        plots.confusion(torch.eye(2), ["茶葉", RARE])
    (text,) = {str(one.message) for one in caught}
    assert f"has 茶 葉 {RARE}, which are drawn as boxes" in text
    assert text.endswith("install Noto Sans CJK (on Debian and Ubuntu the package fonts-noto-cjk)")
    assert "Symbola" in lacking(["🍇"]) and "Noto" not in lacking(["🍇"])
    assert lacking([RARE]).endswith("install one that has them")
    assert lacking(chr(0xF1240 + i) for i in range(10)).count("and 2 more") == 1
