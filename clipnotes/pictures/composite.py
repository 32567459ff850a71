"""Images as models are given them: RGB, on white where they are transparent, and upright."""

from __future__ import annotations

from PIL import Image

from clipnotes.pictures.upright import turn, turn_of


def composite(
    image: Image.Image, background: str | tuple[int, int, int] | Image.Image = "white"
) -> Image.Image:
    """Lay an image with transparency over a background, and put a photograph upright.

    Dropping the alpha channel instead, as ``convert("RGB")`` does, shows whatever colour hides
    under the transparent pixels (black, in the emoji data set). And a camera that was held on its
    side does not turn the pixels, it notes in the file (EXIF) how they are to be turned; here they
    are. A note that is damaged counts as none.

    Args:
        image: any mode with or without transparency ("RGBA", "LA", "P", "RGB", "L", "1").
        background: a colour by name ("white", "#ffd700"), by three bytes, or an image of the same
            size.

    Returns:
        An RGB image of the same size, or of the turned one.

    Raises:
        TypeError: something that is not a PIL image.
        ValueError: another mode, or a background image of another size.

    Example:
        >>> from clipnotes.data import composite, load_emoji
        >>> composite(load_emoji(style="noto")[0]["image"]).mode
        'RGB'
    """
    if not isinstance(image, Image.Image):
        raise TypeError(f"a {type(image).__name__} was given; a PIL image is needed")
    allowed = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
    if image.mode not in allowed:
        raise ValueError(
            f"an image of mode {image.mode!r}; {', '.join(allowed)} are allowed. "
            'Convert it first: image.convert("RGB")'
        )
    image = turn(image, turn_of(image)[0])
    if isinstance(background, Image.Image):
        background = turn(background, turn_of(background)[0])
        if background.size != image.size:
            raise ValueError(
                f"the background has the size {background.size}, the image {image.size}; "
                "make them equal: background.resize(image.size)"
            )
        below = background.convert("RGBA")
    elif image.mode in ("1", "L", "RGB") and "transparency" not in image.info:
        made = image.convert("RGB")  # nothing shines through, and a photograph is large
        made.info = {}
        return made
    else:
        below = Image.new("RGBA", image.size, background)
    made = Image.alpha_composite(below, image.convert("RGBA")).convert("RGB")
    made.info = {}  # the notes were followed
    return made
