"""What learners and baselines are given: images or features, and labels, checked and read."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor

from clipnotes.checkpoints import Clip
from clipnotes.compat import shared_width
from clipnotes.pictures.batches import encode_pixels
from clipnotes.pictures.composite import composite
from clipnotes.pictures.reading import Files

Images = Sequence[Image.Image] | Tensor  # images, or what a learner takes in their place
Labels = Sequence[int] | Sequence[str] | Tensor

_FEATURES = "give PIL images, or the (n, {width}) tensor that clip.encode_image(images) returns"
_PIXELS = "give PIL images, or the (n, {}) tensor that clip.preprocess(images) returns"


def picture(images: Sequence[Image.Image], i: int) -> Image.Image:
    """Read one image of a sequence, as RGB on white."""
    try:
        image = composite(images[i])
    except (TypeError, ValueError) as error:
        raise type(error)(f"image {i}: {error}") from error
    if 0 in image.size:
        raise ValueError(f"image {i} is {image.size[0]} x {image.size[1]} pixels; nothing to see")
    return image


def encode_pictures(clip: Clip, images: Sequence[Image.Image]) -> Tensor:
    """Images -> (n, P) float32 features of unit length, on the model's device; n may be 0."""
    if len(images) == 0:
        return torch.zeros(0, shared_width(clip.model), device=clip.model.device)
    return encode_pixels(clip.model, prepared(clip, images)).float()


def prepared(clip: Clip, images: Sequence[Image.Image]) -> Iterator[Tensor]:
    """Give the pixels, (1, 3, S, S), of one image after the other; of files, in a few threads."""
    if isinstance(images, Files):
        return images.pixels(clip)
    return (clip.preprocess([picture(images, i)]) for i in range(len(images)))


def check_images(clip: Clip, images: Images) -> Images:
    """Check PIL images, or (n, P) features: these in float32, detached, on the model's device."""
    width = shared_width(clip.model)
    wanted = _FEATURES.format(width=width)
    _check_many(images, wanted)
    if not isinstance(images, Tensor):
        return images
    shape = tuple(images.shape)
    if not images.is_floating_point() or len(shape) != 2 or shape[1] != width:
        raise ValueError(f"images is a tensor of shape {shape} and {images.dtype}; {wanted}")
    features = images.detach().to(clip.model.device, torch.float32)
    lengths = features.norm(dim=-1)
    wrong = ~((lengths - 1).abs() < 0.01)  # bfloat16 rounds to about 0.004; NaN is wrong too
    if wrong.any():
        i = int(wrong.nonzero()[0])
        raise ValueError(
            f"feature {i} has length {lengths[i].item():.4g}; features have length 1: "
            "divide each by its length, as clip.encode_image does"
        )
    return features


def features_of(clip: Clip, images: Images) -> Tensor:
    """Images or features -> checked (n, P) float32 features of unit length."""
    images = check_images(clip, images)
    return images if isinstance(images, Tensor) else encode_pictures(clip, images)


def check_pixels(clip: Clip, images: Images) -> Images:
    """Check PIL images, or (n, 3, S, S) pixels: these in float32, detached."""
    size = _pixel_shape(clip)
    wanted = _PIXELS.format(", ".join(map(str, size)))
    _check_many(images, wanted)
    if not isinstance(images, Tensor):
        return images
    if not images.is_floating_point() or tuple(images.shape[1:]) != size:
        shape = tuple(images.shape)
        raise ValueError(f"images is a tensor of shape {shape} and {images.dtype}; {wanted}")
    pixels = images.detach().float()
    finite = pixels.isfinite().flatten(1).all(dim=1)
    if not finite.all():
        raise ValueError(f"image {int((~finite).nonzero()[0])} has a pixel that is not finite")
    return pixels


def _pixel_shape(clip: Clip) -> tuple[int, int, int]:
    config = clip.model.config.vision_config
    return config.num_channels, config.image_size, config.image_size


def _check_many(images: Images, wanted: str) -> None:
    if isinstance(images, (str, bytes, Image.Image)) or not hasattr(images, "__len__"):
        raise TypeError(f"images is a {type(images).__name__}; {wanted}")
    if isinstance(images, Tensor) and images.dim() == 0:
        raise ValueError(f"images is a tensor of shape (); {wanted}")
    if len(images) == 0:
        raise ValueError(f"images is empty; {wanted}")


def pixels_of(clip: Clip, images: Images) -> Tensor:
    """Images or pixels -> checked (n, 3, S, S) float32 pixels; n may be 0."""
    if len(images) == 0:
        return torch.zeros(0, *_pixel_shape(clip))
    images = check_pixels(clip, images)
    if isinstance(images, Tensor):
        return images
    pixels = torch.empty(len(images), *_pixel_shape(clip))
    for i, one in enumerate(prepared(clip, images)):
        pixels[i] = one[0]
    return pixels


def pictures_in(clip: Clip, size: int) -> int:
    """Say how many images have pixels of so many bytes, in float32; at least one."""
    return max(1, size // (4 * math.prod(_pixel_shape(clip))))


def check_labels(labels: Labels, classnames: Sequence[str], n: int) -> Tensor:
    """Numbers or names of n classes -> (n,) int64 numbers into ``classnames``, on the CPU."""
    if isinstance(labels, str) or not hasattr(labels, "__len__"):
        raise TypeError(f"labels is a {type(labels).__name__}; give a list, one label per image")
    if isinstance(labels, Tensor) and labels.dim() != 1:
        raise ValueError(f"labels has shape {tuple(labels.shape)}; give ({n},)")
    if len(labels) != n:
        raise ValueError(f"{n} images and {len(labels)} labels were given; give one label each")
    values = labels.tolist() if isinstance(labels, Tensor) else list(labels)
    number = {name: i for i, name in enumerate(classnames)}
    found = []
    for i, value in enumerate(values):
        if isinstance(value, str):
            if value not in number:
                some = ", ".join(classnames[:5]) + (", ..." if len(classnames) > 5 else "")
                raise ValueError(f"label {i} is {value!r}, which is none of the classes: {some}")
            found.append(number[value])
        elif isinstance(value, numbers.Integral) and not isinstance(value, bool):
            value = int(value)
            if not 0 <= value < len(classnames):
                raise ValueError(
                    f"label {i} is {value}; {len(classnames)} classes have the numbers 0 to "
                    f"{len(classnames) - 1}"
                )
            found.append(value)
        else:
            raise TypeError(f"label {i} is {value!r}; give the number or the name of a class")
    return torch.tensor(found, device="cpu")


def count_shots(labels: Tensor, classnames: Sequence[str]) -> int:
    """Find the number of images of the class that has the fewest."""
    counts = torch.bincount(labels, minlength=len(classnames))
    if (counts == 0).any():
        i = int(counts.argmin())
        raise ValueError(
            f"the class {classnames[i]!r} has no image; give at least one of each class, "
            "or leave the class out"
        )
    return int(counts.min())


def labelled_features(
    clip: Clip, classnames: Sequence[str], images: Images, labels: Labels
) -> tuple[Tensor, Tensor]:
    """Images or features and labels -> checked features, and the numbers of the classes."""
    checked = check_images(clip, images)
    numbers = check_labels(labels, classnames, len(checked))
    count_shots(numbers, classnames)
    return features_of(clip, checked), numbers
