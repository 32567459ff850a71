"""The emoji data set: things, drawn by twelve designers, through Hugging Face ``datasets``.

The drawings, their facts and their licences lie in ``clipnotes/emoji/`` and were made by
``training/build_emoji.py``. Nothing is downloaded.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clipnotes.pictures.composite import composite
from clipnotes.pictures.shots import check_draw, draw

__all__ = ["composite", "few_shot", "load_emoji"]

FOLDER = Path(__file__).parent / "emoji"


@functools.lru_cache(maxsize=1)
def _table() -> tuple[pa.Table, datasets.Features]:
    """The whole data set as an Arrow table, and its features; read once."""
    table = pq.read_table(FOLDER / "emoji.parquet")
    text = datasets.Value("string")
    labels = {
        column: datasets.ClassLabel(names=sorted(set(table[column].to_pylist())))
        for column in ("category", "group", "style")
    }
    features = datasets.Features(
        {
            "image": datasets.Image(mode="RGBA"),  # an opaque drawing is stored without alpha
            "name": text,
            "name_zh": text,
            "keywords": datasets.Sequence(text),
            "category": labels["category"],
            "group": labels["group"],
            "style": labels["style"],
            "codepoint": text,
            "held_out": datasets.Value("bool"),
        }
    )
    for column, label in labels.items():
        numbers = pc.index_in(table[column], value_set=pa.array(label.names)).cast(pa.int64())
        table = table.set_column(table.schema.get_field_index(column), column, numbers)
    return table.cast(features.arrow_schema), features


def _choice(column: str, wanted: str | Sequence[str], label: datasets.ClassLabel) -> list[int]:
    """Names of classes -> their numbers, or an error that lists what there is."""
    names = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(names, (list, tuple, set)):
        raise TypeError(f"{column} is a {type(wanted).__name__}; give a name or a list of names")
    for name in names:
        if name not in label.names:
            raise ValueError(
                f"no {column} {name!r} in the emoji data set; choose from {', '.join(label.names)}"
            )
    return [label.str2int(name) for name in names]


def load_emoji(
    style: str | Sequence[str] | None = None,
    group: str | Sequence[str] | None = None,
    category: str | Sequence[str] | None = None,
    held_out: bool | None = None,
) -> datasets.Dataset:
    """Load the emoji drawings, all or some of them.

    Args:
        style: a designer's set ("openmoji", "twemoji", "noto", ...) or several. None: all twelve.
        group: one of the five groups ("animals-nature", "food-drink", ...) or several. None: all.
        category: a category ("animal-mammal", "food-fruit", ...) or several. None: all.
        held_out: True for the concepts that Emoji-CLIP never saw in training, False for those it
            saw. None: both.

    Returns:
        A ``datasets.Dataset``, one row per drawing: ``image`` (PIL, RGBA, 64 x 64), ``name``,
        ``name_zh``, ``keywords`` (list), ``category``, ``group`` and ``style`` (ClassLabel:
        numbers; ``ds.features["style"].int2str`` gives the name), ``codepoint``, ``held_out``.

    Raises:
        TypeError: a style, group or category that is no text, a `held_out` that is no bool.
        ValueError: an unknown style, group or category; or nothing is left.

    Example:
        >>> from clipnotes.data import load_emoji
        >>> ds = load_emoji(style="openmoji", category="food-fruit")
        >>> ds[0]["name"], ds[0]["image"].size
        ('grapes', (64, 64))
    """
    table, features = _table()
    for column, wanted in (("style", style), ("group", group), ("category", category)):
        if wanted is not None:
            numbers = pa.array(_choice(column, wanted, features[column]), type=pa.int64())
            table = table.filter(pc.is_in(table[column], value_set=numbers))
    if held_out is not None:
        if not isinstance(held_out, bool):
            raise TypeError(f"held_out is {held_out!r}; it must be True, False or None")
        table = table.filter(pc.equal(table["held_out"], held_out))
    if len(table) == 0:
        raise ValueError(
            f"no drawing has style={style!r}, group={group!r}, category={category!r} and "
            f"held_out={held_out!r} at once; leave one of them out"
        )
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=features))


def few_shot(
    dataset: datasets.Dataset, shots: int, seed: int, label: str = "name"
) -> datasets.Dataset:
    """Draw `shots` rows of every class.

    The draw of a class depends on the seed and on that class's rows only, so other classes can come
    and go without changing it.

    Args:
        dataset: any ``datasets.Dataset`` with the column `label`.
        shots: rows per class, at least 1.
        seed: another seed, another draw.
        label: the column that names the class: text or ClassLabel.

    Returns:
        The drawn rows, classes in the order of their first row.

    Raises:
        TypeError: `shots` or `seed` is no whole number.
        ValueError: no such column, fewer than one shot, or a class with fewer rows than `shots`.

    Example:
        >>> from clipnotes.data import few_shot, load_emoji
        >>> few_shot(load_emoji(category="food-fruit"), shots=2, seed=0).num_rows
        40
    """
    if label not in dataset.column_names:
        raise ValueError(
            f"no column {label!r}; this data set has {', '.join(dataset.column_names)}"
        )
    check_draw(shots, seed)
    rows: dict[str | int, list[int]] = {}
    for i, value in enumerate(dataset[label]):
        rows.setdefault(value, []).append(i)
    chosen: list[int] = []
    for value, indices in rows.items():
        if len(indices) < shots:
            feature = dataset.features[label]
            named = feature.int2str(value) if hasattr(feature, "int2str") else value
            raise ValueError(
                f"{shots} shots asked for, but the class {named!r} has {len(indices)} rows; "
                f"ask for at most {min(map(len, rows.values()))} or load more styles"
            )
        chosen += draw(indices, shots, seed, value)
    return dataset.select(chosen)
