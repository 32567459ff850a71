"""What names images: every learner, and every baseline that needs no training.

A classifier holds a CLIP and class names, and says itself what it is given: features, or pixels
that it encodes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from clipnotes.checkpoints import Clip
from clipnotes.compat import shared_width
from clipnotes.pictures.reading import Files
from clipnotes.prompts.chance import Chance
from clipnotes.prompts.inputs import (
    Images,
    check_images,
    check_pixels,
    encode_pictures,
    features_of,
    picture,
    pictures_in,
)
from clipnotes.prompts.saved.export import To, export
from clipnotes.prompts.saved.head import Head, read_off

KEPT = 384 * 2**20  # bytes of pixels that are kept for training: 668 images of 224 x 224
BLOCK = 128 * 2**20  # bytes of pixels that are held at once: 222 images of 224 x 224


class Classifier:
    """Names images among some classes: a learner, or a baseline that needs no training.

    A subclass writes ``logits``. Most compare the features of images, which are computed once. One
    that encodes images itself overrides ``inputs`` too, and its ``logits`` then gets pixels.

    Attributes:
        clip: The model.
        classnames: A name for each class, in the order of the logits.
        OPTIONS: Name -> type, of the attributes that a card tells of.
        n_parameters: How many numbers it takes from the images that it learned from.
        TRAINING: Names of the attributes that the first logits do not show, such as weights of the
            loss. A checkpoint of ``fit`` is for the same ones only.
        temperature: What divides the logits before they become probabilities; 1 unless it was
            found on held-out images. ``logits`` does not know it, and no class changes its rank.

    Example:
        >>> import clipnotes
        >>> from PIL import Image
        >>> from clipnotes.prompts import VPT, ZeroShot
        >>> clip, images = clipnotes.load(), [Image.new("RGB", (80, 60))]
        >>> ZeroShot(clip, ["rose", "tulip"]).inputs(images).shape
        torch.Size([1, 128])
        >>> VPT(clip, ["rose", "tulip"]).inputs(images).shape
        torch.Size([1, 3, 64, 64])
    """

    clip: Clip
    classnames: list[str]
    TRAINING: ClassVar[tuple[str, ...]] = ()
    temperature: float = 1.0
    OPTIONS: ClassVar[Mapping[str, type]] = {}

    @property
    def n_parameters(self) -> int:
        """How many numbers it takes from the images that it learned from."""
        return 0

    def logits(self, inputs: Tensor, /) -> Tensor:
        """Compare images with every class.

        Args:
            inputs: What ``inputs`` makes of n images.

        Returns:
            (n, n_classes).
        """
        raise NotImplementedError(f"{type(self).__name__} has no logits")

    def inputs(self, images: Images) -> Tensor:
        """Make of images what ``logits`` takes.

        Args:
            images: PIL images, or an empty list; or their features, which are checked.

        Returns:
            (n, P) float32 features of unit length, on the model's device.

        Raises:
            TypeError, ValueError: Images or features that the model cannot take.
        """
        return features_of(self.clip, images) if len(images) else encode_pictures(self.clip, [])

    def with_classes(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Give the logits and the class features that they come from, computed once for both.

        Only a classifier whose class features are the same for every image has them: a penalty in
        ``fit`` asks for them.

        Args:
            inputs: As for ``logits``.

        Returns:
            (n, n_classes) logits and (n_classes, P) features of unit length.

        Raises:
            NotImplementedError: There are no such class features.
        """
        raise NotImplementedError(f"{type(self).__name__} has no class features for all images")

    def in_training(self, inputs: Tensor, chance: Chance) -> tuple[Tensor, Tensor | float]:
        """Give the logits of a step of ``fit``, and what the method adds to the loss.

        Args:
            inputs: As for ``logits``; a process may have none of a batch.
            chance: What is random in the step is drawn by it.

        Returns:
            (n, n_classes) logits, and a number summed over the images, as the loss is. Nothing is
            added unless a method says so.
        """
        return self.logits(inputs), 0.0

    def epoch_weights(self, epochs: int) -> Sequence[float] | None:
        """Say how much each epoch counts, if what is learned is a mean over epochs.

        Args:
            epochs: How many there will be.

        Returns:
            A weight for each, together 1. None, unless a method says so: the last one counts alone.
        """
        return None

    def export(
        self, folder: str | os.PathLike[str], to: To = "onnx", *, force: bool = False
    ) -> None:
        """Write a folder that names images without clipnotes, transformers and a text tower.

        It gets ``classifier.json``, which says everything that a program has to know: the labels,
        how an image is prepared, inputs, outputs and versions. Beside it lies, by ``to``:

        - "onnx": ``classifier.onnx``, the vision tower and the classifier in one file. Pixels,
          (batch, 3, S, S), go in, logits and probabilities come out. It is run once, and has to
          give what the classifier gives. ``serve.py`` names images with it; it needs onnxruntime,
          numpy and pillow.
        - "safetensors": ``classifier.safetensors``, the vectors of the classes, for features that
          come from anywhere. ``classify.py`` needs numpy and safetensors.

        Args:
            folder: Is made if it is not there.
            to: "onnx", which needs ``pip install "clipnotes-book[export]"``, or "safetensors".
            force: Replace an export that is there.

        Raises:
            ValueError: Something is in the folder; a package is missing; the classes change with
                the image, as in CoCoOp; a learner that changes the vision tower is to become
                safetensors; the model is not in float32; its image processor does what cannot be
                written down; the ONNX file computes something else. Nothing is written.
            OSError: The system refuses.

        Example:
            >>> import clipnotes, tempfile
            >>> from pathlib import Path
            >>> from clipnotes.prompts import ZeroShot
            >>> folder = Path(tempfile.mkdtemp(), "flowers")
            >>> ZeroShot(clipnotes.load(), ["rose", "tulip"]).export(folder, to="safetensors")
            >>> sorted(path.name for path in folder.iterdir())
            ['classifier.json', 'classifier.safetensors', 'classify.py']
        """
        export(self, folder, to, force)

    def head(self) -> Head:
        """Say what is left once the classes are fixed, for ``export``: from features to logits.

        Where ``logits`` takes features and is linear in them, this finds out by itself. Any other
        classifier that can be exported overrides it.
        """
        return read_off(self.logits, shared_width(self.clip.model), self.clip.model.device)

    def seeing(self) -> AbstractContextManager[None]:
        """Change the vision tower to what this classifier sees with, for ``export``."""
        return nullcontext()

    @property
    def takes_pixels(self) -> bool:
        """Whether ``logits`` takes pixels: whoever overrides ``inputs`` encodes images itself."""
        return type(self).inputs is not Classifier.inputs

    def check(self, images: Images) -> Images:
        """Check images, or what ``logits`` takes in their place; PIL images are not opened yet."""
        return (check_pixels if self.takes_pixels else check_images)(self.clip, images)

    def may_keep(self, images: Images, views: int = 1) -> bool:
        """Tell whether the inputs of all these images fit into memory at once.

        Features do. The pixels of many images are too large; these images are opened again
        whenever they are needed.
        """
        if isinstance(images, Tensor) or not self.takes_pixels:
            return True
        return views * len(images) <= pictures_in(self.clip, KEPT)

    def inputs_of(self, images: Images) -> Tensor:
        """Make the inputs of checked images; a checked tensor already is what ``logits`` takes."""
        return images if isinstance(images, Tensor) else self.inputs(images)

    def inputs_of_rows(self, images: Sequence[Image.Image], rows: Sequence[int]) -> Tensor:
        """Open these rows of the images one after the other, and make their inputs."""
        if isinstance(images, Files):  # which opens them in a few threads
            return self.inputs(Files([images.paths[i] for i in rows]))
        inputs = [self.inputs([picture(images, i)]) for i in rows]
        return torch.cat(inputs) if inputs else self.inputs([])

    def logits_of(self, images: Images) -> Tensor:
        """Compare checked images with every class; of pixels, a block at a time is held."""
        if isinstance(images, Tensor) or not self.takes_pixels:
            return self.logits(self.inputs_of(images))
        n, several = len(images), pictures_in(self.clip, BLOCK)
        blocks = [range(i, min(i + several, n)) for i in range(0, n, several)]
        return torch.cat([self.logits(self.inputs_of_rows(images, block)) for block in blocks])


class _Adapted(Classifier):
    """A user's own object with ``clip``, ``classnames`` and ``logits``, as a classifier."""

    def __init__(self, written: Any) -> None:
        self.written = written
        self.clip, self.classnames = written.clip, written.classnames

    @property
    def takes_pixels(self) -> bool:
        return hasattr(self.written, "inputs")

    def inputs(self, images: Images) -> Tensor:
        return self.written.inputs(images) if self.takes_pixels else super().inputs(images)

    def logits(self, inputs: Tensor, /) -> Tensor:
        return self.written.logits(inputs)


def as_classifier(written: Any) -> Classifier:
    """Make a classifier of anything with ``clip``, ``classnames`` and ``logits``."""
    # Without a method `inputs` it is given features; with one it is given pixels.
    return written if isinstance(written, Classifier) else _Adapted(written)
