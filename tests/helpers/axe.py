"""axe-core, the program that looks for what people cannot read: fetched once, then used offline.

    python tests/helpers/axe.py     fetch it into this Python's environment

`make` runs this before the tests. What comes is compared with the digest that npm gives for this
version (`npm view axe-core@VERSION dist.integrity`).
"""

import base64
import hashlib
import io
import sys
import tarfile
import urllib.request
from pathlib import Path

VERSION = "4.14.1"
SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
ADDRESS = f"https://registry.npmjs.org/axe-core/-/axe-core-{VERSION}.tgz"
FILE = Path(sys.prefix, "share", "axe-core", f"axe-{VERSION}.min.js")


def script_in(archive):
    """The script in npm's archive, if it is the archive that we know."""
    digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if digest != SHA512:
        raise ValueError(f"{ADDRESS} has the SHA-512 {digest}, and this file expects {SHA512}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        return files.extractfile("package/axe.min.js").read()


def fetch():
    """Put the script where the tests look for it."""
    with urllib.request.urlopen(ADDRESS, timeout=60) as answer:
        script = script_in(answer.read())
    FILE.parent.mkdir(parents=True, exist_ok=True)
    part = FILE.with_suffix(".part")
    part.write_bytes(script)
    part.replace(FILE)


if __name__ == "__main__":
    if not FILE.exists():
        fetch()
    print(f"axe-core {VERSION}: {FILE}")
