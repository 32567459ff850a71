"""Checks of chapter 16: the splice, prompts that are repaired, and the loop that answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from clipnotes.exercises.marks import exercise, expect


@exercise("16.1")
def put_in(answer: Callable[[Tensor, Tensor, Tensor, int], Tensor]) -> None:
    """Put the vectors of patches where a prompt has image tokens."""
    image = 7
    ids = torch.tensor([[1, 7, 7, 7, 2, 3], [1, 4, 5, 7, 7, 7]])
    words, patches = torch.randn(2, 6, 4), torch.randn(2, 3, 4)
    result = answer(words, patches, ids, image)
    expect(
        isinstance(result, Tensor) and result.shape == words.shape,
        "One row of six vectors for each prompt is asked for, (2, 6, 4): the image tokens are "
        "replaced, and nothing is added.",
    )
    around = ids != image
    expect(
        not torch.allclose(result[ids == image], words[ids == image]),
        "The image tokens still have their own vectors. The patches belong in their places.",
    )
    expect(
        torch.allclose(result[around], words[around]),
        "Words have changed. Only the places where ids == image_id get a patch.",
    )
    expect(
        torch.allclose(result[0, 1:4], patches[0]) and torch.allclose(result[1, 3:], patches[1]),
        "The patches are not in their order: first those of the first image, row by row.",
    )


@exercise("16.2")
def repair(answer: Callable[[Tensor, int, int], Sequence[Tensor]]) -> None:
    """Give each row as many image tokens as its image has patches."""
    image, n = 7, 4
    ids = torch.tensor([[1, 7, 7, 7, 2, 3], [1, 7, 7, 7, 7, 7], [5, 1, 7, 7, 7, 7]])
    wanted = [[1, 7, 7, 7, 7, 2, 3], [1, 7, 7, 7, 7], [5, 1, 7, 7, 7, 7]]
    found = [torch.as_tensor(row).tolist() for row in answer(ids, image, n)]
    expect(len(found) == 3, f"There are 3 prompts, and {len(found)} rows came back.")
    for row, right in zip(found, wanted, strict=True):
        expect(
            row.count(image) == n,
            f"A row has {row.count(image)} image tokens; each needs {n}, one for each patch.",
        )
        words = [token for token in row if token != image]
        expect(
            words == [token for token in right if token != image],
            f"The words of a row are {words} now. All others than the image tokens stay.",
        )
        expect(row == right, "The image tokens have to stay where they stood, in one run.")
    odd = torch.tensor([[1, 9, 9, 2]])
    (short,) = answer(odd, 9, 1)
    expect(
        torch.as_tensor(short).tolist() == [1, 9, 2],
        "Take the id and the number that you are given: here they are 9 and 1.",
    )


@exercise("16.3")
def answer_greedily(
    answer: Callable[[Callable[..., Tensor], list[int], int, int], list[int]],
) -> None:
    """Say the most probable token, again and again."""
    lines = {(1, 2): 5, (1, 2, 5): 3, (1, 2, 5, 3): 0, (4,): 6}

    def logits(ids: Sequence[int]) -> Tensor:
        said = tuple(int(token) for token in ids)
        expect(
            said in lines,
            f"The model was asked what follows {list(said)}. Ask it with the whole row so far: "
            "the prompt, and behind it each token that was said.",
        )
        scores = torch.zeros(8)
        scores[lines[said]] = 1.0
        return scores

    lines |= {(4, 6): 6, (4, 6, 6): 6, (4, 6, 6, 6): 6}
    prompt = [1, 2]
    found = [int(token) for token in answer(logits, prompt, 0, 9)]
    expect(prompt == [1, 2], "The prompt that you were given has grown. Work on a copy of it.")
    expect(
        found != [1, 2, 5, 3, 0] and found != [1, 2, 5, 3],
        "Return only what was said, without the prompt.",
    )
    expect(found != [5, 3, 0], "The end is not a part of the answer: leave it off.")
    expect(found == [5, 3], f"5 and 3 should have been said, and then the end; it was {found}.")
    found = [int(token) for token in answer(logits, [4], 0, 3)]
    expect(found == [6, 6, 6], f"After 3 tokens the loop has to stop, not after {len(found)}.")
