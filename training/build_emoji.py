"""Build the emoji data set: things, drawn by twelve designers, as one Parquet file.

    python training/build_emoji.py            # writes clipnotes/emoji/
    python training/build_emoji.py --check    # builds twice in memory and compares the bytes

Sources are npm packages at pinned versions (fetched once with ``npm pack`` into training/_sources):
``@iconify-json/NAME`` for the drawings, ``emojibase-data`` for names, keywords and categories in
English and Chinese. Needs ``pip install -e .[training]`` and npm.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import io
import json
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

HERE = Path(__file__).parent
SOURCES = HERE / "_sources"
OUT = HERE.parent / "clipnotes" / "emoji"
SIZE = 64  # pixels, width and height of every drawing
MIN_DESIGNERS = 6  # a thing that fewer designers drew is left out
GROUPS = {3: "animals-nature", 4: "food-drink", 5: "travel-places", 6: "activities", 7: "objects"}
# The 24 clock faces differ only by the angle of a hand, and people rarely say their names.
LEFT_OUT = re.compile(r"o[\u2019']clock$|-thirty$")

EMOJIBASE = ("emojibase-data", "17.0.0")
DESIGNERS = {
    "emojione": "1.2.3",
    "emojione-monotone": "1.2.1",
    "emojione-v1": "1.2.3",
    "fluent-emoji": "1.2.7",
    "fluent-emoji-flat": "1.2.6",
    "fluent-emoji-high-contrast": "1.2.6",
    "fxemoji": "1.2.2",
    "noto": "1.2.9",
    "noto-v1": "1.2.5",
    "openmoji": "1.2.29",
    "streamline-emojis": "1.2.4",
    "twemoji": "1.2.5",
}

SCHEMA = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("name", pa.string()),
        ("name_zh", pa.string()),
        ("keywords", pa.list_(pa.string())),
        ("category", pa.string()),
        ("group", pa.string()),
        ("style", pa.string()),
        ("codepoint", pa.string()),
        ("held_out", pa.bool_()),
    ]
)


class Package:
    """An npm package at a pinned version, read from its tarball without unpacking it."""

    def __init__(self, name: str, version: str) -> None:
        self.name, self.version = name, version
        tarball = SOURCES / f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"
        if not tarball.exists():
            SOURCES.mkdir(exist_ok=True)
            subprocess.run(
                ["npm", "pack", "--silent", f"{name}@{version}"], cwd=SOURCES, check=True
            )
        self.tarball = tarball

    def json(self, path: str) -> Any:
        with tarfile.open(self.tarball) as archive:
            member = archive.extractfile(f"package/{path}")
            assert member is not None, f"{self.name} has no {path}"
            return json.load(member)


def squeeze(name: str) -> str:
    """Keep only letters and digits, so that 'Ear of corn' and 'ear-of-corn' become the same key."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def plain(codepoint: str) -> str:
    """Drop the variation selector FE0F from code points, because sets disagree on it."""
    return "-".join(part for part in codepoint.upper().split("-") if part != "FE0F")


def things(emojibase: Package) -> list[dict[str, Any]]:
    """List the concepts with their facts: all emoji of the five groups, in Unicode's order."""
    subgroups = emojibase.json("meta/groups.json")["subgroups"]
    chinese = {x["hexcode"]: x for x in emojibase.json("zh/data.json")}
    rows = []
    for x in sorted(emojibase.json("en/data.json"), key=lambda x: x.get("order", 0)):
        if x.get("group") not in GROUPS or LEFT_OUT.search(x["label"]):
            continue
        rows.append(
            {
                "name": x["label"].replace("\u2019", "'"),
                "name_zh": chinese[x["hexcode"]]["label"],
                "keywords": x.get("tags", []),
                "category": subgroups[str(x["subgroup"])],
                "group": GROUPS[x["group"]],
                "codepoint": x["hexcode"],
            }
        )
    return rows


def icon_names(icons: dict, chars: dict, concepts: list[dict], aliases: dict) -> dict[str, str]:
    """Map code points to icon names in one designer's set; an icon serves one concept."""
    # If the set has a table, its code points decide; else the squeezed name, or the one under which
    # another set has the same code point.
    by_char = {plain(k): v for k, v in chars.items()}
    by_name: dict[str, str] = {}
    for icon in sorted([*icons["icons"], *icons.get("aliases", {})]):
        by_name.setdefault(squeeze(icon), icon)
    icon_of: dict[str, str] = {}
    for keys in (  # the surest match comes first, for all concepts, so no alias steals a name
        lambda c: [by_char.get(plain(c["codepoint"]))],
        lambda c: [by_name.get(squeeze(c["name"]))],
        lambda c: [by_name.get(a) for a in sorted(aliases[plain(c["codepoint"])])],
    ):
        for concept in concepts:
            for icon in keys(concept):
                if icon and concept["codepoint"] not in icon_of and icon not in icon_of.values():
                    icon_of[concept["codepoint"]] = icon
    return icon_of


def svg(icons: dict, name: str) -> str:
    """Write an icon as a complete SVG document; follow aliases, which must not be transformed."""
    entry = icons.get("aliases", {}).get(name) or icons["icons"][name]
    while "parent" in entry:
        assert not {"rotate", "hFlip", "vFlip"} & set(entry), f"{name} is a transformed alias"
        entry = icons["aliases"].get(entry["parent"]) or icons["icons"][entry["parent"]]
    left, top = entry.get("left", 0), entry.get("top", 0)
    width = entry.get("width", icons.get("width", 16))
    height = entry.get("height", icons.get("height", 16))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{SIZE}" height="{SIZE}" viewBox="{left} {top} {width} {height}">'
        f"{entry['body']}</svg>"
    )


