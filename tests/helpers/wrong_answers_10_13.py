"""Wrong answers to the exercises of chapters 10 to 13, and a part of what each is told."""

import math

import torch
from torch.nn.functional import scaled_dot_product_attention as attend

# 10. Exact and fast


def one_layer_only(looks, n_layers):
    return looks | torch.eye(len(looks), dtype=torch.bool)


def without_the_stream(looks, n_layers):
    return torch.linalg.matrix_power(looks.float(), n_layers) > 0


def by_who_is_looked_at(looks, n_layers):
    step = (looks.T | torch.eye(len(looks), dtype=torch.bool)).float()
    return torch.linalg.matrix_power(step, n_layers) > 0


def numbers_of_ways(looks, n_layers):
    step = (looks | torch.eye(len(looks), dtype=torch.bool)).float()
    return torch.linalg.matrix_power(step, n_layers)


def blocks(lengths, of):
    return torch.block_diag(*[of(torch.ones(n, n, dtype=torch.bool)) for n in lengths])


def both(q, k, v, past_k, past_v, **more):
    return attend(q, torch.cat([past_k, k], 1), torch.cat([past_v, v], 1), **more)


def tail_not_scaled(q, k, v, past_k, past_v):
    may = torch.ones(q.shape[1], past_k.shape[1] + q.shape[1], dtype=torch.bool)
    return both(q, k, v, past_k, past_v, attn_mask=may.tril(past_k.shape[1]), scale=1.0)


CHAPTER_10 = [
    ("10.1", lambda ids: int((ids == ids[0]).all(0).sum()), "behind one that is not"),
    ("10.1", lambda ids: 1, "more than the start"),
    ("10.1", lambda ids: ids.shape[1], "do not begin with"),
    ("10.2", lambda n, limit, prefix, tail: limit / (prefix + tail), "a prefix for each class"),
    ("10.2", lambda n, limit, prefix, tail: limit / tail, "without the prefix"),
    ("10.2", lambda n, limit, prefix, tail: (prefix + n * tail) / (n * limit), "its inverse"),
    ("10.3", one_layer_only, "more depends on more"),
    ("10.3", without_the_stream, "residual stream"),
    ("10.3", by_who_is_looked_at, "the other way round"),
    ("10.3", numbers_of_ways, "Yes or no is wanted"),
    ("10.3", lambda looks, n: torch.ones_like(looks), "there is no way"),
    ("10.4", lambda n: torch.ones(sum(n), sum(n)).tril(), "look into each other"),
    ("10.4", lambda lengths: blocks(lengths, torch.clone), "look ahead"),
    ("10.4", lambda lengths: blocks(lengths, torch.triu), "upside down"),
    ("10.4", lambda lengths: torch.ones(3, 3), "a mask of (6, 6)"),
    ("10.5", lambda q, k, v, *past: attend(q, k, v, is_causal=True), "at itself only"),
    ("10.5", both, "The tail looks ahead"),
    ("10.5", lambda *given: both(*given, is_causal=True), "begins in the corner"),
    ("10.5", tail_not_scaled, "still grow with the width"),
]

# 11. Beyond CoOp


def cosines(learned, written):
    return (learned * written).sum(-1)


def tip(features, keys, labels, texts, scale, alpha, beta, *, pool=torch.sum):
    near = torch.exp(-beta * (1 - features @ keys.T))
    cached = [pool(near[:, labels == i], 1) for i in range(len(texts))]
    return scale * features @ texts.T + alpha * torch.stack(cached, 1)


def growing(layers, tokens, prompts):
    for layer, prompt in zip(layers, prompts, strict=True):
        fresh = prompt.expand(len(tokens), -1, -1)
        tokens = layer(torch.cat([tokens[:, :1], fresh, tokens[:, 1:]], 1))
    return tokens


def shallow(layers, tokens, prompts):
    tokens = growing(layers[:1], tokens, prompts[:1])
    for layer in layers[1:]:
        tokens = layer(tokens)
    return tokens


def in_front(layers, tokens, prompts):
    n = 0
    for layer, prompt in zip(layers, prompts, strict=True):
        tokens = layer(torch.cat([prompt.expand(len(tokens), -1, -1), tokens[:, n:]], 1))
        n = len(prompt)
    return tokens


