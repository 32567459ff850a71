"""Wrong answers to the exercises of chapters 7 to 13, and a part of what each is told."""

import math
from statistics import mean, pstdev, stdev

import torch
from torch.nn.functional import cross_entropy
from torch.nn.functional import scaled_dot_product_attention as attend

from clipnotes.model import eos_positions
from clipnotes.prompts.layout import Layout
from clipnotes.prompts.recipe import learning_rates

# 7. The text call chain


def first_taker(calls, mark):
    for call in calls.walk():
        if any(value.mark == mark for value in call.arguments.values()):
            return call.path


def hook_that_stays(tower, ids, vectors):
    tower.embeddings.token_embedding.register_forward_hook(lambda *_: vectors)
    return tower(input_ids=ids).pooler_output


def hook_that_stays_after_errors(tower, ids, vectors):
    hook = tower.embeddings.token_embedding.register_forward_hook(lambda *_: vectors)
    pooled = tower(input_ids=ids).pooler_output
    hook.remove()
    return pooled


def hook_that_cuts_the_graph(tower, ids, vectors):
    table = tower.embeddings.token_embedding
    hook = table.register_forward_hook(lambda *_: vectors.detach())
    try:
        return tower(input_ids=ids).pooler_output
    finally:
        hook.remove()


def two_others(ids, end):
    changed = ids.clone()
    changed[:, 1:3] = end + 1
    return changed


def other_word(ids, end):
    changed = ids.clone()
    changed[:, 1] = 1 + ids[:, 1] % 2
    return changed


def early_end(ids, end):
    changed = ids.clone()
    changed[:, 1] = end
    return changed


def pool_without_asking(states, ids, end):
    return states[torch.arange(len(ids)), eos_positions(ids, end)]


def pool_last_end(states, ids, end):
    last = ids.shape[1] - 1 - (ids == end).int().flip(1).argmax(1)
    return states[torch.arange(len(ids)), last]


CHAPTER_7 = [
    ("7.1", lambda mask: mask.sum(1), "Places are counted from 0"),
    ("7.1", lambda mask: mask.sum(0) - 1, "over which dimension"),
    ("7.1", lambda mask: mask.float().sum(1) - 1, "Places are integers"),
    ("7.2", first_taker, "not the last call"),
    ("7.2", lambda calls, mark: calls.find("encoder"), "A path is wanted"),
    ("7.2", lambda calls, mark: "encoder", "did not get the tensor"),
    ("7.3", lambda tower, ids, v: tower(input_ids=ids).pooler_output, "did not get in"),
    ("7.3", hook_that_stays, "still there afterwards"),
    ("7.3", hook_that_stays_after_errors, "When the tower raises an error"),
    ("7.3", hook_that_cuts_the_graph, "No gradient comes back"),
    ("7.4", lambda ids, end: ids + 0, "differ: [0, 0, 0]"),
    ("7.4", two_others, "exactly one token"),
    ("7.4", other_word, "Both rules still find the same place"),
    ("7.4", early_end, "finds another place than before"),
    ("7.5", lambda states, ids, end: states[:, -1], "the last row"),
    ("7.5", lambda s, ids, end: s[torch.arange(len(ids)), ids.argmax(1)], "the largest id"),
    ("7.5", pool_last_end, "last end token"),
    ("7.5", pool_without_asking, "It should raise a ValueError"),
]

# 8. The fix


def words_are_tokens(tokenizer, names, limit):
    return limit - 3 - max(len(name.split()) for name in names)


def without_the_dot(tokenizer, names, limit):
    return limit - max(len(row) for row in tokenizer(list(names))["input_ids"])


def without_start_and_end(tokenizer, names, limit):
    texts = [f"{name}." for name in names]
    rows = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return limit - max(len(row) for row in rows)


def room_for_the_first(tokenizer, names, limit):
    return limit - len(tokenizer(f"{names[0]}.")["input_ids"])


def written_in_place(vectors, ctx, places):
    vectors[torch.arange(len(vectors))[:, None], places] = ctx
    return vectors


def at_the_first_text_s_places(vectors, ctx, places):
    result = vectors.clone()
    result[:, places[0]] = ctx.to(vectors)
    return result


def without_order(vectors, ctx, places):
    result = vectors.clone()
    result[torch.arange(len(vectors))[:, None], places.sort().values] = ctx.to(vectors)
    return result


