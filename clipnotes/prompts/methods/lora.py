"""CLIP-LoRA: low-rank adapters in the attention of both towers (Zanella and Ben Ayed 2024).

https://arxiv.org/abs/2405.18541, after LoRA (Hu et al. 2022, https://arxiv.org/abs/2106.09685).
What the towers read stays as it is. Beside each matrix that makes queries, keys or values stand two
narrow ones, and their product is what the matrix would change by if it were trained. One setting,
rank 2 included, is for all data sets.
"""

import copy
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clipnotes import compat
from clipnotes.checkpoints import Clip
from clipnotes.compat.carried import text_ends
from clipnotes.model import unit_length
from clipnotes.pictures.batches import at_once
from clipnotes.prompts.adapters import adapted, attention_matrices
from clipnotes.prompts.chance import Chance, Dropout
from clipnotes.prompts.frozen import frozen
from clipnotes.prompts.inputs import Images, Labels, check_labels, count_shots
from clipnotes.prompts.learner import Learner
from clipnotes.prompts.methods.published import Published, Settings, Trained
from clipnotes.prompts.methods.vpt import VisualLearner, uniform
from clipnotes.prompts.methods.zero_shot import ZeroShot
from clipnotes.prompts.saved.adapter import adapter_files, lora_config, no_peft
from clipnotes.prompts.saved.card import model_name

STEPS = 500  # for each image of a class
BRIEF = 100  # steps in a comparison of methods, which is to take minutes
EPOCHS = 5  # at least so many
TOWERS = ("text", "vision")


