"""Checks of chapter 2, from pixels to tokens."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clipnotes.compat import vision_tower
from clipnotes.exercises.marks import exercise, expect, expect_close, expect_not
from clipnotes.exercises.small import small_clip, small_pictures
from clipnotes.model.vision import VisionEmbeddings


@exercise("2.1")
def n_tokens(answer: Callable[[int, int], int]) -> None:
    """Count the tokens of a square image."""
    for size, patch in ((16, 8), (64, 8), (20, 8), (31, 4)):
        result = answer(size, patch)
        embed = VisionEmbeddings(image_size=size, patch_size=patch, hidden_size=4)
        wanted = embed(torch.zeros(1, 3, size, size)).shape[1]
        where = f"For an image of {size} x {size} and patches of {patch} x {patch}"
        expect(isinstance(result, int), f"{where} you give {result}. Tokens come as whole numbers.")
        expect(result != wanted - 1, f"{where} you counted the patches. One token is none of them.")
        expect(
            result != (-(-size // patch)) ** 2 + 1 or size % patch == 0,
            f"{where} you counted patches that are not whole. What is left over at the edge of a "
            "image fills none.",
        )
        expect(result == wanted, f"{where} that is not the number of tokens.")


@exercise("2.2")
def seen_pixels(answer: Callable[[VisionEmbeddings, int], Tensor]) -> None:
    """Find the pixels that reach a token, also where the size is no multiple of the patch."""
    for size, patch in ((11, 4), (8, 4), (13, 5)):
        embed = VisionEmbeddings(image_size=size, patch_size=patch, hidden_size=6)
        result = answer(embed, size)
        where = f"For an image of {size} x {size} and patches of {patch} x {patch}"
        expect(
            isinstance(result, Tensor) and result.shape == (size, size),
            f"{where} a tensor of shape ({size}, {size}) is wanted: one answer per pixel.",
        )
        expect(
            result.dtype == torch.bool,
            f"{where} you give numbers. Is a pixel seen? The answer is True or False.",
        )
        whole = size // patch * patch
        wanted = torch.zeros(size, size, dtype=torch.bool)
        wanted[:whole, :whole] = True
        expect(
            not torch.equal(result, ~wanted) or bool(wanted.all()),
            f"{where} you marked the pixels that are not seen.",
        )
        lost = int((wanted & ~result).sum())
        expect(lost == 0, f"{where} you miss {lost} pixels that do reach a token.")
        expect(
            torch.equal(result, wanted),
            f"{where} you marked pixels that no whole patch holds.",
        )


@exercise("2.3")
def patch_vectors(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Compute the vectors of the patches with one matrix product."""
    p = 4
    pixel_values, weight = torch.randn(2, 3, 8, 12), torch.randn(7, 3, p, p)
    result = answer(pixel_values, weight)
    maps = F.conv2d(pixel_values, weight, stride=p)  # (B, D, rows, columns)
    wanted = maps.flatten(2).transpose(1, 2)  # (B, P, D)
    expect_not(result, maps, "That is still an image: the patches must become a sequence.")
    expect_not(result, maps.flatten(2), "The channels come before the patches: (B, D, P).")
    expect_not(
        result,
        maps.transpose(2, 3).flatten(2).transpose(1, 2),
        "The patches come column by column. They are read like lines of a text.",
    )
    cut = pixel_values.unfold(2, p, p).unfold(3, p, p)  # (B, C, rows, columns, p, p)
    by_pixel = cut.permute(0, 2, 3, 4, 5, 1).flatten(1, 2).flatten(2)  # colours last
    expect_not(
        result,
        by_pixel @ weight.flatten(1).T,
        "A patch is laid out pixel by pixel, its three colours side by side. The kernel is laid "
        "out in a different order, and both must agree.",
    )
    expect_not(
        result,
        cut.transpose(-1, -2).permute(0, 2, 3, 1, 4, 5).flatten(1, 2).flatten(2)
        @ weight.flatten(1).T,
        "Rows and columns are interchanged inside a patch.",
    )
    expect_not(
        result,
        cut.flatten(1).view(2, 6, -1) @ weight.flatten(1).T,
        "What you lay out as one patch holds pieces of several: bring the numbers of a patch "
        "together before you flatten.",
    )
    expect_close(result, wanted, "This is not what the convolution gives.", atol=1e-4)


@exercise("2.4")
def class_token_last(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Put the class token at the end, and let each token keep its position."""
    tower: Any = vision_tower(small_clip())
    embed = tower.embeddings
    pixel_values = small_pictures()
    patches = embed.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
    table = embed.position_embedding.weight
    result = answer(patches, embed.class_embedding, table)
    usual = embed(pixel_values)  # the class token first
    wanted = torch.cat([usual[:, 1:], usual[:, :1]], dim=1)
    expect_not(result, usual, "The class token is still in front.")
    class_token = embed.class_embedding.expand(len(patches), 1, -1)
    bare = torch.cat([patches, class_token], dim=1)
    expect_not(
        result,
        bare + table,
        "Each token got the position of a different one: the first row of the table is the class "
        "token's, wherever it stands.",
    )
    expect_not(result, bare, "The positions are missing.")
    expect_not(
        result,
        usual.flip(1),
        "The order of the patches is turned round as well. Only the class token moves.",
    )
    expect_close(result, wanted, "These are not the usual tokens with the first moved to the end.")


@exercise("2.5")
def stretch_positions(answer: Callable[[Tensor, int], Tensor]) -> None:
    """Stretch the table of positions to a different grid, as transformers does."""
    tower: Any = vision_tower(small_clip())
    embed = tower.embeddings
    table = embed.position_embedding.weight.detach()  # (1 + 3 * 3, D)
    old, width = 3, table.shape[1]
    for grid in (6, 5):
        result = answer(table, grid)
        large = torch.zeros(1, 3, grid * embed.patch_size, grid * embed.patch_size)
        with torch.no_grad():
            wanted = embed(large, interpolate_pos_encoding=True)[0]  # black patches are zeros
        wanted[0] -= embed.class_embedding.detach()
        picture = table[1:].unflatten(0, (old, old)).permute(2, 0, 1)[None]
        torn = table[1:].reshape(1, width, old, old)
        size = (grid, grid)
        likely = {
            "That is bilinear; transformers interpolates bicubically.": F.interpolate(
                picture, size, mode="bilinear"
            ),
            "`align_corners` is set: then the middles of the outer patches stay where they are, "
            "not the edges of the image.": F.interpolate(
                picture, size, mode="bicubic", align_corners=True
            ),
            "Rows and columns of the grid are interchanged.": F.interpolate(
                picture.transpose(2, 3), size, mode="bicubic"
            ),
            "The table is cut up as if its channels came first. Bring them there by moving the "
            "dimension; a reshape alone mixes places and channels.": F.interpolate(
                torn, size, mode="bicubic"
            ),
        }
        for sentence, stretched in likely.items():
            expect_not(result, torch.cat([table[:1], stretched.flatten(2)[0].T]), sentence)
        expect_not(
            result,
            wanted[1:],
            "The class token's row is missing: it belongs to no place, and stays as it is.",
        )
        expect_not(
            result, wanted.roll(-1, 0), "The class token's row stands at the end. It is the first."
        )
        expect_close(
            result, wanted, f"For a grid of {grid} x {grid} this is not transformers' table."
        )
