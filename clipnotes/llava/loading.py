"""Load Emoji-LLaVA, and ask it about images."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from clipnotes.compat.llava import llava_parts
from clipnotes.compat.quiet import quiet
from clipnotes.data import composite
from clipnotes.llava.questions import SORTS

EMOJI_LLAVA = Path(__file__).parent.parent / "emoji_llava"
PROMPT = "USER: <image>\n{} ASSISTANT:"  # LLaVA 1.5's
LONGEST = 24  # tokens of an answer


class EmojiLlava:
    """Emoji-LLaVA: transformers' own model and processor, and a way to ask.

    Args:
        model: A ``LlavaForConditionalGeneration``.
        processor: Its ``LlavaProcessor``.

    Attributes:
        model, processor: As given.

    Example:
        >>> import clipnotes
        >>> llava = clipnotes.load_llava()
        >>> type(llava.model).__name__, type(llava.processor).__name__
        ('LlavaForConditionalGeneration', 'LlavaProcessor')
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self.model = model
        self.processor = processor

    def ask(
        self, images: Image.Image | Sequence[Image.Image], question: str | Sequence[str]
    ) -> list[str]:
        """Ask about images, and read the answers.

        Args:
            images: PIL images of any size. They become squares of 64 pixels, as everywhere. The
                model knows scenes as :func:`clipnotes.llava.make_scenes` makes them; of other
                images it will say something, too.
            question: One for all images, or one for each. ``clipnotes.llava.SORTS`` has an example
                of each sort that it was trained on.

        Returns:
            An answer for each image.

        Raises:
            TypeError: Something that is no image, or no text.
            ValueError: No image, more or fewer questions than images, an empty question, or one
                with a word that the model has never read.

        Example:
            >>> import clipnotes
            >>> from clipnotes.llava import make_scenes
            >>> scene = make_scenes(1, seed=3)[0]
            >>> clipnotes.load_llava().ask(scene.image, "how many things are there?")
            ['three']
        """
        pictures = [images] if isinstance(images, Image.Image) else list(images)
        if not isinstance(question, (str, list, tuple)):
            raise TypeError(f"the question is a {type(question).__name__}; give a text, or a list")
        asked = [question] * len(pictures) if isinstance(question, str) else list(question)
        if not pictures or len(asked) != len(pictures):
            raise ValueError(
                f"{len(pictures)} images and {len(asked)} questions; give at least one image, and "
                "one question for all or one for each"
            )
        tokenizer = self.processor.tokenizer
        texts = [PROMPT.format(self.check_question(text)) for text in asked]
        inputs = self.processor(
            images=[composite(image) for image in pictures],
            text=texts,
            return_tensors="pt",
            padding=True,
        )
        check_inputs(self.model, inputs["input_ids"], inputs["pixel_values"])
        with torch.no_grad(), quiet():
            said = self.model.generate(**inputs, do_sample=False, max_new_tokens=LONGEST)
        new = said[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]

    def check_question(self, question: str) -> str:
        """Give a question back in the form that the model has read, or raise what `ask` raises."""
        if not isinstance(question, str):
            raise TypeError(f"the question is a {type(question).__name__}; give a text")
        text = question.strip().lower()
        if not text:
            raise ValueError(f"the question is empty; ask one of {_examples()}")
        if text[-1] not in "?.":
            text += "." if text.startswith("describe") else "?"
        known = self.processor.tokenizer.get_vocab()
        for word in re.findall(r"[^\s?.,!]+|[?.,!]", text):
            if word not in known or word.startswith("<"):
                near = difflib.get_close_matches(word, [w for w in known if w[0] != "<"], n=3)
                hint = f"did you mean {' or '.join(near)}? " if near else ""
                raise ValueError(
                    f"the model has never read the word {word!r}; {hint}It knows the words of "
                    f"{_examples()}, and the names in clipnotes.llava.NAMES"
                )
        return text


def _examples() -> str:
    return ", ".join(repr(example) for example in SORTS.values())


