"""An export in an environment of its own: onnxruntime, numpy and pillow, and nothing of ours."""

import os
import subprocess
import sys

import pytest

from _tools.versions import pins
from browser import cannot
from taken_home import assert_same, bare, classifiers, emoji, probabilities

pytestmark = pytest.mark.slow
NEEDED = ("numpy", "onnxruntime", "pillow")


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A Python with what ``serve.py`` asks for. Its packages come from pip's index."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    found = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pinned = pins.read_pins(pins.PINS)
    # -I: what lies on PYTHONPATH is not installed, though pip would take it for that.
    command = [str(found), "-I", "-m", "pip", "install", "--quiet", "--no-compile"]
    command += [f"{name}=={pinned[name]}" for name in NEEDED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        cannot(f"pip cannot install {', '.join(NEEDED)}: {done.stderr[-500:]}")
    return found


def test_it_names_two_hundred_pictures_where_there_is_nothing_of_ours(clip, python, tmp_path):
    for name in ("clipnotes", "torch", "transformers"):
        command = [str(python), "-I", "-c", f"import {name}"]  # -I: not from here, or PYTHONPATH
        done = subprocess.run(command, capture_output=True, text=True)
        assert "ModuleNotFoundError" in done.stderr
    images, names = emoji()
    paths = [tmp_path / f"{i}.png" for i in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        image.save(path)
    every = classifiers(clip, clip.encode_image(images), names)
    for kind in ("coop", "vpt"):
        every[kind].export(tmp_path / kind)
        lines = bare(tmp_path / kind / "serve.py", *paths, python=str(python))
        wanted = probabilities(every[kind], images)
        assert_same([line[1:] for line in lines], wanted, every[kind].classnames)
