"""Where the prompt goes: no folder among the images, and the figure beside the prompt."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

from torch import Tensor

from clipnotes.files import remove_strays, write_atomically


def check_outside(out: Path, pictures: str | Path) -> None:
    """Raise if a folder lies among images, where the next run would take it for a class."""
    top = Path(pictures).expanduser()
    inner = [path for path in top.iterdir() if path.is_dir()] if top.is_dir() else []
    if any(out.resolve().is_relative_to(path.resolve()) for path in (top, *inner)):
        beside = top.absolute().parent / "prompt"
        raise ValueError(
            f"{out} lies among the images in {top}, and the next run would take it for a class; "
            f"give a folder outside of them, for instance {beside}"
        )


def draw_confusion(path: Path, matrix: Tensor, names: list[str]) -> list[str]:
    """Draw which class is taken for which; return what there is to note about the figure."""
    try:
        import matplotlib.pyplot as plt

        from clipnotes import plots
        from clipnotes.plots.fonts import lacking

        plots.style()
        content = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one for each letter without a glyph
            figure: Any = plots.confusion(matrix, names).figure
            figure.savefig(content, format="png", dpi=110, bbox_inches="tight")
        plt.close(figure)
        remove_strays(path)
        write_atomically(path, content.getvalue())
        missing = lacking(names)
        return [f"{path.name}: {missing}"] if missing else []
    except Exception as error:  # whatever a font or a disk makes of it: the prompt is saved
        return [f"{path} could not be drawn: {str(error) or type(error).__name__}"]
