"""What classifier.json says about images is what the model's image processor does to them."""

import copy

import numpy as np
import pytest
from PIL import Image

import clipnotes
from clipnotes.data import load_emoji
from clipnotes.pictures.upright import ORIENTATION
from clipnotes.prompts.saved.home.serve import preprocess
from clipnotes.prompts.saved.preprocessing import written_down
from families import NAMES, tiny_clip

SIZES = [(64, 64), (65, 64), (200, 113), (57, 341), (31, 30), (640, 480), (3, 4)]


def noise(mode, size, seed=0):
    bytes_ = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    image = Image.fromarray(bytes_)
    return image.convert("P") if mode == "P" else image.convert(mode)


def assert_same(clip, image):
    how = written_down(clip)
    wanted, found = clip.preprocess([image]).numpy(), preprocess(image, how)
    assert found.shape == wanted.shape and found.dtype == np.float32
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_it_is_what_clip_does(clip, mode, size):
    assert_same(clip, noise(mode, size))


def test_a_transparent_png_and_a_turned_photograph(clip, tmp_path):
    assert_same(clip, load_emoji(style="noto")[3]["image"])
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    noise("RGB", (90, 50)).save(tmp_path / "turned.jpg", exif=exif)
    noise("P", (80, 41)).save(tmp_path / "hole.png", transparency=7)
    for name in ("turned.jpg", "hole.png"):
        assert_same(clip, Image.open(tmp_path / name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES)
def test_it_is_what_every_family_does(name, size):
    assert_same(tiny_clip(name), noise("RGBA", size))


def with_processor(clip, **settings):
    processor = copy.deepcopy(clip.image_processor)
    for name, value in settings.items():
        setattr(processor, name, value)
    return clipnotes.Clip(clip.model, clip.tokenizer, processor)


@pytest.mark.parametrize(
    "settings",
    [
        {"resample": 2},
        {"do_normalize": False},
        {"do_rescale": False},
        {"image_mean": [0.1, 0.2, 0.3]},
        {"do_resize": False},  # a picture that is too small gets a black frame
        {"do_center_crop": False, "size": {"height": 64, "width": 64}},
    ],
    ids=str,
)
def test_other_settings_are_written_down_too(clip, settings):
    other = with_processor(clip, **settings)
    assert_same(other, noise("RGBA", (99, 57)))
    assert written_down(other) != written_down(clip)


def test_what_cannot_be_written_down_is_refused(clip):
    def brighter(images, **kwargs):
        made = clip.image_processor(images, **kwargs)
        return {"pixel_values": made["pixel_values"] + 0.01}

    class Brighter:
        def __getattr__(self, name):
            return getattr(clip.image_processor, name)

        def __call__(self, images, **kwargs):
            return brighter(images, **kwargs)

    odd = clipnotes.Clip(clip.model, clip.tokenizer, Brighter())
    with pytest.raises(ValueError, match=r"is a Brighter.*they differ by 0\.00\d"):
        written_down(odd)