def adamw(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The authors' optimizer. Its learning rate is set before every epoch."""
    return torch.optim.AdamW(parameters, lr=0.0002, weight_decay=0.01, betas=(0.9, 0.999))


class LoRA(VisualLearner):
    """Learn low-rank changes of the queries, keys and values in every layer of both towers.

    W x becomes W x + scaling B A x, where A has ``rank`` rows and B ``rank`` columns. B starts at
    0, so the learner starts as zero-shot CLIP with this template. In training, ``fit`` drops some
    of the numbers that A is given; nowhere else is anything dropped.

    The scaling is alpha / sqrt(rank), as in the authors' program, where the paper of LoRA has
    alpha / rank. PEFT calls this ``use_rslora``.

    The model is used, not changed: hooks add the second term while a tower runs. ``save`` writes
    PEFT's own two files beside the prompt, and ``PeftModel.from_pretrained(model, folder)`` opens
    them without this package. ``load`` reads the prompt; the two files are made from it.

    Every class is encoded in every step, all at once and without a memory budget.

    The published recipe is AdamW with weight decay 0.01, batches of 32, and 500 steps for each
    image that a class has: 8,000 steps for 16 shots. Three things are different here. The rate
    changes between epochs and not between steps; the first epoch is at 1e-5; and images are cropped
    and mirrored only if ``fit`` is told so (``augment=random_crop_and_flip``), where the authors
    always do it.

    Args:
        clip: Model and tokenizer, as ``clipnotes.load`` gives them.
        classnames: One name a class, none twice.
        rank: Rows of A, columns of B.
        alpha: With the rank, how much B A counts.
        dropout: How much of A's input is dropped in training: 0 to below 1.
        template: A sentence with one ``{}``.
        seed: Decides the random start of A, which is that of a torch.nn.Linear.

    Attributes:
        text_a, vision_a: Parameters, (3 n_layers, rank, D): for queries, keys and values of the
            first layer, of the second, and so on. Float32 whatever the model's dtype.
        text_b, vision_b: Parameters, (3 n_layers, D, rank).
        scaling: alpha / sqrt(rank).
        recipe: For ``fit``, without the number of epochs and with an optimizer of its own:
            ``fit(lora, images, labels, **LoRA.recipe, optimizer=LoRA.optimizer, epochs=...)``.
        rank, alpha, dropout, template, clip, classnames: As given.

    Raises:
        TypeError: Something of another type, or a model without one of the towers.
        ValueError: PEFT is not installed; names, a template or numbers that do not fit; a model
            whose layers have no plain matrices for queries, keys and values.

    Example:
        >>> import clipnotes
        >>> from clipnotes.data import load_emoji
        >>> from clipnotes.prompts import LoRA, fit
        >>> fruit = load_emoji(style="openmoji", category="food-fruit")
        >>> lora = LoRA(clipnotes.load(), fruit["name"], template="an emoji of a {}")
        >>> lora.vision_a.shape, lora.vision_b.shape
        (torch.Size([18, 2, 128]), torch.Size([18, 128, 2]))
        >>> how = {**LoRA.recipe, "optimizer": LoRA.optimizer, "epochs": 3, "progress": False}
        >>> history = fit(lora, fruit["image"], fruit["name"], **how)
        >>> history.loss[-1] < history.loss[0]
        True
    """

    method = "lora"
    OPTIONS: ClassVar = {"rank": int, "alpha": int, "dropout": float, "template": str}
    TRAINING = ("alpha", "dropout")  # B starts at 0, so the first logits show neither
    recipe: ClassVar[dict[str, Any]] = {"batch_size": 32, "lr": 0.0002}
    optimizer = staticmethod(adamw)
    text_a: Tensor
    text_b: Tensor
    vision_a: Tensor
    vision_b: Tensor

    def __init__(
        self,
        clip: Clip,
        classnames: Sequence[str],
        rank: int = 2,
        alpha: int = 1,
        dropout: float = 0.25,
        template: str = "a photo of a {}.",
        seed: int = 0,
    ) -> None:
        super().__init__(clip, classnames)
        for name, value in (("rank", rank), ("alpha", alpha)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} is {value!r}; give a whole number")
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)):
            raise TypeError(f"dropout is {dropout!r}; give a number")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout!r}; give a number from 0 to below 1")
        if not isinstance(template, str):
            raise TypeError(f"template is a {type(template).__name__}; give a sentence")
        self.rank, self.alpha, self.dropout = rank, alpha, float(dropout)
        self.template = template
        self.scaling = alpha / math.sqrt(rank)
        self._config()  # what would fail when it is saved fails now
        ZeroShot(clip, self.classnames, template)  # says what does not fit
        for tower, start in zip(TOWERS, self._starts(seed), strict=True):
            self.register_parameter(f"{tower}_a", nn.Parameter(start))
            wide = next(iter(attention_matrices(clip.model, tower).values())).out_features
            zero = start.new_zeros(len(start), wide, rank)
            self.register_parameter(f"{tower}_b", nn.Parameter(zero))
        self._texts = clip.tokenize([template.replace("{}", name) for name in self.classnames])
        if compat.family_of(clip.model).reads(clip.model) == "end":
            ids = self._texts["input_ids"]  # (n_classes, L)
            self._texts["ends"] = text_ends(clip.tokenizer, ids)  # (n_classes,)
        self._chance: Chance | None = None

    def _starts(self, seed: int) -> Iterator[Tensor]:
        """Draw each tower's A, (3 n_layers, rank, D)."""
        matrices = [list(attention_matrices(self.clip.model, tower).values()) for tower in TOWERS]
        shapes = [(len(own), self.rank, own[0].in_features) for own in matrices]
        sizes = [math.prod(shape) for shape in shapes]
        drawn = uniform(sum(sizes), limit=1.0, seed=seed).split(sizes)
        for shape, own, part in zip(shapes, matrices, drawn, strict=True):
            yield (part.view(shape) * shape[-1] ** -0.5).to(own[0].weight.device)

    def _adapters(self, tower: str) -> tuple[dict[str, nn.Linear], Tensor, Tensor]:
        """Find the matrices of a tower as they are now, and give A and B of each."""
        a, b = getattr(self, f"{tower}_a"), getattr(self, f"{tower}_b")
        return attention_matrices(self.clip.model, tower), a, b

    @contextmanager
    def _adapted(self, tower: str, rows: Sequence[Any]) -> Iterator[None]:
        """Run a tower with its adapters, and in a step of training with dropout for each row."""
        dropout = None
        if self._chance is not None and self.dropout:
            names = [f"{self._chance.step} {tower} {row}" for row in rows]
            dropout = Dropout(self.dropout, names)
        matrices, a, b = self._adapters(tower)
        run = adapted(self.clip.model, matrices.values(), a, b, self.scaling, dropout)
        with frozen(self.clip.model), run:
            yield

    def forward(self) -> Tensor:
        """Encode every class: (n_classes, P), unit length, differentiable in ``text_a, text_b``."""
        model = self.clip.model
        texts = {name: tensor.to(model.device) for name, tensor in self._texts.items()}
        with self._adapted("text", self.classnames):
            features = compat.text_features(model, **texts)  # (n_classes, P)
        return unit_length(features.to(torch.promote_types(features.dtype, self.text_a.dtype)))

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Encode images with the adapters.

        Args:
            pixel_values: (n, 3, height, width), as ``inputs`` gives them.

        Returns:
            (n, P), unit length, differentiable in ``vision_a`` and ``vision_b``.
        """
        model, a, b = self.clip.model, self.vision_a, self.vision_b
        if len(pixel_values) == 0:  # as of a process without a part of a batch: a gradient of 0
            return a.new_zeros(0, compat.shared_width(model)) + 0 * (a.sum() + b.sum())
        rows = range(len(pixel_values)) if self._chance is None else self._chance.rows
        parts, several = [], at_once(model)
        for i in range(0, len(pixel_values), several):
            batch = pixel_values[i : i + several].to(model.device, model.dtype)
            with self._adapted("vision", rows[i : i + several]):
                parts.append(compat.image_features(model, batch))
        features = torch.cat(parts)  # (n, P)
        return unit_length(features.to(torch.promote_types(features.dtype, a.dtype)))

    def in_training(self, inputs: Tensor, chance: Chance) -> tuple[Tensor, float]:
        """Compare images with every class, with dropout; nothing is added to the loss."""
        self._chance = chance
        try:
            return self.logits(inputs), 0.0
        finally:
            self._chance = None

    def seeing(self) -> AbstractContextManager[None]:
        """Put the adapters into the vision tower."""
        matrices, a, b = self._adapters("vision")
        return adapted(self.clip.model, matrices.values(), a.detach(), b.detach(), self.scaling)

    @torch.no_grad()
    def merged(self) -> tuple[Tensor, nn.Module]:
        """Put what was learned into the weights of a copy, which then needs no adapter.

        Returns:
            The classes, (n_classes, P), unit length; and a copy of the model, both towers merged.

        Example:
            >>> import clipnotes, torch
            >>> from clipnotes import compat
            >>> from clipnotes.prompts import LoRA
            >>> lora = LoRA(clipnotes.load(), ["rose", "tulip"])
            >>> classes, model = lora.merged()
            >>> images = compat.image_features(model, torch.zeros(1, 3, 64, 64))
            >>> classes.shape, images.shape
            (torch.Size([2, 128]), torch.Size([1, 128]))
        """
        model = copy.deepcopy(self.clip.model)
        modules: dict[str, Any] = dict(model.named_modules())
        for name, (a, b) in self._pairs().items():
            weight = modules[name].weight
            weight.add_((self.scaling * b @ a).to(weight))
        return self(), model

    def beside(self) -> dict[str, bytes]:
        """What stands beside the prompt: the adapters in PEFT's own format."""
        return adapter_files(self._config(), self._pairs())

    def _pairs(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Give A and B of each matrix, by its name in the model."""
        pairs: dict[str, tuple[Tensor, Tensor]] = {}
        for tower in TOWERS:
            matrices, a, b = self._adapters(tower)
            pairs |= dict(zip(matrices, zip(a, b, strict=True), strict=True))
        return pairs

    def _config(self) -> Any:
        """Make PEFT's configuration, which names the matrices by a pattern."""
        names = [name for tower in TOWERS for name in attention_matrices(self.clip.model, tower)]
        layer = re.compile(r"\\\.\d+\\\.")  # the number of a layer between two escaped dots
        patterns = [layer.sub(r"\\.\\d+\\.", re.escape(name)) for name in names]
        return lora_config(
            r=self.rank,
            lora_alpha=self.alpha,
            use_rslora=True,
            lora_dropout=self.dropout,
            target_modules="|".join(dict.fromkeys(patterns)),
            base_model_name_or_path=model_name(self.clip),
            inference_mode=True,
        )


class _PublishedLoRA(Published):
    """The authors count steps and not epochs: 500 for each image of a class."""

    def missing(self) -> str | None:
        return no_peft()

    def doubts(self, clip: Clip, settings: Settings) -> list[str]:
        if not settings.brief or "epochs" in settings.recipe:
            return super().doubts(clip, settings)
        return [
            f"{self.name} is trained for about {BRIEF} steps here; its authors take {STEPS} for "
            f"each image that a class has, which is long: `clipnotes learn --method {self.name}` "
            "does as they do, and in a comparison --epochs says how long"
        ]

    def train(
        self, learner: Learner, images: Images, labels: Labels, settings: Settings, **how: Any
    ) -> Trained:
        recipe = {**self.recipe, **settings.recipe}
        if "epochs" not in recipe:
            names = learner.classnames
            shots = count_shots(check_labels(labels, names, len(images)), names)
            steps = BRIEF if settings.brief else STEPS * shots
            epochs = math.ceil(steps / math.ceil(len(labels) / recipe["batch_size"]))
            epochs = max(EPOCHS, epochs)  # the first one is at the rate of the warm-up
            settings = replace(settings, recipe={**settings.recipe, "epochs": epochs})
        return super().train(learner, images, labels, settings, **how)


LORA = _PublishedLoRA(
    "lora",
    "CLIP-LoRA",
    "2405.18541",
    LoRA,
    "low-rank changes of queries, keys and values in both towers",
    recipe=LoRA.recipe,
    template="template",
    optimizer=adamw,
)
