"""Checks of chapter 6, two towers, one space."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from clipnotes.exercises.marks import exercise, expect, expect_close, expect_not
from clipnotes.exercises.small import small_clip, small_pictures, small_texts


@exercise("6.1")
def logits(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Compute the logits from projected vectors and the stored scale."""
    images, texts, stored = torch.randn(3, 8), torch.randn(5, 8), torch.tensor(1.5)
    result = answer(images, texts, stored)
    cosines = cosine_similarity(images[:, None], texts[None], dim=-1)  # (B, T)
    wanted = cosines * stored.exp()
    ready_images, ready_texts = normalize(images, dim=-1), normalize(texts, dim=-1)
    mistakes = {
        "The table is transposed: rows are images, columns are texts.": wanted.T,
        "These are the cosines; the scale is missing.": cosines,
        "What is stored is the scale's logarithm, and you use it as it is.": cosines * stored,
        "You divide by the scale. What one divides by is its inverse, the temperature.": cosines
        / stored.exp(),
        "Nothing has unit length.": images @ texts.T * stored.exp(),
        "The images' vectors still have their own lengths.": images @ ready_texts.T * stored.exp(),
        "The texts' vectors still have their own lengths.": ready_images @ texts.T * stored.exp(),
        "Each channel has unit length, over all images or texts. Each vector should.": normalize(
            images, dim=0
        )
        @ normalize(texts, dim=0).T
        * stored.exp(),
    }
    for sentence, wrong in mistakes.items():
        expect_not(result, wrong, sentence)
    expect_close(result, wanted, "These are not the cosines times the scale.")


@exercise("6.2")
def loss(answer: Callable[[Tensor], Tensor]) -> None:
    """Compute the contrastive loss as transformers does."""
    model: Any = small_clip()
    with torch.no_grad():
        output = model(
            input_ids=small_texts(4, 6, 5, 7),
            pixel_values=small_pictures(4),
            return_loss=True,
        )
    table = output.logits_per_text
    result = answer(table)
    truth = torch.arange(len(table))
    by_text, by_image = cross_entropy(table, truth), cross_entropy(table.T, truth)
    mistakes = {
        "That asks in one direction only, for each text. Each image asks as well.": by_text,
        "That asks in one direction only, for each image. Each text asks as well.": by_image,
        "That is the sum of the two directions; CLIP takes their mean.": by_text + by_image,
        "You add up over the batch; CLIP takes the mean.": len(table) * (by_text + by_image) / 2,
        "The sign is wrong: a probability's logarithm is negative, and a loss goes down.": -(
            by_text + by_image
        )
        / 2,
        "The softmax is done twice: cross entropy takes logits, and does it itself.": (
            cross_entropy(table.softmax(1), truth) + cross_entropy(table.T.softmax(1), truth)
        )
        / 2,
        "You take the logarithm of a mean. It is to be the mean of the logarithms.": -(
            table.softmax(1).diag().mean().log() + table.softmax(0).diag().mean().log()
        )
        / 2,
    }
    for sentence, wrong in mistakes.items():
        expect_not(torch.as_tensor(result), wrong, sentence)
    expect_close(torch.as_tensor(result), output.loss, "This is not the loss of transformers.")


@exercise("6.3")
def class_vectors(answer: Callable[[Tensor], Tensor]) -> None:
    """Make one vector per class from several texts, of unit length before and after the mean."""
    texts = torch.randn(4, 3, 8) * torch.tensor([0.5, 1.0, 4.0])[:, None]  # (C, n_templates, P)
    result = answer(texts)
    unit = normalize(texts, dim=-1)
    wanted = normalize(unit.mean(1), dim=-1)
    mistakes = {
        "The mean of unit vectors is shorter than 1: bring it back to unit length.": unit.mean(1),
        "A long vector counts for more in your mean. Each text is to count the same.": normalize(
            texts.mean(1), dim=-1
        ),
        "You take the mean over the classes; it goes over the texts of one class.": normalize(
            unit.mean(0), dim=-1
        ),
        "Nothing has unit length.": texts.mean(1),
    }
    for sentence, wrong in mistakes.items():
        expect_not(result, wrong, sentence)
    expect_close(result, wanted, "These are not the classes' directions.")


@exercise("6.4")
def close_gap(answer: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    """Move images and texts each to the middle of the sphere, and back to unit length."""
    images = normalize(torch.randn(9, 8) + 2, dim=-1)
    texts = normalize(torch.randn(7, 8) - 1, dim=-1)
    result = answer(images, texts)
    two = isinstance(result, (tuple, list)) and len(result) == 2
    expect(two, "Two tensors are wanted: the images' vectors, then the texts'.")
    together = torch.cat([images, texts]).mean(0)
    both = (("images", images, texts), ("texts", texts, images))
    for mine, (kind, vectors, other_vectors) in zip(result, both, strict=True):
        centred = vectors - vectors.mean(0)
        mistakes = {
            "vectors are centred, and no longer of unit length.": centred,
            "vectors lost the mean of both kinds together. Each kind has its own.": normalize(
                vectors - together, dim=-1
            ),
            "vectors lost the other kind's mean.": normalize(
                vectors - other_vectors.mean(0), dim=-1
            ),
            "vectors are as they were.": vectors,
            "vectors each lost the mean of their own channels. The mean of a kind goes over its "
            "vectors.": normalize(vectors - vectors.mean(1, keepdim=True), dim=-1),
        }
        for sentence, wrong in mistakes.items():
            expect_not(mine, wrong, f"The {kind}' {sentence}")
        expect_close(mine, normalize(centred, dim=-1), f"The {kind}' vectors are not right.")


@exercise("6.5")
def loss_in_batches(answer: Callable[[Tensor, int], Tensor]) -> None:
    """Average the loss over successive batches, and drop an incomplete one."""
    table = 3 * torch.randn(11, 11)

    def loss_of(part: Tensor) -> Tensor:
        truth = torch.arange(len(part))
        return (cross_entropy(part, truth) + cross_entropy(part.T, truth)) / 2

    def by_rows(part: Tensor) -> Tensor:
        return cross_entropy(part, torch.arange(len(part)))

    for size in (4, 3):
        result = torch.as_tensor(answer(table, size))
        parts = [table[i : i + size, i : i + size] for i in range(0, 11, size)]
        whole = [part for part in parts if len(part) == size]
        mistakes = {
            "You took the incomplete batch at the end as well. It is easier than the others, as "
            "there is less to choose from.": [loss_of(part) for part in parts],
            "You took the first batch only.": [loss_of(whole[0])],
            "That is the loss of all pairs together: in a batch, a text chooses among the images "
            "of this batch.": [loss_of(table)],
            "You ask in one direction only.": [by_rows(part) for part in whole],
        }
        for sentence, wrong in mistakes.items():
            expect_not(result, torch.stack(wrong).mean(), f"With batches of {size}: {sentence}")
        of_each = [loss_of(part) for part in whole]
        expect_not(
            result, torch.stack(of_each).sum(), f"With batches of {size}: that is the sum, no mean."
        )
        expect_close(
            result,
            torch.stack(of_each).mean(),
            f"With batches of {size} this is not the mean loss.",
        )
