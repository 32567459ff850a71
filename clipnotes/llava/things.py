"""The things that Emoji-LLaVA has words for: their kinds, and their names in the plural."""

from __future__ import annotations

#: Every thing by its kind. The names are those of the emoji data set. Each is a thing that one can
#: count, that Emoji-CLIP was trained on, and that Twemoji and OpenMoji have drawn as well.
KINDS: dict[str, tuple[str, ...]] = {
    "animal": (
        *("monkey", "gorilla", "dog", "poodle", "wolf", "fox", "cat", "unicorn", "deer", "ox"),
        *("cow", "pig", "boar", "ram", "goat", "camel", "elephant", "rhinoceros", "mouse", "rat"),
        *("hamster", "rabbit", "chipmunk", "bear", "koala", "crocodile", "turtle", "lizard"),
        *("snake", "dragon", "frog"),
    ),
    "bird": (
        *("turkey", "chicken", "rooster", "baby chick", "bird", "penguin", "dove", "duck"),
        "owl",
    ),
    "sea animal": ("whale", "dolphin", "tropical fish", "blowfish", "shark", "shrimp"),
    "bug": ("snail", "ant", "lady beetle", "cricket", "spider", "scorpion"),
    "plant": (
        *("hibiscus", "sunflower", "tulip", "bouquet", "seedling", "evergreen tree"),
        *("deciduous tree", "palm tree", "shamrock", "maple leaf", "mushroom"),
    ),
    "fruit": (
        *("melon", "watermelon", "tangerine", "lemon", "banana", "pineapple", "red apple"),
        *("green apple", "pear", "peach", "strawberry"),
    ),
    "vegetable": ("tomato", "potato", "carrot", "hot pepper", "cucumber", "chestnut"),
    "food": (
        *("croissant", "poultry leg", "hamburger", "pizza", "taco", "burrito", "egg"),
        *("bento box", "rice cracker", "rice ball", "dango", "ice cream", "doughnut"),
        *("birthday cake", "shortcake", "chocolate bar", "candy", "lollipop", "custard"),
        "honey pot",
    ),
    "drink": ("baby bottle", "hot beverage", "wine glass", "cocktail glass", "beer mug"),
    "vehicle": (
        *("locomotive", "metro", "tram", "bus", "minibus", "ambulance", "fire engine"),
        *("police car", "automobile", "delivery truck", "tractor", "motorcycle", "motor scooter"),
        *("bicycle", "kick scooter", "sailboat", "canoe", "speedboat", "ferry", "airplane"),
        *("helicopter", "rocket"),
    ),
    "building": (
        *("house", "post office", "hospital", "convenience store", "factory", "castle", "mosque"),
        *("synagogue", "tent", "circus tent", "fountain", "ferris wheel"),
    ),
    "garment": (
        *("necktie", "t-shirt", "dress", "bikini", "purse", "handbag", "backpack"),
        *("running shoe", "high-heeled shoe", "crown", "top hat", "graduation cap", "ring"),
    ),
    "toy": (
        *("soccer ball", "baseball", "basketball", "volleyball", "american football"),
        *("boxing glove", "ice skate", "crystal ball", "joystick", "slot machine", "game die"),
        *("balloon", "christmas tree", "wrapped gift", "trophy"),
    ),
    "instrument": ("saxophone", "trumpet", "guitar", "violin", "drum", "bell", "megaphone"),
    "tool": (
        *("hammer", "dagger", "bomb", "shield", "wrench", "gear", "balance scale", "umbrella"),
        *("anchor", "candle", "light bulb", "microscope", "syringe", "pill", "spoon"),
        *("toilet", "bathtub", "bed", "shopping cart", "hourglass", "alarm clock", "stopwatch"),
    ),
    "machine": (
        *("movie camera", "television", "camera", "videocassette", "battery", "electric plug"),
        *("laptop", "printer", "keyboard", "floppy disk", "mobile phone", "telephone", "pager"),
        *("radio", "studio microphone", "headphone"),
    ),
    "office thing": (
        *("briefcase", "file folder", "calendar", "clipboard", "pushpin", "paperclip", "envelope"),
        *("package", "postbox", "closed book", "open book", "scroll", "newspaper", "bookmark"),
        *("pencil", "fountain pen", "paintbrush", "crayon", "money bag"),
    ),
    "sky thing": (
        *("full moon", "crescent moon", "sun", "star", "cloud", "tornado", "rainbow"),
        *("snowflake", "comet", "droplet", "volcano"),
    ),
}
#: The data set's names of things that are called something simpler here.
CALLED = {"hourglass done": "hourglass", "Christmas tree": "christmas tree"}
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}
NAMES = tuple(KIND_OF)

#: Sixty-two things of eight kinds, on which the model is also tested by itself.
CORE: tuple[str, ...] = (
    *("monkey", "dog", "fox", "cat", "cow", "pig", "elephant", "rabbit", "bear", "turtle", "snake"),
    *("frog", "chicken", "penguin", "duck", "owl", "whale", "tropical fish", "shark"),
    *("sunflower", "tulip", "palm tree", "maple leaf", "mushroom"),
    *("watermelon", "tangerine", "lemon", "banana", "pineapple", "red apple", "pear", "strawberry"),
    *("croissant", "hamburger", "pizza", "ice cream", "doughnut", "birthday cake", "lollipop"),
    *("bus", "ambulance", "fire engine", "automobile", "tractor", "bicycle", "sailboat"),
    *("airplane", "helicopter", "rocket"),
    *("guitar", "violin", "drum", "saxophone"),
    *("umbrella", "hammer", "bell", "light bulb", "scroll", "envelope", "pencil", "crown"),
    "balloon",
)

_PLURALS = {"mouse": "mice", "ox": "oxen", "deer": "deer", "die": "dice", "leaf": "leaves"}
_PLURALS |= {"fish": "fish", "blowfish": "blowfish", "shrimp": "shrimp", "wolf": "wolves"}
_PLURALS |= {"tomato": "tomatoes", "potato": "potatoes"}
_PLURALS |= {"tornado": "tornadoes", "volcano": "volcanoes"}


def plural(name: str) -> str:
    """Give the plural of a thing's name: "maple leaf" becomes "maple leaves"."""
    *before, last = name.split(" ")
    if last in _PLURALS:
        last = _PLURALS[last]
    elif last.endswith(("s", "x", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return " ".join([*before, last])


def with_article(name: str) -> str:
    """Put "a" or "an" before a name: "an owl", "a unicorn"."""
    vowel = name[0] in "aeiou" and not name.startswith(("uni", "euro"))
    return f"{'an' if vowel else 'a'} {name}"