def render(document: str) -> Image.Image:
    """Render the text of an SVG as an RGBA image of SIZE x SIZE."""
    import resvg_py  # only here, so that everything else works without it

    png = resvg_py.svg_to_bytes(svg_string=document, width=SIZE, height=SIZE)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def to_webp(picture: Image.Image) -> bytes:
    """Encode a drawing as lossless WebP; raise if its size is wrong or nothing was drawn."""
    if picture.size != (SIZE, SIZE):
        raise ValueError(f"the drawing is {picture.size}, not {(SIZE, SIZE)}")
    if picture.getchannel("A").getbbox() is None:
        raise ValueError("the drawing is empty")
    out = io.BytesIO()
    picture.save(out, "WEBP", lossless=True, quality=60, method=4)
    return out.getvalue()


def held_out_codepoints(concepts: list[dict]) -> set[str]:
    """Choose a tenth of the concepts by a hash of the code point, which nobody can influence."""
    ranked = sorted(concepts, key=lambda c: hashlib.sha256(c["codepoint"].encode()).hexdigest())
    return {c["codepoint"] for c in ranked[: len(ranked) // 10]}


def find_icons(
    icons: dict[str, Any], chars: dict[str, Any], concepts: list[dict]
) -> dict[str, dict[str, str]]:
    """Map each designer to code points, and these to icon names."""
    aliases: dict[str, set[str]] = collections.defaultdict(set)
    for table in chars.values():
        for codepoint, icon in table.items():
            aliases[plain(codepoint)].add(squeeze(icon))
    return {s: icon_names(icons[s], chars[s], concepts, aliases) for s in DESIGNERS}


def build_rows(progress: bool = True) -> list[dict[str, Any]]:
    """Build a row for every drawing, designer by designer, in Unicode's order."""
    packages = {s: Package(f"@iconify-json/{s}", v) for s, v in DESIGNERS.items()}
    icons = {s: p.json("icons.json") for s, p in packages.items()}
    chars = {s: p.json("chars.json") for s, p in packages.items()}
    concepts = things(Package(*EMOJIBASE))
    icon_of = find_icons(icons, chars, concepts)
    drawn = collections.Counter(c for names in icon_of.values() for c in names)
    concepts = [c for c in concepts if drawn[c["codepoint"]] >= MIN_DESIGNERS]
    names = [c["name"] for c in concepts]
    assert len(set(names)) == len(names), "two concepts share a name"
    held_out = held_out_codepoints(concepts)

    rows = []
    for style in tqdm(DESIGNERS, desc="designers", disable=not progress):
        for concept in concepts:
            if icon := icon_of[style].get(concept["codepoint"]):
                picture = {"bytes": to_webp(render(svg(icons[style], icon))), "path": None}
                kept = concept["codepoint"] in held_out
                rows.append({"image": picture, **concept, "style": style, "held_out": kept})
    return rows


def to_parquet(rows: list[dict[str, Any]]) -> bytes:
    """Write rows as the bytes of a Parquet file; the same rows give the same bytes."""
    out = io.BytesIO()
    # WebP cannot be compressed any further, but the text columns can.
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), out, compression="zstd", row_group_size=1000)
    return out.getvalue()


def attribution(rows: list[dict[str, Any]]) -> str:
    """Write the table of designers, licences and changes that the licences ask for."""
    count = collections.Counter(row["style"] for row in rows)
    lines = [
        "# Where the drawings come from",
        "",
        "Written by `training/build_emoji.py`. Every drawing was changed in one way: its SVG was",
        f"rendered at {SIZE} x {SIZE} pixels and stored as lossless WebP.",
        "The column `style` names the designer's set.",
        "Each drawing stays under its own licence; the texts are in `LICENSES/`.",
        "",
        "| style | set | author | licence | drawings | package | origin |",
        "|---|---|---|---|---|---|---|",
    ]
    for style, version in DESIGNERS.items():
        info = Package(f"@iconify-json/{style}", version).json("info.json")
        lines.append(
            f"| {style} | {info['name']} | {info['author']['name']} | {info['license']['title']} "
            f"| {count[style]} | @iconify-json/{style} {version} | {info['author']['url']} |"
        )
    lines += [
        "",
        f"Names, keywords, categories and code points: {EMOJIBASE[0]} {EMOJIBASE[1]}",
        "(MIT, Miles Johnson), which takes them from Unicode CLDR (Unicode License v3).",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="build twice, compare, write nothing")
    args = parser.parse_args()
    rows = build_rows()
    data = to_parquet(rows)
    if args.check:
        again = to_parquet(build_rows())
        shipped = (OUT / "emoji.parquet").read_bytes()
        print(
            "two builds are equal:", data == again, "- equal to the shipped file:", data == shipped
        )
        raise SystemExit(data != again or data != shipped)
    OUT.mkdir(parents=True, exist_ok=True)
    for name, content in (("emoji.parquet", data), ("ATTRIBUTION.md", attribution(rows).encode())):
        part = OUT / f"{name}.part"
        part.write_bytes(content)
        part.replace(OUT / name)
    print(
        f"{len(rows)} drawings of {len({r['name'] for r in rows})} things "
        f"({len({r['name'] for r in rows if r['held_out']})} held out) "
        f"by {len(DESIGNERS)} designers, "
        f"{len({r['category'] for r in rows})} categories, {len(data) / 1e6:.2f} MB"
    )


if __name__ == "__main__":
    main()
