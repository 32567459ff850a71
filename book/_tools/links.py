"""Follow the links of the built book to other hosts, for a weekly job.

    python book/_tools links            exit 1 if one is broken

The tests compare the links inside the book, which need no network.
"""

import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag

import yaml

from _tools import BUILD, ROOT

HTML = BUILD / "html"
#: Beginnings of addresses that are not followed, and why. OURS is the repository's address.
IGNORED = {
    "https://colab.research.google.com/": "answers every path alike; tests compare the paths",
    "OURS/edit/": "asks to log in; tests compare the paths",
    "OURS/issues/new": "asks to log in",
}
#: What a host says to a program, and not to a reader: the page may well be there.
REFUSALS = {401, 403, 405, 406, 429}
TRIES = 3
SECONDS = 30.0
AGENT = "Mozilla/5.0 (compatible; clipnotes-links/1.0)"


class Links(HTMLParser):
    """Collects the names that a page has and the addresses that it points at or loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        found = dict(attrs)
        self.anchors |= {found[key] or "" for key in ("id", "name") if key in found}
        if found.get("rel") != "canonical":  # the page's own address, where it is published
            self.addresses += [found[key] or "" for key in ("href", "src") if key in found]


def pages(folder: Path) -> Iterator[tuple[Path, Links]]:
    """Read every page of a built site, but those of the theme's own files."""
    for path in sorted(folder.rglob("*.html")):
        if "_static" not in path.relative_to(folder).parts:
            yield path, Links(path.read_text(encoding="utf-8"))


def elsewhere(folder: Path, repository: str) -> dict[str, set[str]]:
    """Return the addresses on other hosts, each with the pages that name it."""
    ignored = tuple(key.replace("OURS", repository) for key in IGNORED)
    found: dict[str, set[str]] = {}
    for path, links in pages(folder):
        for address in links.addresses:
            if address.startswith(("http://", "https://")) and not address.startswith(ignored):
                page = path.relative_to(folder).as_posix()
                found.setdefault(urldefrag(address).url, set()).add(page)
    return found


def fetch(address: str) -> str | None:
    """Ask for a page once; return what is wrong with the answer."""
    request = urllib.request.Request(address, headers={"User-Agent": AGENT})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS):
            return None
    except urllib.error.HTTPError as error:
        return None if error.code in REFUSALS else f"{error.code} {error.reason}"
    except (OSError, ValueError) as error:  # no such host, no answer, no address
        return str(getattr(error, "reason", error))


def follow(address: str, pause: float = 5.0) -> str | None:
    """Ask for a page until it comes, a few times; return what is wrong in the end."""
    for number in range(TRIES):
        wrong = fetch(address)
        if wrong is None or wrong.startswith(("404", "410")):
            break
        if number < TRIES - 1:
            time.sleep(pause)
    return wrong


def broken(addresses: Iterable[str], pause: float = 5.0) -> dict[str, str]:
    """Follow all links, several at once; return those that are broken, each with the reason."""
    addresses = sorted(addresses)
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda address: follow(address, pause), addresses))
    return {address: wrong for address, wrong in zip(addresses, said, strict=True) if wrong}


def main(folder: Path = HTML) -> int:
    """Follow the links of the book."""
    if not (folder / "index.html").exists():
        print(f"There is no book at {folder}: run make book first.")
        return 1
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    found = elsewhere(folder, config["repository"]["url"])
    wrong = broken(found)
    for address, reason in wrong.items():
        print(f"{reason}: {address}\n    on {', '.join(sorted(found[address]))}")
    print(f"{len(found)} links to other hosts, {len(wrong)} broken")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
