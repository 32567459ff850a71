"""What the tests of folders and of the command line share: drawings as files, a folder a class."""

from clipnotes.data import load_emoji

CATEGORIES = {"food-fruit": "fruit", "animal-bird": "small_bird", "transport-ground": "on-wheels"}
NAMES = ["fruit", "on wheels", "small bird"]


def make_folders(top, n=6, skip=0):
    """n images of each class, PNG with transparency and JPEG on white, of several sizes."""
    from clipnotes.data import composite

    for category, folder in CATEGORIES.items():
        rows = load_emoji(style="noto", category=category).select(range(skip, skip + n))
        (top / folder).mkdir(parents=True)
        for i, image in enumerate(rows["image"]):
            image = image.resize((40 + 10 * i, 64))
            if i % 2:
                composite(image).save(top / folder / f"{i}.jpg")
            else:
                image.save(top / folder / f"{i}.png")
    return top


def touch(top, *names):
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return top
