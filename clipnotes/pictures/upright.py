"""Which way up a photograph is: a camera turns no pixels, it notes how they are to be turned."""

from __future__ import annotations

from PIL import Image

ORIENTATION = 0x0112  # the number of EXIF's note
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
NOTES = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")  # where Pillow keeps it


def turn_of(image: Image.Image) -> tuple[Image.Transpose | None, str | None]:
    """Read how an image is to be turned, and what is wrong with the note that says it."""
    _load(image)
    try:
        orientation = image.getexif().get(ORIENTATION)
        if orientation is None and "exif" in image.info:
            Image.Exif().load(image.info["exif"])  # Pillow ignores damage in a JPEG; this raises
        return (None if orientation is None else TURNS.get(orientation)), None
    except Exception as error:  # whatever a parser makes of damaged bytes
        # Pillow would keep what it has read so far, and say something else the next time.
        image._exif = None
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return None, f"its EXIF or XMP is damaged ({reason}), so it is taken as its pixels lie"


def _load(image: Image.Image) -> None:
    """Load an image and keep its note."""
    if image.format != "TIFF":
        image.load()
        return
    # Pillow turns a TIFF while it loads it, and takes the note away. Where it maps the file into
    # memory, it takes height for width if the turn is a quarter. It maps no file without a name.
    name = image.filename  # type: ignore[attr-defined]
    image.filename = ""  # type: ignore[attr-defined]
    try:
        image.load()
    finally:
        image.filename = name  # type: ignore[attr-defined]


def turn(image: Image.Image, method: Image.Transpose | None) -> Image.Image:
    """Turn an image and remove the note that said so; without a turn it is the same object."""
    if method is None:
        return image
    turned = image.transpose(method)
    turned.info = {key: value for key, value in turned.info.items() if key not in NOTES}
    return turned


def is_plain(image: Image.Image) -> bool:
    """Tell whether an image is RGB and carries nothing that would change it."""
    return image.mode == "RGB" and not image.info and not len(image.getexif())
