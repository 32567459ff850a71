"""Load a CLIP as one object: the embedded Emoji-CLIP, a local directory, or a model of the hub."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from clipnotes import compat
from clipnotes.classnames import check_classnames
from clipnotes.compat.carried import check_here, text_ends
from clipnotes.model_files import FILES, check_directory, check_parts_fit, read_parts
from clipnotes.pictures.batches import BATCH, encode_pixels
from clipnotes.pictures.composite import composite
from clipnotes.pictures.upright import is_plain

EMOJI_CLIP = Path(__file__).parent / "emoji_clip"
CHOICES = (
    "clipnotes.load() for the embedded Emoji-CLIP; the path of a directory with "
    f"{FILES}; a hub id such as 'openai/clip-vit-base-patch32' (needs a network)"
)


class Clip:
    """A CLIP model with its tokenizer and image processor.

    Args:
        model: transformers' ``CLIPModel``.
        tokenizer: its tokenizer.
        image_processor: its image processor.

    Attributes:
        model, tokenizer, image_processor: transformers' own objects, as given.

    Example:
        >>> import clipnotes
        >>> clip = clipnotes.load()
        >>> type(clip.model).__name__
        'CLIPModel'
    """

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.image_processor = image_processor

    @property
    def processor(self) -> Any:
        """Transformers' ``CLIPProcessor`` around tokenizer and image processor, made when asked.

        One call prepares texts and images for ``clip.model``, as in most examples on the web. It
        does what this version of transformers does to transparent images; :meth:`preprocess` lays
        them on white in every version.

        Raises:
            ValueError: the tokenizer or the image processor is none that transformers can join.

        Example:
            >>> import clipnotes
            >>> clip = clipnotes.load()
            >>> inputs = clip.processor(text=["a tulip"], return_tensors="pt")
            >>> clip.model.get_text_features(**inputs) is not None
            True
        """
        from transformers import CLIPProcessor

        try:
            return CLIPProcessor(image_processor=self.image_processor, tokenizer=self.tokenizer)
        except (TypeError, ValueError) as error:
            made_of = type(self.tokenizer).__name__, type(self.image_processor).__name__
            raise ValueError(
                f"no CLIPProcessor can be made of {' and '.join(made_of)}: {error}. Call "
                "clip.tokenize and clip.preprocess instead"
            ) from error

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """Images -> what the vision tower takes.

        Transparent images are laid on white first, and a photograph is turned as its EXIF note
        says, as by :func:`clipnotes.data.composite`. Images without transparency and note are
        given to the image processor as they are. One after the other is read and prepared, so a
        lazy sequence may be larger than the memory.

        Args:
            images: PIL images of any size; modes "RGB", "RGBA", "L", "LA", "P", "1".

        Returns:
            pixel_values (n, 3, S, S) float32, resized, cropped and normalised.

        Raises:
            TypeError: something that is not a PIL image.
            ValueError: no image, an empty one, or a mode that is not allowed.

        Example:
            >>> import clipnotes
            >>> from PIL import Image
            >>> clipnotes.load().preprocess([Image.new("RGB", (100, 80))]).shape
            torch.Size([1, 3, 64, 64])
        """
        return torch.cat(list(self._prepare(images)))

    def _prepare(self, images: Sequence[Image.Image]) -> Iterator[Tensor]:
        """Pixels (1, 3, S, S) of one image after the other."""
        if isinstance(images, Image.Image):
            raise TypeError("one image was given; give a list: [image]")
        if not hasattr(images, "__len__"):
            raise TypeError(f"a {type(images).__name__} was given; give a list of images")
        if len(images) == 0:
            raise ValueError("no image was given; at least one is needed")
        for i, image in enumerate(images):
            if not isinstance(image, Image.Image):
                raise TypeError(f"image {i} is a {type(image).__name__}; PIL images are needed")
            if 0 in image.size:
                raise ValueError(
                    f"image {i} is {image.size[0]} x {image.size[1]} pixels; nothing to see"
                )
            ready = image if is_plain(image) else composite(image)
            yield self.image_processor([ready], return_tensors="pt")["pixel_values"]

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Texts -> input_ids and attention_mask, padded to the longest.

        Args:
            texts: strings.

        Returns:
            input_ids and attention_mask, each (n, length) int64.

        Raises:
            TypeError: something that is no string.
            ValueError: no text, or one with more tokens than the model has positions.

        Example:
            >>> import clipnotes
            >>> clipnotes.load().tokenize(["a tulip"])["input_ids"][0, 0].item()  # <|startoftext|>
            3998
        """
        if isinstance(texts, str):
            raise TypeError(f"one text was given; give a list: [{texts!r}]")
        if not hasattr(texts, "__len__"):
            raise TypeError(f"a {type(texts).__name__} was given; give a list of strings")
        if len(texts) == 0:
            raise ValueError("no text was given; at least one is needed")
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"text {i} is a {type(text).__name__}; strings are needed")
        limit = self.model.config.text_config.max_position_embeddings
        encoded = self.tokenizer(list(texts), padding=True, return_tensors="pt", verbose=False)
        lengths = encoded["attention_mask"].sum(1)
        if int(lengths.max()) > limit:
            i = int(lengths.argmax())
            raise ValueError(
                f"text {i} ({texts[i][:60]!r}) has {int(lengths[i])} tokens, and this model has "
                f"{limit} positions; shorten it"
            )
        return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Encode texts in the space shared with images.

        A text is read out at its first end token, as the tokenizer knows it. So does transformers,
        but with an ``eos_token_id`` of 2, as in OpenAI's own configurations, it reads where the
        largest id stands: a token that was added to the tokenizer would be taken for the end.

        Args:
            texts: strings of at most the model's number of positions.

        Returns:
            (n, d) float, unit length, without gradient.

        Raises:
            TypeError, ValueError: as :meth:`tokenize`.
            ValueError: also if the tokenizer puts no end token behind a text, or if weights are not
                in memory, as those that accelerate offloads.

        Example:
            >>> import clipnotes
            >>> clipnotes.load().encode_text(["a tulip"]).norm(dim=-1).round(decimals=4)
            tensor([1.])
        """
        check_here(self.model)
        ids = self.tokenize(texts)
        ends = text_ends(self.tokenizer, ids["input_ids"])  # (n,)
        parts = [
            compat.text_features(
                self.model,
                ids["input_ids"][i : i + BATCH].to(self.model.device),
                ids["attention_mask"][i : i + BATCH].to(self.model.device),
                ends=ends[i : i + BATCH],
            )
            for i in range(0, len(texts), BATCH)
        ]
        return torch.nn.functional.normalize(torch.cat(parts), dim=-1)

    @torch.no_grad()
    def encode_image(self, images: Sequence[Image.Image]) -> Tensor:
        """Encode images in the space shared with texts.

        Photographs are turned as their EXIF note says, as the command line does it. A few at a time
        are prepared and go through the tower, so a lazy sequence may be larger than the memory.

        Args:
            images: PIL images, as for :meth:`preprocess`.

        Returns:
            (n, d) float, unit length, without gradient.

        Raises:
            TypeError, ValueError: as :meth:`preprocess`.
            ValueError: also if weights are not in memory.

        Example:
            >>> import clipnotes
            >>> from PIL import Image
            >>> clipnotes.load().encode_image([Image.new("RGB", (64, 64))]).shape
            torch.Size([1, 128])
        """
        return encode_pixels(self.model, self._prepare(images))

    @torch.no_grad()
    def classify(
        self,
        images: Sequence[Image.Image],
        classnames: Sequence[str],
        template: str = "an emoji of a {}",
    ) -> Tensor:
        """Zero-shot classification (Radford et al. 2021, section 3.1).

        Args:
            images: PIL images.
            classnames: the names to choose from.
            template: the sentence around a name, with one ``{}``.

        Returns:
            (n_images, n_classes) probabilities; each row sums to 1.

        Raises:
            TypeError: a template or a class that is no string, or one string for all classes.
            ValueError: a template without exactly one ``{}``, no class, two classes with one name
                or with the same tokens, or no image.

        Example:
            >>> import clipnotes
            >>> from clipnotes.data import load_emoji
            >>> fruit = load_emoji(style="noto", category="food-fruit")
            >>> clip = clipnotes.load()
            >>> clip.classify([fruit[0]["image"]], fruit["name"]).shape
            torch.Size([1, 20])
        """
        if not isinstance(template, str):
            raise TypeError(f"the template is a {type(template).__name__}; a string is needed")
        if template.count("{}") != 1:
            raise ValueError(
                f"the template {template!r} has {template.count('{}')} places '{{}}'; it needs one"
            )
        names = check_classnames(classnames, self.tokenizer)
        texts = self.encode_text([template.replace("{}", name) for name in names])
        logits = self.model.logit_scale.exp() * self.encode_image(images) @ texts.T
        return logits.softmax(dim=-1)


def load(name: str | os.PathLike[str] | None = None) -> Clip:
    """Load a CLIP, in float32 and in evaluation mode.

    Args:
        name: a directory in Hugging Face's format, or a hub id ("openai/clip-vit-base-patch32").
            None takes the environment variable CLIPNOTES_MODEL, and without it the embedded
            Emoji-CLIP.

    Returns:
        A :class:`Clip`. Nothing is unpickled: only safetensors are read.

    Raises:
        ValueError: no such directory or model, a file is missing, damaged or does not fit the
            configuration. Nothing is loaded halfway.

    Example:
        >>> import clipnotes
        >>> clipnotes.load().model.config.vision_config.patch_size
        8
    """
    if name is None:
        name = os.environ.get("CLIPNOTES_MODEL") or EMOJI_CLIP
    if not isinstance(name, (str, os.PathLike)) or not os.fspath(name):
        raise ValueError(f"name is {name!r}; it must be {CHOICES}")
    path = Path(os.fspath(name)).expanduser()
    try:
        is_directory, is_file = path.is_dir(), path.is_file()
    except OSError:  # too long for a path, so it is none
        is_directory = is_file = False
    if is_file:
        raise ValueError(f"{path} is a file; give the directory that it is in")
    if is_directory:
        check_directory(path)
    source = str(path) if is_directory else os.fspath(name)
    model, *others = read_parts(source, is_directory, CHOICES)
    clip = Clip(model.float().eval(), *others)
    shape = tuple(clip.preprocess([Image.new("RGB", (8, 8))]).shape)
    check_parts_fit(clip.model, clip.tokenizer, shape, os.fspath(name))
    return clip