def by_scatter_of_float32(vectors, ctx, places):
    result = vectors.to(ctx.dtype).clone()
    result[torch.arange(len(vectors))[:, None], places] = ctx
    return result


def without_gradient(vectors, ctx, places):
    result = vectors.clone()
    result[torch.arange(len(vectors))[:, None], places] = ctx.detach().to(vectors)
    return result


def moved_places(layout, shift=0):
    n = layout.ctx_positions.shape[1]
    return layout.eos[:, None] - n + torch.arange(n) + shift


def only_the_places(layout):
    return Layout(layout.input_ids, moved_places(layout), layout.eos)


def over_the_end(layout):
    return Layout(layout.input_ids, moved_places(layout, 1), layout.eos)


def longer(layout):
    return Layout(layout.input_ids, moved_places(layout), layout.eos + 1)


def moved_in_place(layout):
    layout.ctx_positions.copy_(moved_places(layout))
    return layout


def rows_set_to_zero(table, row, loss):
    whole = table.clone().requires_grad_()
    optimizer = torch.optim.AdamW([whole], lr=0.01, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        loss(whole).backward()
        whole.grad[torch.arange(len(whole)) != row] = 0
        optimizer.step()
    return whole.detach()


def without_decay(table, row, loss, steps=3, lr=0.01):
    own = table[row : row + 1].clone().requires_grad_()
    optimizer = torch.optim.AdamW([own], lr=lr, weight_decay=0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(torch.cat([table[:row], own, table[row + 1 :]])).backward()
        optimizer.step()
    return torch.cat([table[:row], own.detach(), table[row + 1 :]])


CHAPTER_8 = [
    ("8.1", lambda ctx: 2 * ctx, "some changes do not survive that"),
    ("8.1", lambda ctx: ctx + torch.eye(*ctx.shape), "All of them should change"),
    ("8.1", lambda ctx: (ctx + 1)[None], "the same shape"),
    ("8.2", words_are_tokens, "if every word were one token"),
    ("8.2", without_the_dot, "one too many"),
    ("8.2", without_start_and_end, "two too many"),
    ("8.2", room_for_the_first, "the longest of the prompts"),
    ("8.3", written_in_place, "changes the tensor that it was given"),
    ("8.3", at_the_first_text_s_places, "at the places of the first"),
    ("8.3", without_order, "in the order of the text"),
    ("8.3", by_scatter_of_float32, "In a model of bfloat16"),
    ("8.3", without_gradient, "No gradient comes back"),
    ("8.4", only_the_places, "would cover the names"),
    ("8.4", over_the_end, "in the place of the end token"),
    ("8.4", longer, "every end is where it was"),
    ("8.4", moved_in_place, "changes the layout that it was given"),
    ("8.5", rows_set_to_zero, "weight decay moves it all the same"),
    ("8.5", without_decay, "without the weight decay"),
    ("8.5", lambda table, row, loss: table.clone(), "did not move"),
    ("8.5", lambda *given: without_decay(*given, lr=0.1), "not where three steps bring it"),
]

# 9. Training a prompt


def changes(before, after):
    return [b - a for a, b in zip(before, after, strict=True)]


def flattened(confusion):
    return int((confusion - confusion.diag().diag()).argmax())


def other_way_round(confusion):
    return divmod(int((confusion - confusion.diag().diag()).T.argmax()), len(confusion))


def without_shift(lr, epochs):
    falling = [lr * (1 + math.cos(math.pi * e / epochs)) / 2 for e in range(epochs)]
    return [1e-5, *falling[1:]]


def to_the_end(lr, epochs):
    last = max(1, epochs - 1)
    return [1e-5, *[lr * (1 + math.cos(math.pi * e / last)) / 2 for e in range(epochs - 1)]]


def piling_up(learner, images, labels, lr, steps):
    losses = []
    for _ in range(steps):
        loss = cross_entropy(learner.logits(images), labels)
        loss.backward()
        with torch.no_grad():
            learner.ctx -= lr * learner.ctx.grad
        losses.append(loss.item())
    return losses


def climbing(learner, images, labels, lr, steps):
    losses = []
    for _ in range(steps):
        loss = cross_entropy(learner.logits(images), labels)
        (gradient,) = torch.autograd.grad(loss, learner.ctx)
        learner.ctx.data += lr * gradient
        losses.append(loss.item())
    return losses


def looking_afterwards(learner, images, labels, lr, steps):
    losses = []
    for _ in range(steps):
        loss = cross_entropy(learner.logits(images), labels)
        (gradient,) = torch.autograd.grad(loss, learner.ctx)
        learner.ctx.data -= lr * gradient
        losses.append(cross_entropy(learner.logits(images), labels).item())
    return losses


def all_weights(learner, images, labels, lr, steps):
    learner.frozen.weight.data -= lr
    return [0.0] * steps


def only_looking(learner, images, labels, lr, steps):
    return [cross_entropy(learner.logits(images), labels).item()] * steps


CHAPTER_9 = [
    ("9.1", lambda a, b: mean(b) - mean(a), "Two numbers are wanted"),
    ("9.1", lambda a, b: (mean(a) - mean(b), stdev(b)), "not the mean change"),
    ("9.1", lambda a, b: (mean(b) - mean(a), stdev(b)), "the spread of the second list"),
    ("9.1", lambda a, b: (mean(b) - mean(a), stdev(b) - stdev(a)), "a difference of two spreads"),
    ("9.1", lambda a, b: (mean(b) - mean(a), pstdev(changes(a, b))), "divide by one less"),
    ("9.1", lambda a, b: (mean(b) - mean(a), 0.5), "not the spread of the change"),
    ("9.2", flattened, "the flattened matrix"),
    ("9.2", lambda confusion: divmod(int(confusion.argmax()), len(confusion)), "for itself"),
    ("9.2", other_way_round, "The other way round"),
    ("9.2", lambda confusion: (1, 0), "There is a pair with more"),
    ("9.3", lambda lr, epochs: [1e-5, *learning_rates("constant", lr, epochs)], "One an epoch"),
    ("9.3", lambda lr, epochs: [lr] * epochs, "not the warm-up's"),
    ("9.3", without_shift, "does not begin at lr"),
    ("9.3", to_the_end, "as if it had all epochs to itself"),
    ("9.4", piling_up, "`backward` adds to what is there"),
    ("9.4", climbing, "The loss rises"),
    ("9.4", looking_afterwards, "Wanted are those before"),
    ("9.4", all_weights, "that are frozen"),
    ("9.4", only_looking, "has not moved"),
]

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
    ("11.1", lambda a, b, weight: weight * (1 - cosines(a, b)), "one number a class"),
    ("11.1", lambda a, b, weight: weight * (1 - cosines(a, b)).sum(), "the sum over the classes"),
    ("11.1", lambda a, b, weight: weight * cosines(a, b).mean(), "grows when the features"),
    ("11.1", lambda a, b, weight: (1 - cosines(a, b)).mean(), "The weight has no part"),
    ("11.1", lambda a, b, weight: weight * (1 - a @ b.T).mean(), "the sentences of all classes"),
    ("11.2", lambda f, keys, labels, texts, scale, *_: scale * f @ texts.T, "Only the sentences"),
    ("11.2", lambda *given: tip(*given[:4], 0.0, *given[5:]), "Only the kept pictures"),
    ("11.2", lambda *given: tip(*given[:5], 1.0, given[6]), "as if alpha were 1"),
    ("11.2", lambda *given: tip(*given, pool=torch.mean), "the mean over a class's"),
    ("11.2", lambda *given: tip(*given[:4], 1.0, *given[5:]), "the temperature is missing"),
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
    ("13.1", lambda size: math.log2(size), "another base"),
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
    ("13.4", lambda scale: scale.clamp(max=100), "the logarithm of the temperature"),
    ("13.4", lambda scale: scale.exp().clamp(max=100), "nothing has to be held"),
    ("13.4", lambda scale: scale.clamp(max=math.log(10)), "nothing has to be held"),
    ("13.4", lambda scale: scale + 0, "than CLIP allows"),
    ("13.5", newton, "grow without end"),
    ("13.5", lambda gradient: gradient / gradient.norm(), "Wanted is 1 for all"),
    ("13.5", lambda gradient: newton(gradient / gradient.norm(), 3), "Wanted is 1 for all"),
    ("13.5", lambda gradient: -newton(gradient / gradient.norm()), "goes another way"),
]

WRONG = [
    *(CHAPTER_7 + CHAPTER_8 + CHAPTER_9 + CHAPTER_10),
    *(CHAPTER_11 + CHAPTER_12 + CHAPTER_13),
]
