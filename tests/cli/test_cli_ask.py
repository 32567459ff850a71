"""``clipnotes ask``: an answer on stdout, errors in one line, its limits in its help."""

import pytest

import clipnotes
from clipnotes.llava import SORTS, make_scenes
from command_line import refused, run


@pytest.fixture
def image(tmp_path):
    scene = make_scenes(1, seed=8)[0]
    scene.image.save(tmp_path / "scene.png")
    return tmp_path / "scene.png", scene


def test_it_answers_as_the_package_does(image):
    path, scene = image
    for question in ("what colour is the background?", "How many things are there"):
        result = run("ask", path, question)
        assert result.exit_code == 0, result.output
        assert result.stdout == clipnotes.load_llava().ask(scene.image, question)[0] + "\n"


def test_what_cannot_be_asked_is_refused(image, tmp_path):
    path, _ = image
    refused("never read the word 'zebra'", "ask", path, "is there a zebra?")
    refused("the question is empty", "ask", path, " ")
    (tmp_path / "note.png").write_text("no image")
    refused(r"note\.png", "ask", tmp_path / "note.png", "what is this?")
    refused(r"none\.png", "ask", tmp_path / "none.png", "what is this?")


def test_its_help_says_what_it_knows():
    said = " ".join(run("ask", "--help").stdout.replace("│", " ").split())
    for example in SORTS.values():
        assert example in said, example
    assert "Of a photograph it will say something, too" in said
