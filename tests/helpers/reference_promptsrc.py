"""PromptSRC, written from the paper and independent of the package: its loss and its training."""

import math

import torch
from torch import Tensor

import clipnotes
from clipnotes.compat import text_tower
from clipnotes.prompts import PromptSRC
from clipnotes.prompts.recipe import batches, learning_rates
from reference import pixels
from reference_visual import encode_class, encode_images, logits

NAMES = ["tulip", "steam locomotive", "a rose, red"]
SENTENCES = ["a photo of a {}.", "one {} !", "{}"]
PARAMETERS = ["ctx", "visual_ctx"]


def pictures(clip: clipnotes.Clip, n: int = 4) -> Tensor:
    return pixels(clip.model.config.vision_config, seed=n, batch=n)


def own(learner: PromptSRC) -> list[Tensor]:
    return [getattr(learner, name) for name in PARAMETERS]


def left(clip: clipnotes.Clip, seed: int = 0, **arguments) -> PromptSRC:
    """A learner that has left the place where it starts."""
    learner = PromptSRC(clip, NAMES, templates=SENTENCES, seed=seed, **arguments)
    with torch.no_grad():
        learner.ctx.mul_(10)
        learner.visual_ctx.mul_(20)
    return learner


def compared(clip, ctx, visual_ctx, images, names, template="{}."):
    """Features of images and classes with prompts in the layers: (n, P), (n_classes, P)."""
    classes = [encode_class(clip, name, list(ctx), template) for name in names]
    return encode_images(clip, images, list(visual_ctx)), torch.cat(classes)


@torch.no_grad()
def frozen(clip, images, names):
    """The same without a prompt, the classes as the mean of the sentences."""
    words = text_tower(clip.model).embeddings.token_embedding.weight.shape[1]
    nothing = [torch.zeros(0, words)]
    classes = torch.stack(
        [
            torch.cat([encode_class(clip, sentence.format(name), nothing, "{}") for name in names])
            for sentence in SENTENCES
        ]
    ).mean(dim=0)
    eye = clip.model.config.vision_config.hidden_size
    images = encode_images(clip, images, [torch.zeros(0, eye)])
    return images, classes / classes.norm(dim=-1, keepdim=True)


def terms(clip, ctx, visual_ctx, images, labels):
    """The four means of a batch: cross-entropy, text, image, KL; and the smallest difference."""
    seen, classes = compared(clip, ctx, visual_ctx, images, NAMES)
    plain, written = frozen(clip, images, NAMES)
    found, wanted = logits(clip, seen, classes), logits(clip, plain, written)
    ce = -torch.stack([row.log_softmax(0)[y] for row, y in zip(found, labels, strict=True)]).mean()
    text, image = (classes - written).abs(), (seen - plain).abs()
    p, q = wanted.softmax(dim=1), found.softmax(dim=1)
    kl = (p * (p.log() - q.log())).mean()  # over images and classes, as the authors' program
    return ce, text.mean(), image.mean(), kl, min(text.min(), image.min())


def by_hand(tiny, start, images, labels, epochs, lr, batch_size, seed):
    """Train as the paper says: SGD with momentum and decay, then the Gaussian's mean of epochs."""
    values = [value.detach().clone() for value in own(start)]
    momentum, after = [torch.zeros_like(v) for v in values], []
    for epoch, rate in enumerate(learning_rates("cosine", lr, epochs)):
        for batch in batches(len(labels), batch_size, seed, epoch):
            given = [value.clone().requires_grad_() for value in values]
            ce, text, image, kl, _ = terms(tiny, *given, images[batch], labels[batch])
            loss = ce + 25 * text + 10 * image + kl
            for i, slope in enumerate(torch.autograd.grad(loss, given)):
                momentum[i] = 0.9 * momentum[i] + slope + 5e-4 * values[i]
                values[i] = values[i] - rate * momentum[i]
        after.append([value.clone() for value in values])
    mean, std = 0.75 * epochs, 0.05 * epochs
    density = [math.exp(-(((e - mean) / std) ** 2) / 2) for e in range(1, epochs + 1)]
    total = sum(density)
    both = [zip(density, values, strict=True) for values in zip(*after, strict=True)]
    return [sum(weight / total * value for weight, value in one) for one in both], after
