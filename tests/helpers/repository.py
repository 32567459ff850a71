"""Facts of this repository that several tests ask for."""

import sys
from pathlib import Path

import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def repository_url():
    return pyproject()["project"]["urls"]["Repository"]


def text_of(path):
    return path.read_text(encoding="utf-8", errors="replace")


def pages_in_toc():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    pages, queue = [toc["root"]], [toc]
    while queue:
        node = queue.pop()
        pages += [node["file"]] if "file" in node else []
        for name in ("parts", "chapters", "sections"):
            queue += node.get(name, [])
    return set(pages)
