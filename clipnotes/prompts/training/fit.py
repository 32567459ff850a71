"""Teach a learner from labelled images: CoOp's recipe, with every part of it an argument."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.prompts.chance import Chance
from clipnotes.prompts.classifier import Classifier, as_classifier
from clipnotes.prompts.inputs import Images, Labels, check_labels, count_shots
from clipnotes.prompts.learner import Learner
from clipnotes.prompts.recipe import (
    Schedule,
    batches,
    check_whole_numbers,
    epochs_for,
    learning_rates,
    sgd,
)
from clipnotes.prompts.training.augmentation import Augment, Draw, check_augment, inputs_for
from clipnotes.prompts.training.average import EpochMean
from clipnotes.prompts.training.losses import Loss, check_loss
from clipnotes.prompts.training.penalties import Penalty, check_penalty, made_with
from clipnotes.prompts.training.processes import Processes
from clipnotes.prompts.training.resume import Checkpoint, check_path, digest
from clipnotes.prompts.training.same_run import (
    described,
    digest_images,
    first_logits,
    made_as,
    name_of,
)

SECONDS_BETWEEN = 2.0  # two checkpoints, unless the second is the last

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass
class History:
    """How a training went, a number an epoch.

    Attributes:
        loss: Mean loss of the epoch's images, each before the step that it is part of; with the
            penalty, or what the learner adds to the loss, if there is such a thing.
        accuracy: The part of them that got their own class, 0 to 1.
        lr: The learning rate.
        epochs: How many there were.
        shots: How many images the class with the fewest has.
        seconds: Time spent training, earlier parts of a resumed run included.
    """

    loss: list[float] = field(repr=False)
    accuracy: list[float] = field(repr=False)
    lr: list[float] = field(repr=False)
    epochs: int
    shots: int
    seconds: float


@torch.enable_grad()
def fit(
    learner: Learner,
    images: Images,
    labels: Labels,
    *,
    epochs: int | None = None,
    lr: float = 0.002,
    batch_size: int = 32,
    optimizer: MakeOptimizer = sgd,
    schedule: Schedule = "cosine",
    loss: str = "softmax",
    penalty: Penalty | None = None,
    augment: Augment | None = None,
    views: int | None = None,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> History:
    """Learn a learner's parameters (a PromptLearner's ``ctx``) from a few labelled images.

    The defaults are those of CoOp (Zhou et al. 2022), with two exceptions: images are encoded
    once and not augmented, which is much faster (``augment=random_crop_and_flip`` is CoOp's way),
    and the last batch of an epoch is used even if it is not full.

    On a CPU, the same arguments give the same numbers, up to rounding. Chance comes from ``seed``
    alone; torch's own random state is neither used nor changed. The model stays where it is and
    computes in the mode that it is in; it gets no gradient. Under ``accelerate launch`` every
    process takes its part of each batch, and the result is that of one process, up to rounding;
    each needs the same arguments and its model on its own device.

    Args:
        learner: A PromptLearner or another learner: a module with ``clip``, ``classnames`` and
            ``logits(image_features)``, or with ``inputs(images)`` and ``logits(pixel_values)``. Its
            parameters that want a gradient are trained in place.
        images: PIL images, or their (n, P) features of unit length (``clip.encode_image``). For a
            learner with ``inputs``, which encodes images itself: PIL images or their pixels.
        labels: n numbers into ``learner.classnames``, or n names out of it. Each class at least
            once.
        epochs: Passes through the images. None: 50 for one shot, 100 for less than 8, else 200,
            where the class with the fewest images counts.
        lr: The highest learning rate.
        batch_size: Images per step, over all processes.
        optimizer: Makes a torch optimizer of parameters, for instance
            ``functools.partial(torch.optim.AdamW, weight_decay=0.01)``. Its learning rate is set
            from ``lr`` and ``schedule``.
        schedule: "cosine" (CoOp's: one epoch at 1e-5 first), "constant", or a function from the
            epoch's number, from 0, to a factor of ``lr``.
        loss: "softmax", the cross-entropy, or "sigmoid", SigLIP's own, for which each pair of an
            image and a class is a yes or a no by itself. It needs a model whose logits have a bias.
        penalty: What is added to the loss, of the class features that the step has computed
            anyway, for instance a ``KgCoOp``. For a PromptLearner.
        augment: ``(image, rng) -> image`` with a ``random.Random``, for instance
            ``random_crop_and_flip``. Needs images.
        views: With ``augment``: encode that many augmented views of each image before training
            and use one of them an epoch. None: augment and encode anew in each step, which is slow.
            Of a learner with ``inputs``, pixels are kept instead, which are many: take None there.
        seed: Decides the order of the images and the augmentation.
        checkpoint: A file that keeps the state of training, written after an epoch, at most every
            two seconds, and after the last. If it is there, the run goes on from it and ends as if
            it had not been stopped, on a CPU up to rounding. It must be of the same run.
        progress: Show a bar with loss and accuracy on stderr.

    Returns:
        The :class:`History`. The learner holds the result.

    Raises:
        TypeError: An argument of another type.
        ValueError: Images, labels or recipe that do not fit; a class without an image; the sigmoid
            loss for a model whose logits have no bias; a checkpoint that is damaged or of another
            run. Nothing has changed then.
        FloatingPointError: The loss or a gradient is not finite, or a step would make a parameter
            so. The parameters keep their last finite values. This is the only sign of divergence
            that is looked for: a loss that merely grows is in the history.

    Example:
        >>> import clipnotes
        >>> from clipnotes.data import load_emoji
        >>> from clipnotes.prompts import PromptLearner, evaluate, fit
        >>> fruit = load_emoji(style=["noto", "twemoji"], category="food-fruit")
        >>> learner = PromptLearner(clipnotes.load(), sorted(set(fruit["name"])), n_ctx=4)
        >>> history = fit(learner, fruit["image"], fruit["name"], epochs=3, progress=False)
        >>> history.loss[2] < history.loss[1]
        True
    """
    parameters = _trained(learner)
    check_whole_numbers(batch_size, seed)
    classifier = as_classifier(learner)
    checked = classifier.check(images)
    numbers = check_labels(labels, learner.classnames, len(checked))
    shots = count_shots(numbers, learner.classnames)
    rates = learning_rates(schedule, lr, epochs_for(shots) if epochs is None else epochs)
    criterion = check_loss(loss, learner.clip.model)
    check_augment(checked, augment, views)
    check_penalty(penalty, learner)
    path = None if checkpoint is None else check_path(checkpoint)
    made = optimizer(list(parameters.values()))
    if not isinstance(made, torch.optim.Optimizer):
        raise TypeError(f"optimizer made a {type(made).__name__}; it must make a torch optimizer")
    draw = inputs_for(classifier, checked, augment, views, seed)

    processes = Processes(learner.clip.model.device)
    mean = EpochMean(parameters, classifier.epoch_weights(len(rates)))
    recipe = (criterion, penalty, draw, numbers, rates, batch_size, seed)
    training = _Training(classifier, parameters, mean, made, processes, *recipe)
    if path is not None or processes.count > 1:
        identity = {
            "classes": digest(*learner.classnames),
            "labels": digest(numbers),
            "images": digest_images(checked),
            "seed": seed,
            "batch_size": batch_size,
            "learner at the start": digest(*parameters, *parameters.values()),
            "epochs": len(rates),
            "learning rates": digest(rates),
            "optimizer": described(made),
            "augment": None if augment is None else name_of(augment),
            "views": views,
            "penalty": None if penalty is None else [name_of(penalty), made_with(penalty)],
        } | made_as(classifier)
        identity |= {} if loss == "softmax" else {"loss": loss}  # as before there was a choice
        if path is not None:
            training.go_on_from(Checkpoint(path, identity, first_logits(classifier, checked)))
        processes.check_same({**identity, "checkpoint": len(training.history["loss"])})
    classifier.temperature = 1.0  # one that was found before is of other numbers
    training.run(progress)
    return History(lr=rates, epochs=len(rates), shots=shots, **training.history)


@dataclass
class _Training:
    """A run of ``fit`` whose arguments have all been checked."""

    learner: Classifier
    parameters: Mapping[str, nn.Parameter]
    mean: EpochMean
    optimizer: torch.optim.Optimizer
    processes: Processes
    criterion: Loss
    penalty: Penalty | None
    draw: Draw
    labels: Tensor
    rates: Sequence[float]
    batch_size: int
    seed: int
    chance: Chance = field(init=False)  # of the step that is being taken
    store: Checkpoint | None = None
    history: dict[str, Any] = field(
        default_factory=lambda: {"loss": [], "accuracy": [], "seconds": 0.0}
    )

    def kept(self) -> dict[str, Tensor]:
        """All numbers that an epoch changes, beside the optimizer's."""
        return {**self.parameters, **self.mean.sums}

    def go_on_from(self, store: Checkpoint) -> None:
        """Keep a checkpoint, and go on from the one that is there."""
        self.store = store
        self.history = store.load(self.kept(), self.optimizer) or self.history

    def run(self, progress: bool) -> None:
        """Train the epochs that are missing."""
        from tqdm import tqdm

        done, epochs = len(self.history["loss"]), len(self.rates)
        started, saved = time.monotonic() - self.history["seconds"], -math.inf
        steps = math.ceil(len(self.labels) / self.batch_size)
        shows = progress and self.processes.is_main
        with tqdm(
            total=epochs * steps, initial=done * steps, disable=not shows, unit="step", desc="fit"
        ) as bar:
            for epoch in range(done, epochs):
                loss, accuracy = self.epoch(epoch, steps, bar)
                self.mean.add(epoch)
                self.history["loss"].append(loss)
                self.history["accuracy"].append(accuracy)
                self.history["seconds"] = time.monotonic() - started
                due = epoch + 1 == epochs or time.monotonic() - saved >= SECONDS_BETWEEN
                if self.store is not None and self.processes.is_main and due:
                    self.store.save(self.kept(), self.optimizer, self.history)
                    saved = time.monotonic()
        self.mean.settle()  # no earlier: a checkpoint holds what the next epoch would start from
        self.processes.wait()  # until the last checkpoint is written

    def epoch(self, epoch: int, steps: int, bar: Any) -> tuple[float, float]:
        """Take all steps of an epoch; return the mean loss and the accuracy."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rates[epoch]
        seen, loss, right = 0, 0.0, 0.0
        for i, batch in enumerate(batches(len(self.labels), self.batch_size, self.seed, epoch)):
            where = f"at step {epoch * steps + i + 1} (epoch {epoch + 1} of {len(self.rates)})"
            mine = list(self.processes.share(batch))
            inputs, labels = self.draw(epoch, mine), self.labels[mine]
            self.chance = Chance(f"{self.seed} epoch {epoch} step {i}", mine)
            mean, hits = self.step(inputs, labels, len(batch), where)
            seen, loss, right = seen + len(batch), loss + mean * len(batch), right + hits
            bar.set_postfix_str(f"loss {loss / seen:.3f}, accuracy {right / seen:.3f}", False)
            bar.update()
        return loss / seen, right / seen

    def step(self, inputs: Tensor, labels: Tensor, batch: int, where: str) -> tuple[float, float]:
        """One step: the batch's mean loss and hits, from this process's inputs and labels."""
        part, hits = self.loss(inputs, labels, batch)
        parameters = list(self.parameters.values())
        # Not backward(): a model that is not frozen would collect gradients too.
        gradients = torch.autograd.grad(part, parameters)
        loss, right, *total = self.processes.total([part.detach(), hits, *gradients])

        advice = "the parameters are as before it; try a smaller lr"
        if not loss.isfinite():
            raise FloatingPointError(f"the loss is {loss.item()} {where}; {advice}")
        if not all(gradient.isfinite().all() for gradient in total):
            raise FloatingPointError(f"the gradient is not finite {where}; {advice}")
        before = [parameter.detach().clone() for parameter in parameters]
        for parameter, gradient in zip(parameters, total, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        self.optimizer.zero_grad()  # leave no gradient behind
        if not all(parameter.isfinite().all() for parameter in parameters):
            with torch.no_grad():
                for parameter, value in zip(parameters, before, strict=True):
                    parameter.copy_(value)
            raise FloatingPointError(f"the parameters would not be finite {where}; {advice}")
        return loss.item(), right.item()

    def loss(self, inputs: Tensor, labels: Tensor, batch: int) -> tuple[Tensor, Tensor]:
        """This process's part of the batch's mean loss, and how many of its images are right."""
        extra: Tensor | float
        # Divided by the whole batch, the parts of all processes add up to its mean.
        if self.penalty is None:
            logits, extra = self.learner.in_training(inputs, self.chance)
            extra = extra / batch
        else:
            logits, classes = self.learner.with_classes(inputs)
            extra = self.penalty(classes) / self.processes.count
        logits, labels = logits.float(), labels.to(logits.device)
        part = self.criterion(logits, labels) / batch + extra
        return part, (logits.argmax(dim=-1) == labels).sum()


def _trained(learner: Learner) -> dict[str, nn.Parameter]:
    found = {name: p for name, p in learner.named_parameters() if p.requires_grad}
    if not found:
        raise ValueError(
            "the learner has no parameter that wants a gradient; nothing can be learnt"
        )
    return found