def check_inputs(model: Any, input_ids: Tensor, pixel_values: Tensor | None) -> None:
    """Raise where transformers would compute a wrong answer without a word.

    Args:
        model: A ``LlavaForConditionalGeneration`` that takes the patches of one layer.
        input_ids: (B, L), the prompts.
        pixel_values: (B, 3, S, S), or ``None`` without images.

    Raises:
        ValueError: There are image tokens and no image; images of another size; or a row has more
            or fewer image tokens than its image has patches.

    Example:
        >>> import clipnotes
        >>> model = clipnotes.load_llava().model
        >>> check_inputs(model, torch.full((1, 64), 4), torch.zeros(1, 3, 64, 64))
    """
    counts = _image_tokens(model, input_ids)
    if pixel_values is None:
        if any(counts):
            raise ValueError(
                f"rows with {counts} image tokens, and no image: the model would read the image "
                "token as a word. Pass pixel_values, or leave <image> out of the prompts"
            )
        return
    size = model.config.vision_config.image_size
    if pixel_values.ndim != 4 or tuple(pixel_values.shape[1:]) != (3, size, size):
        raise ValueError(
            f"pixel_values have the shape {tuple(pixel_values.shape)}; the tower takes "
            f"(B, 3, {size}, {size}), as the processor makes them"
        )
    if len(counts) != len(pixel_values):
        raise ValueError(f"{len(pixel_values)} images for {len(counts)} prompts; give one for each")
    _check_counts(model, counts)


def _image_tokens(model: Any, input_ids: Tensor) -> list[int]:
    return (input_ids == model.config.image_token_index).sum(1).tolist()


def _check_counts(model: Any, counts: list[int]) -> None:
    vision = model.config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    if any(count != patches for count in counts):
        raise ValueError(
            f"rows with {counts} image tokens; each needs {patches}, one for each patch of its "
            "image. The processor writes them for one <image> in each prompt"
        )


def load_llava() -> EmojiLlava:
    """Load the embedded Emoji-LLaVA: a small language model on Emoji-CLIP's vision tower.

    What ships is the projector and the language model; the tower is Emoji-CLIP's own, which was
    frozen in the training. Nothing is downloaded.

    Returns:
        The model in evaluation mode and float32, with its processor.

    Example:
        >>> import clipnotes
        >>> llava = clipnotes.load_llava()
        >>> llava.model.config.vision_feature_layer
        -2
    """
    from safetensors.torch import load_file
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    from clipnotes.checkpoints import load
    from clipnotes.compat import vision_tower
    from clipnotes.model_files import check_sums

    check_sums(EMOJI_LLAVA)
    clip = load("emoji-clip")
    with quiet():
        config = LlavaConfig.from_pretrained(EMOJI_LLAVA)
        model = LlavaForConditionalGeneration(config).float()  # the tower's config says float16
    parts = llava_parts(model)
    # Part by part, so that no version's names for the whole matter: transformers 5.18 saves the
    # tower under names that 4.x does not read, and fills it with random numbers.
    shipped = load_file(EMOJI_LLAVA / "model.safetensors")
    for name in ("projector", "language_model"):
        part = getattr(parts, name)
        tensors = {
            key.removeprefix(f"{name}."): value.float()
            for key, value in shipped.items()
            if key.startswith(f"{name}.")
        }
        part.load_state_dict(tensors, strict=True)
    vision_tower(parts.vision_tower).load_state_dict(vision_tower(clip.model).state_dict())
    model.register_forward_pre_hook(_refuse, with_kwargs=True)
    return EmojiLlava(model.eval(), _processor(clip.image_processor))


def _refuse(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Check what the model is called with, by `generate` or by hand."""
    input_ids = kwargs.get("input_ids", args[0] if args else None)
    pixel_values = kwargs.get("pixel_values", args[1] if len(args) > 1 else None)
    if input_ids is None:  # somebody has spliced already
        return
    # Since 5.18, `generate` looks at the images first and passes what the tower made of them.
    if kwargs.get("mm_encoder_outputs"):
        counts = _image_tokens(model, input_ids)
        if any(counts):  # else it is the next token of an answer
            _check_counts(model, counts)
        return
    check_inputs(model, input_ids, pixel_values)


def _processor(image_processor: Any) -> Any:
    from transformers import LlavaProcessor, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(EMOJI_LLAVA / "tokenizer.json"),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        # Answers are written behind the prompt, so padding stands in front.
        padding_side="left",
        # Without this, transformers 4 makes token_type_ids, which `generate` refuses.
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # the class token, which the strategy takes off again
    )
