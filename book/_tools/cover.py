"""Draw the picture of the README and of the book's first page, from the embedded model.

python book/_tools cover        # writes book/_static/cover.png
"""

import matplotlib.pyplot as plt
import torch

import clipnotes
from _tools import ROOT
from clipnotes import compat, plots
from clipnotes.data import load_emoji

OUT = ROOT / "book" / "_static" / "cover.png"
THING = "tiger face"
OTHERS = ("tiger face", "lion", "cat face", "honeybee", "basketball")


def main() -> None:
    """A picture, its patches, where the class token looks, and what the model calls it."""
    plots.style()
    clip = clipnotes.load()
    drawn = load_emoji(style="twemoji")
    image = drawn[drawn["name"].index(THING)]["image"]
    pixel_values = clip.preprocess([image])
    with torch.no_grad():
        states = compat.vision_states(clip.model, pixel_values)
    grid = int((states.hidden_states[0].shape[1] - 1) ** 0.5)
    look = states.attentions[-1][0, :, 0, 1:].mean(0).view(grid, grid)  # the heads' mean
    named = clip.classify([image], OTHERS)[0]

    figure, axes = plt.subplots(1, 4, figsize=(11, 2.9), width_ratios=[1, 1, 1, 1.3])
    plots.patches(pixel_values[0], clip.model.config.vision_config.patch_size, axes=axes[:2])
    plots.attention_over(pixel_values[0], look[None], axes=axes[2:3])
    axes[3].barh(
        range(len(OTHERS)), named, color=[plots.ACCENT, *[plots.QUIET] * (len(OTHERS) - 1)]
    )
    axes[3].set(yticks=range(len(OTHERS)), yticklabels=OTHERS, xlim=(0, 1))
    axes[3].invert_yaxis()
    titles = (
        "a picture",
        "as a sequence of patches",
        "where the class token looks",
        "what the model calls it",
    )
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
    figure.tight_layout()
    figure.savefig(OUT, dpi=130, metadata={"Software": None})
    print(f"wrote {OUT.name}")


if __name__ == "__main__":
    main()
