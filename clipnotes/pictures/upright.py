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
    """Read how a picture is to be turned.

    Returns:
        The turn, or None; and, if the note cannot be read, that.

    Example:
        >>> photo = Image.new("RGB", (30, 20))
        >>> photo.getexif()[ORIENTATION] = 6
        >>> turn_of(photo)[0].name
        'ROTATE_270'
    """
    _load(image)
    try:
        orientation = image.getexif().get(ORIENTATION)
        if orientation is None and "exif" in image.info:
            Image.Exif().load(image.info["exif"])  # of a JPEG, Pillow has swallowed the damage
        return (None if orientation is None else TURNS.get(orientation)), None
    except Exception as error:  # whatever a parser makes of damaged bytes
        # Pillow would keep what it has read so far, and say something else the next time.
        image._exif = None
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return None, f"its EXIF or XMP is damaged ({reason}), so it is taken as its pixels lie"


def _load(image: Image.Image) -> None:
    """Load a picture. A TIFF, Pillow turns meanwhile, and the note is gone.

    Where it maps the file into memory, as it does with grey and other pixels that lie there as they
    are, it takes height for width if the turn is a quarter. Without a name it maps none.
    """
    if image.format != "TIFF":
        image.load()
        return
    name = image.filename  # type: ignore[attr-defined]
    image.filename = ""  # type: ignore[attr-defined]
    try:
        image.load()
    finally:
        image.filename = name  # type: ignore[attr-defined]


def turn(image: Image.Image, method: Image.Transpose | None) -> Image.Image:
    """Turn a picture, and take the note away that said so; without a turn it is the same object.

    Example:
        >>> turn(Image.new("RGB", (30, 20)), Image.Transpose.ROTATE_270).size
        (20, 30)
    """
    if method is None:
        return image
    turned = image.transpose(method)
    turned.info = {key: value for key, value in turned.info.items() if key not in NOTES}
    return turned


def is_plain(image: Image.Image) -> bool:
    """Tell whether a picture is RGB and carries nothing that would change it.

    Example:
        >>> is_plain(Image.new("RGB", (8, 8))), is_plain(Image.new("RGBA", (8, 8)))
        (True, False)
    """
    return image.mode == "RGB" and not image.info and not len(image.getexif())
