"""What all learners share: a frozen CLIP, class names, parameters of their own, save and load."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from clipnotes.checkpoints import Clip
from clipnotes.classnames import check_classnames
from clipnotes.compat import shared_width
from clipnotes.compat.carried import check_here
from clipnotes.prompts.classifier import Classifier
from clipnotes.prompts.saved.card import damaged, make_card
from clipnotes.prompts.saved.fits import check_fits
from clipnotes.prompts.saved.hub import MESSAGE, check_push, push_prompt
from clipnotes.prompts.saved.storage import FILE, read_prompt, write_prompt

L = TypeVar("L", bound="Learner")


class Learner(Classifier, nn.Module):
    """A classifier that learns a little beside a CLIP, which it uses and does not own.

    The CLIP is no part of ``state_dict``, does not move with ``to``, is shared by a deep copy of
    the learner, and gets no gradient. ``fit`` trains the parameters, ``evaluate`` measures, and
    what ``save`` writes is the ``state_dict`` and the options, nothing else.

    A method is a class of its own. It says how it is called and what it has to be made with again,
    and keeps each option as an attribute of that name.

    Args:
        clip: Model and tokenizer, as ``clipnotes.load`` gives them.
        classnames: One name a class, none twice.

    Attributes:
        clip, classnames: As given.
        method: What the card calls it; a key of ``methods.METHODS``.
        uses_vision: What is learned is for this vision tower, too, and not for its features alone.
        OPTIONS: Name -> type, of the arguments of ``__init__`` that the card keeps.

    Raises:
        TypeError: ``clip`` is of another type, or the names are.
        ValueError: No class, a name that is blank or there twice, or two with the same tokens; the
            model is offloaded.
    """

    method: ClassVar[str]
    uses_vision: ClassVar[bool] = False
    OPTIONS: ClassVar[Mapping[str, type]]

    def __init__(self, clip: Clip, classnames: Sequence[str]) -> None:
        super().__init__()
        if not isinstance(clip, Clip):
            raise TypeError(
                f"clip is a {type(clip).__name__}: give what clipnotes.load() returns, or "
                "clipnotes.Clip(model, tokenizer, image_processor) around your own"
            )
        check_here(clip.model)
        self.clip = clip
        self.classnames = check_classnames(classnames, clip.tokenizer)

    @property
    def n_parameters(self) -> int:
        """How many numbers are learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def check_features(self, image_features: Tensor) -> None:
        """Check that these are features of images, for ``logits``.

        Raises:
            ValueError: They have another shape than (n_images, P).
        """
        width = shared_width(self.clip.model)
        if image_features.dim() != 2 or image_features.shape[1] != width:
            raise ValueError(
                f"image_features has shape {tuple(image_features.shape)}: give "
                f"(n_images, {width}), as clip.encode_image makes them"
            )

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        shots: int | None = None,
        seed: int | None = None,
        scores: Mapping[str, float] | None = None,
        recipe: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> None:
        """Save what was learned, and a card that says what it is for.

        The folder gets ``prompt.safetensors`` and, for readers, ``card.json``. A kill at any moment
        leaves the old prompt or the new one. ``LoRA`` adds PEFT's own two files, made from it.

        Args:
            folder: Is made if it is not there.
            shots: How many images per class it was learned from.
            seed: The seed of the training.
            scores: Name -> number, for instance accuracies.
            recipe: Name -> text or number: how it was trained, for readers of the card.
            force: Replace a prompt that is there.

        Raises:
            TypeError: Shots, seed, a score or the recipe of another type.
            ValueError: A prompt is there already; a number that is not finite. Nothing is written.
            OSError: The system refuses; an old prompt is still there.

        Example:
            >>> import clipnotes, tempfile
            >>> from clipnotes.prompts import PromptLearner
            >>> learner = PromptLearner(clipnotes.load(), ["rose", "tulip"], n_ctx=4)
            >>> learner.save(tempfile.mkdtemp(), shots=16, scores={"accuracy": 0.9})
        """
        card = make_card(
            self.clip,
            method=self.method,
            options={name: getattr(self, name) for name in self.OPTIONS},
            classnames=self.classnames,
            vision=self.uses_vision,
            shots=shots,
            seed=seed,
            scores=scores,
            recipe=recipe,
            temperature=self.temperature,
        )
        write_prompt(folder, self.state_dict(), card, force=force, beside=self.beside())

    def beside(self) -> dict[str, bytes]:
        """Make files that stand beside the prompt, for other programs: name -> content."""
        return {}

    def push_to_hub(
        self,
        repo_id: str,
        *,
        shots: int | None = None,
        seed: int | None = None,
        scores: Mapping[str, float] | None = None,
        recipe: Mapping[str, Any] | None = None,
        private: bool = False,
        token: str | None = None,
        commit_message: str = MESSAGE,
    ) -> str:
        """Put what was learned on the Hugging Face hub, for ``load_prompt(repo_id, clip)``.

        What was saved before, with ``save`` or by ``clipnotes learn``, is put there by
        ``push_prompt``, with the scores on its card; a failed upload then costs nothing.

        Args:
            repo_id: Your name on the hub and one for the prompt, as in ``"me/my-prompt"``.
            shots: For the card and the page, as for ``save``.
            seed: Likewise.
            scores: Likewise.
            recipe: Likewise.
            private: Whether a new repository is for you alone.
            token: One that may write. None: that of ``hf auth login``, or ``HF_TOKEN``.
            commit_message: What the repository's history says.

        Returns:
            The address of its page.

        Raises:
            TypeError, ValueError: As ``save``, and as ``push_prompt``.
            ConnectionError: The hub could not be reached, or did not take it.

        Example:
            >>> import clipnotes
            >>> from clipnotes.prompts import PromptLearner
            >>> PromptLearner(clipnotes.load(), ["rose", "tulip"], n_ctx=4).push_to_hub("prompt")
            Traceback (most recent call last):
            ValueError: 'prompt' names no repository of the hub: give your name there and a new...
        """
        check_push(repo_id, token, commit_message)
        with tempfile.TemporaryDirectory() as folder:
            self.save(folder, shots=shots, seed=seed, scores=scores, recipe=recipe)
            return push_prompt(
                folder, repo_id, private=private, token=token, commit_message=commit_message
            )

    @classmethod
    def load(
        cls: type[L],
        folder: str | os.PathLike[str],
        clip: Clip,
        classnames: Sequence[str] | None = None,
    ) -> L:
        """Load what was learned, for the model that it was learned with.

        Args:
            folder: Written by ``save``.
            clip: The model; the towers that matter must be those on the card.
            classnames: Other classes, if nothing that was learned belongs to one class. None: those
                it was learned with.

        Raises:
            ValueError: There is no prompt, it is damaged, of another method or another model; the
                classes do not fit the model, or what was learned belongs to other ones.

        Example:
            >>> import clipnotes, tempfile
            >>> from clipnotes.prompts import PromptLearner
            >>> clip, folder = clipnotes.load(), tempfile.mkdtemp()
            >>> PromptLearner(clip, ["rose", "tulip"], n_ctx=4).save(folder)
            >>> PromptLearner.load(folder, clip).classnames
            ['rose', 'tulip']
            >>> PromptLearner.load(folder, clip, ["beetle", "bear", "fox"])().shape
            torch.Size([3, 128])
        """
        tensors, card = read_prompt(folder)
        if card["method"] != cls.method:
            raise ValueError(
                f"the prompt in {folder} was learned by the method {card['method']!r}, and "
                f"{cls.__name__} loads {cls.method!r}: take clipnotes.prompts.load_prompt"
            )
        file, options = Path(folder).expanduser() / FILE, card["options"]
        kinds = {name: type(value) for name, value in options.items()}
        if kinds != dict(cls.OPTIONS):
            raise damaged(file, f"its card says options {options}")
        check_fits(clip, card)
        names = card["classnames"] if classnames is None else check_classnames(classnames)
        if names != card["classnames"] and cls.is_bound(options):
            some = ", ".join(card["classnames"][:5]) + ", ..." * (len(card["classnames"]) > 5)
            raise ValueError(
                f"what is in {folder} was learned for each of its {len(card['classnames'])} "
                f"classes by itself ({some}), and nothing for others: leave the classes out, or "
                "learn something that all classes share"
            )
        learner = cls.blank(clip, names, options, tensors)
        expected = {name: tuple(value.shape) for name, value in learner.state_dict().items()}
        found = {name: tuple(value.shape) for name, value in tensors.items()}
        if expected != found:
            raise damaged(file, f"it holds {found}, and by its card it must hold {expected}")
        learner.load_state_dict(tensors)
        if names == card["classnames"]:  # of other classes nothing was found
            learner.temperature = card["temperature"]
        return learner

    @classmethod
    def is_bound(cls, options: Mapping[str, Any]) -> bool:
        """Tell whether something is learned for each class by itself, so that no other fits."""
        return False

    @classmethod
    def blank(
        cls: type[L],
        clip: Clip,
        classnames: Sequence[str],
        options: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> L:
        """Make a learner for ``tensors`` to be put in; their shapes are compared afterwards."""
        return cls(clip, classnames, **options)

    def __deepcopy__(self: L, memo: dict[int, Any]) -> L:
        memo[id(self.clip)] = self.clip  # shared, not copied
        twin = type(self).__new__(type(self))
        twin.__dict__ = copy.deepcopy(self.__dict__, memo)
        return twin
