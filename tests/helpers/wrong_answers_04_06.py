"""Wrong answers to the exercises of chapters 4 to 6, and a part of what each is told."""

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from clipnotes.compat import vision_states, vision_tower

# 4. The encoder loop


def listened(*, entrance=False, first=True, remove=True, also_first=False):
    """What is heard at layers by hooks that have a mistake."""

    def listen(layers, run):
        heard, hooks = [], []

        def note(_, args, out=None):
            if also_first and not heard:
                heard.append(args[0])
            out = args if out is None else out
            heard.append(out[0] if type(out) is tuple and first else out)

        for layer in layers:
            hook = layer.register_forward_pre_hook if entrance else layer.register_forward_hook
            hooks.append(hook(note))
        run()
        for hook in hooks if remove else ():
            hook.remove()
        return heard

    return listen


def runs_only(layers, run):
    run()
    return [torch.zeros(1)]


def zeros_of_the_shape(layers, run):
    return [torch.zeros_like(one) for one in listened()(layers, run)]


def in_their_order(layers, tokens, order):
    for layer in layers:
        tokens = layer(tokens)
    return tokens


def always_the_first_tokens(layers, tokens, order):
    out = tokens
    for i in order:
        out = layers[i](tokens)
    return out


def in_ascending_order(layers, tokens, order):
    for i in sorted(order):
        tokens = layers[i](tokens)
    return tokens


def at_least_one(layers, tokens, order):
    order = list(order) or [0]
    for i in order:
        tokens = layers[i](tokens)
    return tokens


def no_checkpoint(layers, tokens):
    for layer in layers:
        tokens = layer(tokens)
    return tokens


def reentrant(layers, tokens):
    for layer in layers:
        tokens = checkpoint(layer, tokens, use_reentrant=True)
    return tokens


def in_one_block(layers, tokens):
    return checkpoint(lambda x: no_checkpoint(layers, x), tokens, use_reentrant=False)


def the_first_only(layers, tokens):
    return no_checkpoint(layers[1:], checkpoint(layers[0], tokens, use_reentrant=False))


def detached_on_the_way(layers, tokens):
    for layer in layers:
        tokens = checkpoint(layer, tokens.detach(), use_reentrant=False)
    return tokens


def too_few(layers, tokens):
    return checkpoint(layers[0], tokens, use_reentrant=False)


# 5. The pooled output


def states_of(model, pixel_values):
    return vision_states(model, pixel_values).hidden_states


def with_the_class_token(model, pixel_values, layer=2):
    return states_of(model, pixel_values)[-layer]


def without_the_last_patch(model, pixel_values, layer=2):
    return states_of(model, pixel_values)[-layer][:, :-1]


def one_too_early(model, pixel_values, layer=2):
    return states_of(model, pixel_values)[-layer - 1][:, 1:]


def always_the_last(model, pixel_values, layer=2):
    return states_of(model, pixel_values)[-1][:, 1:]


def from_the_front(model, pixel_values, layer=2):
    return states_of(model, pixel_values)[layer][:, 1:]


def normalised_patches(model, pixel_values, layer=2):
    return vision_tower(model).post_layernorm(states_of(model, pixel_values)[-layer][:, 1:])


def always_before_last(model, pixel_values, layer=2):
    return states_of(model, pixel_values)[-2][:, 1:]


def moved(*, pre=True, move=True, post=True, place=-1, double=False, times=1):
    """The pooled vector of a sequence with the class token elsewhere, with a mistake."""

    def pool(tower, pixel_values):
        tokens = tower.embeddings(pixel_values)
        tokens = tower.pre_layrnorm(tokens) if pre else tokens
        tokens = tokens.roll(-1, 1) if move else tokens
        tokens = torch.cat([tokens[:, -1:], tokens], 1) if double else tokens
        for _ in range(times):
            out = tower.encoder(inputs_embeds=tokens)[0][:, place]
        return tower.post_layernorm(out) if post else out

    return pool


def turned_round(tower, pixel_values):
    tokens = tower.pre_layrnorm(tower.embeddings(pixel_values)).roll(3, 1)
    return tower.post_layernorm(tower.encoder(inputs_embeds=tokens)[0][:, 3])


# 6. Two towers, one space


