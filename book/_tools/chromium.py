"""Where the browser is that tests the book's pages and prints them."""

import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# It has to start as root in a container too, and on machines without a graphics card.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
MISSING = (
    f"no browser: none of {', '.join(NAMES)} is installed. Install chromium "
    "(apt-get install chromium), or say where it is with CHROMIUM=/path/to/chromium"
)


def find_chromium() -> str | None:
    """Return the browser's program: what CHROMIUM names, or one that is installed."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