def taken_out(layers, tokens, prompts):
    for layer, prompt in zip(layers, prompts, strict=True):
        tokens = growing([layer], tokens, prompt[None])
        tokens = torch.cat([tokens[:, :1], tokens[:, 1 + len(prompt) :]], 1)
    return tokens


CHAPTER_11 = [
    ("11.1", lambda a, b, weight: weight * (1 - cosines(a, b)), "one number per class"),
    ("11.1", lambda a, b, weight: weight * (1 - cosines(a, b)).sum(), "the sum over the classes"),
    ("11.1", lambda a, b, weight: weight * cosines(a, b).mean(), "grows when the features"),
    ("11.1", lambda a, b, weight: (1 - cosines(a, b)).mean(), "The weight has no part"),
    ("11.1", lambda a, b, weight: weight * (1 - a @ b.T).mean(), "the sentences of all classes"),
    ("11.2", lambda f, keys, labels, texts, scale, *_: scale * f @ texts.T, "Only the sentences"),
    ("11.2", lambda *given: tip(*given[:4], 0.0, *given[5:]), "Only the kept images"),
    ("11.2", lambda *given: tip(*given[:5], 1.0, given[6]), "as if alpha were 1"),
    ("11.2", lambda *given: tip(*given, pool=torch.mean), "the mean over a class's"),
    ("11.2", lambda *given: tip(*given[:4], 1.0, *given[5:]), "the scale is missing"),
    ("11.2", lambda *given: tip(*given[:6], 1.0), "not Tip-Adapter's logits"),
    ("11.3", lambda n, width, shared: n * width, "that is the context"),
    ("11.3", lambda n, w, s: (s + 1) * (s // 16) + (s // 16 + 1) * w, "that is the network"),
    ("11.3", lambda n, w, s: n * w + s * (s // 16) + s // 16 * w, "have biases"),
    ("11.4", growing, "every layer adds 2"),
    ("11.4", shallow, "the shallow form"),
    ("11.4", in_front, "in front of the class token"),
    ("11.4", taken_out, "leave them in"),
]

# 12. Where it looks


def whole_rollout(attentions):
    N = attentions[0].shape[-1]
    product = torch.eye(N)
    for weights in attentions:
        product = (weights.mean(1) + torch.eye(N)) / 2 @ product
    return product[:, 0]


def followed(attentions, share):
    row = torch.zeros(len(attentions[0]), 1, attentions[0].shape[-1])
    row[..., 0] = 1
    for weights in attentions:
        row = share * row @ weights.mean(1) + (1 - share) * row
    return row[:, 0]


def column_by_column(pixels, patches, size, colour):
    result, columns = pixels.clone(), pixels.shape[-1] // size
    for picture, numbers in zip(result, patches.tolist(), strict=True):
        for i in numbers:
            y, x = size * (i % columns), size * (i // columns)
            picture[:, y : y + size, x : x + size] = colour
    return result


def all_alike(pixels, patches, size, colour):
    result, columns = pixels.clone(), pixels.shape[-1] // size
    for i in patches.flatten().tolist():
        y, x = size * (i // columns), size * (i % columns)
        result[:, :, y : y + size, x : x + size] = colour
    return result


def painted_over(pixels, patches, size, colour):
    pixels[:] = colour
    return pixels


def with_stream(layer, states):
    attention = layer.self_attn
    return states + attention.out_proj(attention.v_proj(layer.layer_norm1(states)))


def with_mlp(layer, states):
    stream = with_stream(layer, states)
    return stream + layer.mlp(layer.layer_norm2(stream))


def not_normed(layer, states):
    return layer.self_attn.out_proj(layer.self_attn.v_proj(states))


def plain_entropy(attention):
    return torch.special.entr(attention).sum(-1)


CHAPTER_12 = [
    ("12.1", whole_rollout, "24 times the arithmetic"),
    ("12.1", lambda attentions: followed(attentions, 0.5), "in the wrong order"),
    ("12.1", lambda attentions: followed(attentions[::-1], 1.0), "half of each row"),
    ("12.1", lambda attentions: attentions[-1].mean(1)[:, 0], "not row 0"),
    ("12.2", column_by_column, "row by row, as one reads"),
    ("12.2", all_alike, "Each has its own"),
    ("12.2", lambda pixels, *_: pixels.clone(), "Nothing was painted"),
    ("12.2", painted_over, "changes the tensor that it was given"),
    ("12.3", lambda layer, x: layer.self_attn.v_proj(layer.layer_norm1(x)), "head by head"),
    ("12.3", not_normed, "What does a layer read first?"),
    ("12.3", with_stream, "The residual stream is in it"),
    ("12.3", with_mlp, "the MLP are in it"),
    ("12.3", lambda layer, x: layer.self_attn(layer.layer_norm1(x))[0], "The tokens are mixed"),
    ("12.4", lambda p: (-p * p.log()).sum(-1).exp(), "the logarithm of 0"),
    ("12.4", plain_entropy, "Its exponential counts"),
    ("12.4", lambda p: (p > 0).sum(-1), "however small it is"),
    ("12.4", lambda p: 2 ** plain_entropy(p), "even over k tokens"),
]

# 13. Making Emoji-CLIP


def same_things(thing, kind, is_category):
    return thing[:, None] == thing


def any_drawings(label, size, rng):
    return torch.randperm(len(label), generator=rng)[:size]


def the_same_three(label, size, rng):
    return torch.tensor([0, 1, 2])


def first_designer(label, size, rng):
    things = label.unique()[torch.randperm(5, generator=rng)[:size]]
    return torch.stack([(label == thing).nonzero()[0, 0] for thing in things])


def from_the_global_seed(label, size, rng):
    things = label.unique()[torch.randperm(5)[:size]]
    each = [(label == thing).nonzero()[:, 0] for thing in things]
    return torch.stack([some[torch.randint(len(some), ())] for some in each])


def labels_for_drawings(label, size, rng):
    return label.unique()[:size].float()


def newton(x, steps=15):
    for _ in range(steps):
        x = 1.5 * x - 0.5 * x @ x.T @ x
    return x


CHAPTER_13 = [
    ("13.1", lambda size: 2 * math.log(size), "the sum of both directions"),
    ("13.1", lambda size: math.log2(size), "a different base"),
    ("13.1", lambda size: 1 / size, "the probability of the right one"),
    ("13.1", lambda size: -math.log(size), "is above 0"),
    ("13.2", same_things, "of more than its own thing"),
    ("13.2", lambda thing, *_: torch.eye(len(thing)), "only the diagonal"),
    ("13.2", lambda t, k, _: (t[:, None] == t) | (k[:, None] == k), "not true of its whole kind"),
    ("13.2", lambda t, k, c: (k[:, None] == k) & c, "is still true of its thing"),
    ("13.2", lambda t, k, c: (t[:, None] == t) | ((k[:, None] == k) & c[:, None]), "way round"),
    ("13.3", any_drawings, "one is there twice"),
    ("13.3", the_same_three, "were there every time"),
    ("13.3", first_designer, "did not come up once"),
    ("13.3", from_the_global_seed, "nobody can repeat the run"),
    ("13.3", labels_for_drawings, "The numbers of three drawings"),
    ("13.4", lambda scale: scale.clamp(max=100), "the logarithm of the scale"),
    ("13.4", lambda scale: scale.exp().clamp(max=100), "nothing has to be held"),
    ("13.4", lambda scale: scale.clamp(max=math.log(10)), "nothing has to be held"),
    ("13.4", lambda scale: scale + 0, "the one that CLIP allows"),
    ("13.5", newton, "grow without end"),
    ("13.5", lambda gradient: gradient / gradient.norm(), "Wanted is 1 for all"),
    ("13.5", lambda gradient: newton(gradient / gradient.norm(), 3), "Wanted is 1 for all"),
    ("13.5", lambda gradient: -newton(gradient / gradient.norm()), "goes another way"),
]

WRONG = [*CHAPTER_10, *CHAPTER_11, *CHAPTER_12, *CHAPTER_13]