def table(*, images=True, texts=True, factor=torch.exp, dim=-1):
    """Logits with a mistake."""

    def logits(image_vectors, text_vectors, scale):
        a = F.normalize(image_vectors, dim=dim) if images else image_vectors
        b = F.normalize(text_vectors, dim=dim) if texts else text_vectors
        return a @ b.T * factor(scale)

    return logits


def crossed_entropy(logits):
    return F.cross_entropy(logits, torch.arange(len(logits)))


def both_ways(logits):
    return (crossed_entropy(logits) + crossed_entropy(logits.T)) / 2


def softmax_twice(logits):
    return (crossed_entropy(logits.softmax(1)) + crossed_entropy(logits.T.softmax(1))) / 2


def logarithm_of_the_mean(logits):
    return -(logits.softmax(1).diag().mean().log() + logits.softmax(0).diag().mean().log()) / 2


def parts_of(logits, size):
    return [part.split(size, 1)[i] for i, part in enumerate(logits.split(size))]


def with_the_rest(logits, size):
    return torch.stack([both_ways(part) for part in parts_of(logits, size)]).mean()


def the_first_batch(logits, size):
    return both_ways(logits[:size, :size])


def in_one_direction(logits, size):
    whole = [part for part in parts_of(logits, size) if len(part) == size]
    return torch.stack([crossed_entropy(part) for part in whole]).mean()


def sum_over_batches(logits, size):
    whole = [part for part in parts_of(logits, size) if len(part) == size]
    return torch.stack([both_ways(part) for part in whole]).sum()


def common_mean(images, texts):
    middle = torch.cat([images, texts]).mean(0)
    return F.normalize(images - middle, dim=-1), F.normalize(texts - middle, dim=-1)


def the_other_s_mean(images, texts):
    apart = texts.mean(0), images.mean(0)
    return F.normalize(images - apart[0], dim=-1), F.normalize(texts - apart[1], dim=-1)


def only_pictures(images, texts):
    return F.normalize(images - images.mean(0), dim=-1), texts


def channels(images, texts):
    return [F.normalize(x - x.mean(1, keepdim=True), dim=-1) for x in (images, texts)]


