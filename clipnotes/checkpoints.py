"""Load a two-tower model as one object: an embedded one, a directory, or a model of the hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from clipnotes import compat
from clipnotes.classnames import check_classnames
from clipnotes.compat.carried import check_here, text_ends
from clipnotes.compat.texts import tokenize
from clipnotes.model_files import FILES, check_directory, check_parts_fit, read_parts
from clipnotes.pictures.batches import BATCH, encode_pixels
from clipnotes.pictures.preparing import prepare

EMOJI_CLIP = Path(__file__).parent / "emoji_clip"
EMOJI_SIGLIP = Path(__file__).parent / "emoji_siglip"
# The names of what is inside the package, which come before a directory of the same name.
EMBEDDED = {"emoji-clip": EMOJI_CLIP, "emoji-siglip": EMOJI_SIGLIP}
CHOICES = (
    "clipnotes.load() for the embedded Emoji-CLIP, or its name 'emoji-clip'; 'emoji-siglip' for "
    f"the embedded Emoji-SigLIP; the path of a directory with {FILES}; a hub id such as "
    "'openai/clip-vit-base-patch32' (needs a network)"
)


class Clip:
    """A two-tower model with its tokenizer and image processor.

    It is called Clip, and takes the relatives as well: SigLIP, Chinese-CLIP and all other families
    in ``compat.FAMILIES``. Each is given its texts as it was trained, see :meth:`tokenize`.

    Args:
        model: transformers' ``CLIPModel``, or ``SiglipModel`` and so on.
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
        """Transformers' own processor around tokenizer and image processor, made when asked.

        For CLIP that is a ``CLIPProcessor``, for SigLIP a ``SiglipProcessor``, and so on. One call
        prepares texts and images for ``clip.model``, as in most examples on the web. It does what
        this version of transformers does to transparent images; :meth:`preprocess` lays them on
        white in every version. And it pads texts only when told: for SigLIP, pass
        ``padding="max_length", max_length=...`` as :meth:`tokenize` does by itself.

        Raises:
            ValueError: the tokenizer or the image processor is none that transformers can join.
                Older versions look at the classes: a ``SiglipProcessor`` of 4.49 takes a
                ``SiglipTokenizer`` and nothing else.

        Example:
            >>> import clipnotes
            >>> clip = clipnotes.load()
            >>> inputs = clip.processor(text=["a tulip"], return_tensors="pt")
            >>> clip.model.get_text_features(**inputs) is not None
            True
        """
        import transformers

        name = compat.kind_of(self.model).processor
        join = getattr(transformers, name)
        try:
            return join(image_processor=self.image_processor, tokenizer=self.tokenizer)
        except (TypeError, ValueError, ImportError) as error:
            made_of = type(self.tokenizer).__name__, type(self.image_processor).__name__
            raise ValueError(
                f"no {name} can be made of {' and '.join(made_of)}: {error}. Call "
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
        return torch.cat(list(prepare(self.image_processor, images)))

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Texts -> the inputs of the text tower, padded as the model was trained.

        Where a model reads a text out decides about the padding. CLIP reads at the end token, and
        no token looks ahead; Chinese-CLIP and AltCLIP read at the first token, with a mask. Both
        get texts padded to the longest, with the mask. SigLIP reads at the last position, and was
        trained with texts that fill all positions, and without a mask, so that it sees the padding:
        it gets all positions and no ``attention_mask``, because with one it would give different
        features. In each case ``clip.model.get_text_features(**clip.tokenize(texts))`` are the
        model's own.

        SigLIP 2 was trained with small letters, which the tokenizer in its files does not make of
        capitals. :func:`load` sets it to do so. If you load it yourself, write small letters.

        Args:
            texts: strings.

        Returns:
            input_ids and, except for SigLIP, attention_mask, each (n, length) int64.

        Raises:
            TypeError: something that is no string.
            ValueError: no text, or one with more tokens than the model has positions.

        Example:
            >>> import clipnotes
            >>> clipnotes.load().tokenize(["a tulip"])["input_ids"][0, 0].item()  # <|startoftext|>
            3998
        """
        return tokenize(self.model, self.tokenizer, texts)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Encode texts in the space shared with images.

        CLIP's texts are read out at the first end token, as the tokenizer knows it. So does
        transformers, but with an ``eos_token_id`` of 2, as in OpenAI's own configurations, it reads
        where the largest id stands: a token that was added to the tokenizer would be taken for the
        end. Models that read at the first or last position need no end token.

        Args:
            texts: strings of at most the model's number of positions.

        Returns:
            (n, d) float, unit length, without gradient.

        Raises:
            TypeError, ValueError: as :meth:`tokenize`.
            ValueError: also if the tokenizer of a CLIP puts no end token behind a text, or if
                weights are not in memory, as those that accelerate offloads.

        Example:
            >>> import clipnotes
            >>> clipnotes.load().encode_text(["a tulip"]).norm(dim=-1).round(decimals=4)
            tensor([1.])
        """
        check_here(self.model)
        inputs = self.tokenize(texts)
        at_end = compat.family_of(self.model).reads(self.model) == "end"
        ends = text_ends(self.tokenizer, inputs["input_ids"]) if at_end else None  # (n,)
        parts = []
        for i in range(0, len(texts), BATCH):
            some = {name: t[i : i + BATCH].to(self.model.device) for name, t in inputs.items()}
            own = None if ends is None else ends[i : i + BATCH]
            parts.append(compat.text_features(self.model, **some, ends=own))
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
        return encode_pixels(self.model, prepare(self.image_processor, images))

    @torch.no_grad()
    def classify(
        self,
        images: Sequence[Image.Image],
        classnames: Sequence[str],
        template: str = "an emoji of a {}",
    ) -> Tensor:
        """Zero-shot classification (Radford et al. 2021, section 3.1).

        The logits are the model's own, and their softmax says which of the classes it would be if
        it were one of them. SigLIP's bias is the same for all classes, so it cancels there: to ask
        of each class by itself whether it is in the image, take ``compat.logits(...).sigmoid()``.

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
        return compat.logits(self.model, self.encode_image(images) @ texts.T).softmax(dim=-1)


def load(name: str | os.PathLike[str] | None = None) -> Clip:
    """Load a two-tower model, in float32 and in evaluation mode.

    It opens CLIP, CLIPSeg, MetaCLIP 2, SigLIP, SigLIP 2 at a fixed resolution, Chinese-CLIP,
    AltCLIP, and a VisionTextDualEncoder of a BERT and a ViT. Any other is refused before its
    weights are read, with the reason.

    Args:
        name: "emoji-clip" or "emoji-siglip", the embedded models; a directory in Hugging Face's
            format; or a hub id ("openai/clip-vit-base-patch32"). An embedded name comes before a
            directory that is called the same, which "./emoji-clip" names, or a ``Path``. None takes
            the environment variable CLIPNOTES_MODEL, and without it the embedded Emoji-CLIP.

    Returns:
        A :class:`Clip`. Nothing is unpickled: only safetensors are read, and no code is run that
        comes with a model.

    Raises:
        ValueError: no such directory or model, one that is not opened, a file is missing, damaged
            or does not fit the configuration. Nothing is loaded halfway.

    Example:
        >>> import clipnotes
        >>> clipnotes.load().model.config.vision_config.patch_size
        8
    """
    if name is None:
        name = os.environ.get("CLIPNOTES_MODEL") or EMOJI_CLIP
    if isinstance(name, str) and name in EMBEDDED:
        name = _embedded(name)
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
    try:
        shape = tuple(clip.preprocess([Image.new("RGB", (8, 8))]).shape)
    except Exception as error:  # whatever odd numbers in its file lead to
        said = f"the image processor of {os.fspath(name)} fails on an image ({error!r})"
        raise ValueError(f"{said}; fetch preprocessor_config.json again") from error
    check_parts_fit(clip.model, clip.tokenizer, shape, os.fspath(name))
    return clip


def _embedded(name: str) -> Path:
    """Find the directory of an embedded model."""
    folder = EMBEDDED[name]
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"{name!r} is the name of an embedded model, and it is not in this installation "
            f"({folder}): install clipnotes again. If you mean a directory, say './{name}'"
        )
    return folder
