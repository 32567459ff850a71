"""The emoji data set: what is in it, what it refuses, and that its file is made alike twice."""

import io

import datasets
import pytest
from PIL import Image

import build_emoji
from clipnotes.data import FOLDER, composite, few_shot, load_emoji

STYLES = {
    "emojione",
    "emojione-monotone",
    "emojione-v1",
    "fluent-emoji",
    "fluent-emoji-flat",
    "fluent-emoji-high-contrast",
    "fxemoji",
    "noto",
    "noto-v1",
    "openmoji",
    "streamline-emojis",
    "twemoji",
}


@pytest.fixture(scope="module")
def everything():
    return load_emoji()


def test_all_designers_and_columns(everything):
    assert everything.column_names == [
        "image",
        "name",
        "name_zh",
        "keywords",
        "category",
        "group",
        "style",
        "codepoint",
        "held_out",
    ]
    assert set(everything.features["style"].names) == STYLES
    assert len(everything.features["group"].names) == 5
    assert len(everything) > 7900


def test_pictures_are_lossless_webp_of_64_pixels_with_alpha(everything):
    for row in everything.select(range(0, len(everything), 211)):
        image = row["image"]
        assert (image.mode, image.size) == ("RGBA", (64, 64))
        assert image.getextrema()[3][1] == 255, f"{row['name']} by {row['style']} is empty"
    blobs = everything.cast_column("image", datasets.Image(decode=False)).select(
        range(0, len(everything), 97)
    )
    # A lossless WebP names its chunk VP8L, either at once or after an extended header.
    assert all(b"VP8L" in row["image"]["bytes"][:64] for row in blobs)
    assert not any(b"VP8 " in row["image"]["bytes"][:64] for row in blobs)


def test_a_tenth_of_the_concepts_is_held_out_in_every_style_alike(everything):
    held, concepts = {}, set()
    for codepoint, out in zip(everything["codepoint"], everything["held_out"], strict=True):
        concepts.add(codepoint)
        assert held.setdefault(codepoint, out) == out
    assert sum(held.values()) == len(concepts) // 10


def test_one_designer_draws_a_concept_once_and_names_are_unique(everything):
    pairs = list(zip(everything["style"], everything["codepoint"], strict=True))
    assert len(set(pairs)) == len(pairs)
    named = set(zip(everything["codepoint"], everything["name"], strict=True))
    assert len(named) == len({c for c, _ in named}) == len({n for _, n in named})


def test_filters_agree_with_each_other(everything):
    style = everything.features["style"].str2int("noto")
    category = everything.features["category"].str2int("animal-bird")
    wanted = [
        c
        for s, k, h, c in zip(
            everything["style"],
            everything["category"],
            everything["held_out"],
            everything["codepoint"],
            strict=True,
        )
        if (s, k, h) == (style, category, False)
    ]
    got = load_emoji(style="noto", category="animal-bird", held_out=False)
    assert got["codepoint"] == wanted and len(wanted) > 10
    assert set(got["category"]) == {category}
    both = load_emoji(style=["noto", "openmoji"], group="animals-nature")
    assert len(set(both["style"])) == 2 and len(set(both["group"])) == 1


def test_names_in_two_languages(everything):
    i = everything["name"].index("octopus")
    assert everything[i]["name_zh"] == "章鱼" and "ocean" in everything[i]["keywords"]


@pytest.mark.parametrize("column", ["style", "group", "category"])
def test_unknown_choice_lists_what_there_is(column):
    with pytest.raises(ValueError, match=f"no {column} 'cubism'.*choose from") as caught:
        load_emoji(**{column: "cubism"})
    assert {"style": "openmoji", "group": "food-drink", "category": "animal-bug"}[column] in str(
        caught.value
    )


def test_nothing_left_is_an_error():
    with pytest.raises(
        ValueError, match="no drawing has style='noto', group='food-drink', category='animal-bird'"
    ):
        load_emoji(style="noto", group="food-drink", category="animal-bird")


def test_few_shot_is_a_draw_by_seed():
    data = load_emoji(category="food-fruit")
    first, again, other = (few_shot(data, 3, seed) for seed in (0, 0, 1))
    pictures = [[(r["style"], r["codepoint"]) for r in draw] for draw in (first, again, other)]
    assert pictures[0] == pictures[1] != pictures[2]
    assert len(set(pictures[0])) == len(pictures[0])
    assert {first["name"].count(name) for name in set(data["name"])} == {3}


