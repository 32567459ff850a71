"""Wrong answers to the exercises of chapters 7 to 9, and a part of what each is told."""

import math
from statistics import mean, pstdev, stdev

import torch
from torch.nn.functional import cross_entropy

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
    ("7.4", early_end, "finds a different place now"),
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

WRONG = [*CHAPTER_7, *CHAPTER_8, *CHAPTER_9]