WRONG = [
    ("4.1", lambda states, i: (states[i + 1], states[i]), "the two are interchanged"),
    ("4.1", lambda states, i: (states[i - 1], states[i]), "not what it read"),
    ("4.1", lambda states, i: (states[max(0, i - 1)], states[max(1, i)]), "the layer before"),
    ("4.1", lambda states, i: (states[i], states[-1]), "not what it wrote"),
    ("4.1", lambda states, i: states[i], "Two tensors are wanted"),
    ("4.2", lambda layers, run: [], "No layer ran"),
    ("4.2", runs_only, "4 layers ran, and you have 1"),
    ("4.2", lambda layers, run: run(), "A list is wanted"),
    ("4.2", zeros_of_the_shape, "These are not the outputs"),
    ("4.2", listened(first=False), "of 4.57 you collect tuples"),
    ("4.2", listened(entrance=True), "at the entrance"),
    ("4.2", listened(also_first=True), "One too many"),
    ("4.2", listened(remove=False), "Your hooks are still there"),
    ("4.3", in_their_order, "[3, 2, 1, 0] all layers ran"),
    ("4.3", in_ascending_order, "all layers ran"),
    ("4.3", at_least_one, "no layer is to run"),
    ("4.3", always_the_first_tokens, "Each reads what the one before it wrote"),
    ("4.3", lambda layers, tokens, order: 0 * tokens, "not what the layers make"),
    ("4.4", no_checkpoint, "no layer runs again"),
    ("4.4", reentrant, "There are two kinds"),
    ("4.4", in_one_block, "as one block"),
    ("4.4", the_first_only, "the layers [0] start again"),
    ("4.4", detached_on_the_way, "the layers [3] start again"),
    ("4.4", too_few, "not what the layers make"),
    ("5.1", lambda last, norm: last[:, 0], "The norm is missing"),
    ("5.1", lambda last, norm: norm(last), "for every token"),
    ("5.1", lambda last, norm: norm(last[:, -1]), "the last patch"),
    ("5.1", lambda last, norm: norm(last).mean(1), "That is a mean"),
    ("5.1", lambda last, norm: norm(last[:, 1]), "not the tower's pooler_output"),
    ("5.2", with_the_class_token, "the class token is among them"),
    ("5.2", without_the_last_patch, "the last patch is left out"),
    ("5.2", one_too_early, "one layer too early"),
    ("5.2", always_the_last, "with 2 you give the last layer's"),
    ("5.2", from_the_front, "you count from the front"),
    ("5.2", normalised_patches, "a norm was applied"),
    ("5.2", always_before_last, "With layer=1 it is one layer too early"),
    ("5.2", lambda model, pixel_values: 1, "A tensor is wanted"),
    ("5.3", lambda last, norm: norm(last.mean(1)), "it is no patch"),
    ("5.3", lambda last, norm: last[:, 1:].mean(1), "The norm is missing"),
    ("5.3", lambda last, norm: norm(last[:, 1:]).mean(1), "You normalise the patches"),
    ("5.3", lambda last, norm: norm(last[:, 1:].amax(1)), "not the mean"),
    ("5.4", moved(pre=False), "`pre_layrnorm` is missing"),
    ("5.4", moved(move=False, place=0), "in front, as always"),
    ("5.4", moved(double=True), "nothing doubled"),
    ("5.4", moved(times=2), "it ran 2 times"),
    ("5.4", lambda tower, pixel_values: tower(pixel_values)[1], "in front, as always"),
    ("5.4", turned_round, "The last token is not the class token"),
    ("5.4", moved(place=0), "That is a patch now"),
    ("5.4", moved(post=False), "`post_layernorm` is missing"),
    ("5.4", moved(place=2), "it should be the same"),
    ("6.1", lambda *given: table()(*given).T, "transposed"),
    ("6.1", table(factor=torch.ones_like), "the scale is missing"),
    ("6.1", table(factor=torch.clone), "the scale's logarithm"),
    ("6.1", table(factor=lambda x: 1 / x.exp()), "You divide by the scale"),
    ("6.1", table(images=False, texts=False), "Nothing has unit length"),
    ("6.1", table(images=False), "The images' vectors still"),
    ("6.1", table(texts=False), "The texts' vectors still"),
    ("6.1", table(dim=0), "Each channel has unit length"),
    ("6.1", table(factor=torch.exp2), "not the cosines times the scale"),
    ("6.2", crossed_entropy, "for each text. Each image"),
    ("6.2", lambda logits: crossed_entropy(logits.T), "for each image. Each text"),
    ("6.2", lambda logits: 2 * both_ways(logits), "the sum of the two directions"),
    ("6.2", lambda logits: len(logits) * both_ways(logits), "You add up over the batch"),
    ("6.2", lambda logits: -both_ways(logits), "The sign is wrong"),
    ("6.2", softmax_twice, "The softmax is done twice"),
    ("6.2", logarithm_of_the_mean, "the mean of the logarithms"),
    ("6.2", lambda logits: 0.0, "not the loss of transformers"),
    ("6.3", lambda x: F.normalize(x, dim=-1).mean(1), "shorter than 1"),
    ("6.3", lambda x: F.normalize(x.mean(1), dim=-1), "A long vector counts for more"),
    ("6.3", lambda x: F.normalize(F.normalize(x, dim=-1).mean(0), dim=-1), "over the classes"),
    ("6.3", lambda x: x.mean(1), "Nothing has unit length"),
    ("6.3", lambda x: F.normalize(x[:, 0], dim=-1), "not the classes' directions"),
    ("6.4", lambda images, texts: images, "Two tensors are wanted"),
    ("6.4", lambda *both: [x - x.mean(0) for x in both], "no longer of unit length"),
    ("6.4", common_mean, "The images' vectors lost the mean of both"),
    ("6.4", the_other_s_mean, "the other kind's mean"),
    ("6.4", only_pictures, "The texts' vectors are as they were"),
    ("6.4", channels, "of their own channels"),
    ("6.4", lambda images, texts: (-images, texts), "The images' vectors are not right"),
    ("6.5", with_the_rest, "the incomplete batch"),
    ("6.5", the_first_batch, "the first batch only"),
    ("6.5", in_one_direction, "one direction only"),
    ("6.5", sum_over_batches, "that is the sum"),
    ("6.5", lambda logits, size: both_ways(logits), "of all pairs together"),
    ("6.5", lambda logits, size: torch.tensor(0.0), "not the mean loss"),
]