def test_few_shot_of_a_class_does_not_depend_on_the_others():
    data = load_emoji(category="food-fruit")
    alone = data.filter(lambda name: name == "cherries", input_columns="name")
    draw = few_shot(data, 2, 5).filter(lambda name: name == "cherries", input_columns="name")
    assert few_shot(alone, 2, 5)["style"] == draw["style"]


def test_few_shot_refuses():
    data = load_emoji(category="food-fruit", style="noto")
    with pytest.raises(
        ValueError, match=r"2 shots asked for, but the class 'grapes' has 1 rows; ask for at most 1"
    ):
        few_shot(data, 2, 0)
    with pytest.raises(ValueError, match="shots is 0; it must be at least 1"):
        few_shot(data, 0, 0)
    with pytest.raises(ValueError, match="no column 'flavour'; this data set has image, name"):
        few_shot(data, 1, 0, label="flavour")


def test_composite_lays_on_a_colour_or_a_picture():
    picture = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    picture.putpixel((1, 1), (255, 0, 0, 128))
    laid = composite(picture, (0, 0, 255))
    assert laid.mode == "RGB" and laid.getpixel((0, 0)) == (0, 0, 255)
    assert laid.getpixel((1, 1)) == (128, 0, 127)
    below = Image.new("RGB", (4, 4), "#102030")
    assert composite(picture, below).getpixel((3, 3)) == (16, 32, 48)
    assert composite(Image.new("L", (4, 4), 7)).getpixel((0, 0)) == (7, 7, 7)


def test_composite_refuses():
    with pytest.raises(ValueError, match="mode 'F'; 1, L, LA, P, PA, RGB, RGBA are allowed"):
        composite(Image.new("F", (4, 4)))
    with pytest.raises(ValueError, match=r"background has the size \(5, 4\), the image \(4, 4\)"):
        composite(Image.new("RGB", (4, 4)), Image.new("RGB", (5, 4)))


def test_licences_lie_beside_the_pictures():
    attribution = (FOLDER / "ATTRIBUTION.md").read_text(encoding="utf-8")
    data = load_emoji()
    for number, style in enumerate(data.features["style"].names):
        row = next(line for line in attribution.splitlines() if line.startswith(f"| {style} |"))
        assert f"| {data['style'].count(number)} |" in row
        licence = row.split("|")[4].strip().replace(" ", "-")
        assert (FOLDER / "LICENSES" / f"{licence}.txt").stat().st_size > 1000, licence
    assert (FOLDER / "emoji.parquet").stat().st_size < 12e6


def test_the_writer_gives_the_same_bytes_twice():
    rows = build_emoji.pq.read_table(FOLDER / "emoji.parquet").to_pylist()
    data = build_emoji.to_parquet(rows)
    assert data == build_emoji.to_parquet(rows)
    assert build_emoji.pq.read_table(io.BytesIO(data)).num_rows == len(rows)


def test_arguments_of_another_type():
    for wrong, words in (
        ({"style": 3}, "style is a int; give a name or a list of names"),
        ({"held_out": "yes"}, "held_out is 'yes'; it must be True, False or None"),
    ):
        with pytest.raises(TypeError, match=words):
            load_emoji(**wrong)
    data = load_emoji(category="food-fruit", style="noto")
    for shots, seed in ((1.5, 0), (1, None)):
        with pytest.raises(TypeError, match="both must be whole numbers"):
            few_shot(data, shots, seed)
    with pytest.raises(ValueError, match="the class 'food-fruit' has 20 rows; ask for at most 20"):
        few_shot(data, 21, 0, label="category")
    with pytest.raises(TypeError, match="a str was given; a PIL image is needed"):
        composite("a.png")


def test_a_draw_is_the_same_in_every_process():
    """Pinned: a hash that Python salts anew in each process would change it."""
    drawn = few_shot(load_emoji(category="animal-amphibian"), 3, seed=7)
    names = load_emoji().features["style"].names
    assert [names[style] for style in drawn["style"]] == ["noto-v1", "twemoji", "fluent-emoji-flat"]
