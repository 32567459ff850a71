"""SigLIP's loss for batches that no process can hold at once: in chunks, and around a ring.

Each process has its own images and texts. The texts travel from process to process, and meet the
images of one after the other, so nobody ever holds all texts or the (B, B) logits of all pairs.
That is possible since each pair is judged alone (Zhai et al. 2023, arXiv 2303.15343, section 3.3):
a softmax would have to see its whole row. B is the number of pairs *of one process* here; P, the
width of the features.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from clipnotes.model.checks import check_pairs, check_positive


def sigmoid_loss_chunked(
    image_features: Tensor,
    text_features: Tensor,
    scale: Tensor | float,
    bias: Tensor | float,
    *,
    chunk_size: int | None = None,
) -> Tensor:
    """Compute ``sigmoid_loss`` in bounded memory, over all processes that train together.

    Where several processes run, as under ``accelerate launch`` or ``torchrun``, all of them have to
    call this, each with its own pairs and with equally many. What each process gets is the loss of
    its images against the texts of all. The mean over the processes is the loss of the whole batch.
    The gradients are those of the sum over the processes, also where another process's images meet
    our texts. So the averages that ``DistributedDataParallel`` (and ``accelerate.prepare``) makes
    are the gradients of the whole batch, as with a loss that needs no exchange. If you multiply the
    loss before ``backward``, do so by the same number in all processes.

    Besides the features and their gradients, a process holds the texts of one other process with
    their gradient, and (B, chunk_size) logits. Gradients are computed along with the loss, so
    ``backward`` exchanges nothing.

    Args:
        image_features: (B, P), of unit length: this process's images.
        text_features: (B, P), of unit length. Text number n belongs to image number n.
        scale: As in ``sigmoid_loss``.
        bias: As in ``sigmoid_loss``.
        chunk_size: How many texts are compared with the images at once; ``None`` for all that one
            process has.

    Raises:
        ValueError: As in ``sigmoid_loss``; ``chunk_size`` is less than 1; the processes do not
            have features of the same shape and precision.
        RuntimeError: On the way back, with ``create_graph=True``: there is no gradient of the
            gradient.

    Example:
        >>> from clipnotes.model import sigmoid_loss
        >>> images, texts = torch.nn.functional.normalize(torch.randn(2, 10, 4), dim=-1)
        >>> pairs = images, texts, 20.0, -10.0
        >>> in_chunks = sigmoid_loss_chunked(*pairs, chunk_size=3)
        >>> torch.allclose(in_chunks, sigmoid_loss(*pairs))
        True
    """
    check_pairs(image_features, text_features, scale, bias)
    if chunk_size is not None:
        check_positive(chunk_size=chunk_size)
    _check_same_shape(image_features)
    # Many small numbers are added up, which half precision would lose.
    wide = torch.promote_types(image_features.dtype, torch.float32)
    device = image_features.device
    given = (image_features, text_features, scale, bias)
    loss: Tensor = _Ring.apply(
        *(torch.as_tensor(x, dtype=wide, device=device) for x in given),
        chunk_size or len(text_features),
    )
    return loss


class _Ring(torch.autograd.Function):
    """One way around the ring, on which the texts collect their gradient in passing."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, chunk_size: int
    ) -> Tensor:
        rank, n_processes = _place()
        mine = torch.arange(len(images), device=images.device)  # (B,), which pair an image is of
        loss = images.new_zeros(())
        of_images, of_scale, of_bias = map(torch.zeros_like, (images, scale, bias))
        bag = torch.stack([texts, torch.zeros_like(texts)])  # (2, B, P): texts, their gradient
        for step in range(n_processes):
            for start in range(0, len(mine), chunk_size):
                chunk = slice(start, start + chunk_size)
                texts, of_texts = bag[:, chunk]  # (chunk_size, P) each; views
                cosines = images @ texts.T  # (B, chunk_size)
                # Only our own texts, before they leave, have a yes among our images.
                yes = (mine[:, None] == mine[chunk]) & (step == 0)
                answers = yes.to(cosines) * 2 - 1
                judged = answers * (cosines * scale + bias)
                loss -= F.logsigmoid(judged).sum()
                # The slope of -log sigmoid is how wrong the answer is, between 0 and 1.
                slope = -answers * torch.sigmoid(-judged)  # (B, chunk_size)
                of_images += slope @ texts * scale
                of_texts += slope.T @ images * scale
                of_scale += (slope * cosines).sum()
                of_bias += slope.sum()
            bag = _pass_on(bag, rank, n_processes)
        # After as many steps as there are processes, our texts are home again.
        ctx.save_for_backward(of_images, bag[1], of_scale, of_bias)
        return loss / len(images)

    @staticmethod
    def backward(ctx: Any, by: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # the gradients below would count as constants
            raise RuntimeError(
                "sigmoid_loss_chunked has no gradient of its gradient: leave out "
                "create_graph=True, or use sigmoid_loss on one process"
            )
        gradients = ctx.saved_tensors
        return (*(by / len(gradients[0]) * x for x in gradients), None)


def _place() -> tuple[int, int]:
    """Return which process of how many this is."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def _pass_on(bag: Tensor, rank: int, n_processes: int) -> Tensor:
    """Give a tensor to the next process of the ring, and take the one of the process before."""
    if n_processes == 1:
        return bag
    taken = torch.empty_like(bag)
    give = dist.P2POp(dist.isend, bag, (rank + 1) % n_processes)
    take = dist.P2POp(dist.irecv, taken, (rank - 1) % n_processes)
    for work in dist.batch_isend_irecv([give, take]):
        work.wait()
    return taken


def _check_same_shape(features: Tensor) -> None:
    """Raise in all processes unless all have features of the same shape and precision."""
    _, n_processes = _place()
    if n_processes == 1:
        return
    mine = torch.tensor([*features.shape, features.itemsize], device=features.device)
    everyone = [torch.empty_like(mine) for _ in range(n_processes)]
    dist.all_gather(everyone, mine)
    found = [tuple(shape.tolist()) for shape in everyone]
    if len(set(found)) > 1:
        said = " and ".join(f"({n}, {width}) with {size} bytes each" for n, width, size in found)
        raise ValueError(
            f"the features of the processes have the shapes {said}: pass the same number of pairs "
            "in all, for instance with drop_last=True in the DataLoader"
        )
