"""Wrong answers to the exercises of chapters 1 to 6, and a part of what each is told."""

import copy

import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.checkpoint import checkpoint
from transformers import CLIPVisionConfig, CLIPVisionModel

from clipnotes.compat import vision_states, vision_tower

# 1. Meet the model


def changes_the_configuration(config, patch_size):
    config.patch_size = patch_size
    return sum(p.numel() for p in CLIPVisionModel(config).parameters())


def forgets_the_new_size(config, patch_size):
    return sum(p.numel() for p in CLIPVisionModel(config).parameters())


def counts_tensors(config, patch_size):
    model = CLIPVisionModel(CLIPVisionConfig(**config.to_dict() | {"patch_size": patch_size}))
    return len(list(model.parameters()))


def heard(listened, *, remove=True, once=False):
    """The order of calls, heard by hooks on too many modules, or by hooks that stay."""

    def order(module, run):
        names, hooks = [], []
        for name, part in listened(module):
            note = lambda *_, name=name: names.append(name)  # noqa: E731
            hooks.append(part.register_forward_pre_hook(note))
        run()
        for hook in hooks if remove else ():
            hook.remove()
        return list(dict.fromkeys(names)) if once else names

    return order


def after_running(names):
    """An answer that runs the module and does not listen."""

    def order(module, run):
        run()
        return names(module)

    return order


def children(module):
    return list(module.named_children())


def inner_modules(module):
    return list(module.named_modules())[1:]


def registered(module):
    return [name for name, _ in children(module)]


def pasted(image, colour, cut):
    ground = Image.new("RGB", image.size, colour)
    alpha = image.getchannel("A")
    ground.paste(
        image.convert("RGB"), mask=alpha.point(lambda a: 255 * (a > 127)) if cut else alpha
    )
    return ground


def copies(model):
    while not hasattr(model, "encoder"):
        model = model.vision_model
    return copy.deepcopy(model)


def one_level_down(model):
    return getattr(model, "vision_model", model)


# 2. From pixels to tokens


def marks_the_unseen(embed, size):
    return ~pixels_of_the_grid(embed, size)


def pixels_of_the_grid(embed, size):
    whole = size // embed.patch_size * embed.patch_size
    seen = torch.zeros(size, size, dtype=torch.bool)
    seen[:whole, :whole] = True
    return seen


def all_but_the_first(embed, size):
    seen = pixels_of_the_grid(embed, size)
    seen[0, 0] = False
    return seen


def convolved(pictures, kernels):
    return F.conv2d(pictures, kernels, stride=kernels.shape[-1])


def in_pieces(order):
    """Patches laid out in a wrong order."""

    def vectors(pictures, kernels):
        p = kernels.shape[-1]
        pieces = pictures.unfold(2, p, p).unfold(3, p, p).permute(order)
        return pieces.flatten(3).flatten(1, 2) @ kernels.flatten(1).T

    return vectors


def torn_patches(pictures, kernels):
    flat = kernels.flatten(1)
    return pictures.unfold(2, 4, 4).unfold(3, 4, 4).reshape(2, -1, flat.shape[1]) @ flat.T


def with_class_token(patches, class_embedding, first):
    row = class_embedding.expand(len(patches), 1, -1)
    return torch.cat([row, patches] if first else [patches, row], dim=1)


def still_in_front(patches, class_embedding, positions):
    return with_class_token(patches, class_embedding, first=True) + positions


def moved_too_early(patches, class_embedding, positions):
    return with_class_token(patches, class_embedding, first=False) + positions


def without_positions(patches, class_embedding, positions):
    return with_class_token(patches, class_embedding, first=False)


def all_turned_round(patches, class_embedding, positions):
    return still_in_front(patches, class_embedding, positions).flip(1)


def stretched(*, class_first=True, mode="bicubic", align=False, order=(2, 0, 1), tear=False):
    """A table of positions, stretched in a wrong way."""

    def stretch(positions, side):
        old = round((len(positions) - 1) ** 0.5)
        picture = positions[1:].unflatten(0, (old, old)).permute(order)
        picture = positions[1:].reshape(-1, old, old) if tear else picture
        picture = F.interpolate(picture[None], (side, side), mode=mode, align_corners=align)[0]
        rows = [positions[:1], picture.flatten(1).T]
        return torch.cat(rows if class_first else rows[::-1])

    return stretch


# 3. Inside an encoder layer


def not_scaled(q, k, v):
    return (q @ k.transpose(-1, -2)).softmax(-1) @ v


def scaled_by_the_width(q, k, v):
    return (q @ k.transpose(-1, -2) / q.shape[-1]).softmax(-1) @ v


def over_those_who_ask(q, k, v):
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-2) @ v


def no_softmax(q, k, v):
    return q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 @ v


def only_the_weights(q, k, v):
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)


def rows_of_the_weight(mixed, weight, h):
    return mixed[:, h] @ weight.split(mixed.shape[-1], dim=0)[h]


def every_so_many(mixed, weight, h):
    return mixed[:, h] @ weight[:, h :: mixed.shape[1]].T


def always_head_0(mixed, weight, h):
    return mixed[:, h] @ weight[:, : mixed.shape[-1]].T


def nobody_looks_at_the_class_token(n):
    mask = torch.zeros(n, n)
    mask[1:, 0] = -torch.inf
    return mask


def the_class_token_looks_nowhere(n):
    mask = torch.zeros(n, n)
    mask[0] = -torch.inf
    return mask


def ones_and_zeros(n):
    mask = torch.ones(n, n)
    mask[0, 1:] = 0
    return mask


def everybody_alone(n):
    return torch.full((n, n), -torch.inf).fill_diagonal_(0)


def the_others_alone(n):
    mask = torch.full((n, n), -torch.inf).fill_diagonal_(0)
    mask[:, 0] = 0
    return mask


def post_norm(x, attention, mlp, norm1, norm2):
    x = norm1(x + attention(x))
    return norm2(x + mlp(x))


def without_norms(x, attention, mlp, norm1, norm2):
    x = x + attention(x)
    return x + mlp(x)


def side_by_side(x, attention, mlp, norm1, norm2):
    return x + attention(norm1(x)) + mlp(norm2(x))


def attention_not_added(x, attention, mlp, norm1, norm2):
    x = attention(norm1(x))
    return x + mlp(norm2(x))


def mlp_not_added(x, attention, mlp, norm1, norm2):
    return mlp(norm2(x + attention(norm1(x))))


def norms_interchanged(x, attention, mlp, norm1, norm2):
    x = x + attention(norm2(x))
    return x + mlp(norm1(x))


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
    ("1.1", changes_the_configuration, "changes the configuration"),
    ("1.1", forgets_the_new_size, "with its own patches"),
    ("1.1", counts_tensors, "you count"),
    ("1.2", lambda module, run: registered(module), "You did not run the module"),
    ("1.2", after_running(children), "A list of names"),
    ("1.2", after_running(registered), "as in the printed tree"),
    ("1.2", heard(inner_modules), "'nose.0' is no name of a child"),
    ("1.2", after_running(lambda module: ["tail"]), "never called"),
    ("1.2", after_running(lambda module: ["eyes", "nose"]), "not the order"),
    ("1.2", heard(children, once=True), "Each call counts"),
    ("1.2", heard(children, remove=False), "Your hooks are still there"),
    ("1.3", lambda image: image.convert("RGB"), "You dropped the transparency"),
    ("1.3", lambda image: pasted(image, "white", cut=True), "half transparent"),
    ("1.3", lambda image: pasted(image, "black", cut=False), "on black"),
    ("1.3", lambda image: pasted(image, "red", cut=False), "not the picture laid on white"),
    ("1.3", lambda image: image, "A PIL picture of mode RGB"),
    ("1.4", copies, "a copy does not change"),
    ("1.4", one_level_down, "does not itself hold the four parts"),
    ("1.4", lambda model: model.vision_model.vision_model, "raised AttributeError"),
    ("2.1", lambda image_size, patch_size: (image_size // patch_size) ** 2, "counted the patches"),
    ("2.1", lambda image_size, patch_size: (image_size / patch_size) ** 2 + 1, "whole numbers"),
    ("2.1", lambda image_size, patch_size: (-(-image_size // patch_size)) ** 2 + 1, "not whole"),
    ("2.1", lambda image_size, patch_size: 577, "not the number of tokens"),
    ("2.2", marks_the_unseen, "that are not seen"),
    ("2.2", all_but_the_first, "you miss 1 pixels"),
    ("2.2", lambda embed, size: torch.ones(size, size), "you give numbers"),
    ("2.2", lambda embed, size: torch.ones(size, size) > 0, "no whole patch holds"),
    ("2.2", lambda embed, size: torch.ones(size) > 0, "one answer a pixel"),
    ("2.3", convolved, "still a picture"),
    ("2.3", lambda *given: convolved(*given).flatten(2), "The channels come before"),
    ("2.3", in_pieces((0, 3, 2, 1, 4, 5)), "column by column"),
    ("2.3", in_pieces((0, 2, 3, 4, 5, 1)), "pixel by pixel"),
    ("2.3", in_pieces((0, 2, 3, 1, 5, 4)), "inside a patch"),
    ("2.3", torn_patches, "pieces of several"),
    ("2.3", lambda pictures, kernels: torch.zeros(2, 6, 7), "not what the convolution gives"),
    ("2.4", still_in_front, "still in front"),
    ("2.4", moved_too_early, "the position of another"),
    ("2.4", without_positions, "The positions are missing"),
    ("2.4", all_turned_round, "Only the class token moves"),
    ("2.4", lambda patches, *_: torch.zeros(2, 10, 16), "not the usual tokens"),
    ("2.5", stretched(class_first=False), "stands at the end"),
    ("2.5", stretched(mode="bilinear"), "That is bilinear"),
    ("2.5", stretched(align=True), "`align_corners` is set"),
    ("2.5", stretched(order=(2, 1, 0)), "of the grid are interchanged"),
    ("2.5", stretched(tear=True), "as if its channels came first"),
    ("2.5", lambda *given: stretched()(*given)[1:], "The class token's row is missing"),
    ("2.5", lambda *given: 2 * stretched()(*given), "not transformers' table"),
    ("3.1", not_scaled, "still grow with the width"),
    ("3.1", scaled_by_the_width, "not what PyTorch's"),
    ("3.1", over_those_who_ask, "over the wrong axis"),
    ("3.1", no_softmax, "no weights yet"),
    ("3.1", only_the_weights, "These are the weights"),
    ("3.1", lambda q, k, v: torch.zeros(1), "The shape is (1,)"),
    ("3.2", lambda D, M: 4 * D * D + 2 * D * M + 4 * D, "the biases of the linear layers"),
    ("3.2", lambda D, M: 4 * D * D + 2 * D * M + M + 5 * D, "as two norms have"),
    ("3.2", lambda D, M: 4 * D * D + 2 * D * M + 8 * D, "of the MLP's two linear layers"),
    ("3.2", lambda D, M: 3 * D * D + 2 * D * M + M + 8 * D, "one linear layer of attention"),
    ("3.2", lambda D, M: 4 * D * D + 2 * D * M + M + 7 * D, "each can stretch and can shift"),
    ("3.2", lambda D, M: 4 * D * D + 2 * D * M + M + 10 * D, "too many, by 8"),
    ("3.2", lambda D, M: 0, "too few, by"),
    ("3.3", rows_of_the_weight, "You cut the rows"),
    ("3.3", every_so_many, "channels are neighbours"),
    ("3.3", always_head_0, "right for head 0 only"),
    ("3.3", lambda mixed, weight, h: torch.zeros(2, 5, 12), "The share of head 0 is not right"),
    ("3.4", nobody_looks_at_the_class_token, "Rows ask, columns answer"),
    ("3.4", the_class_token_looks_nowhere, "its softmax is NaN"),
    ("3.4", ones_and_zeros, "A mask is added to the scores"),
    ("3.4", lambda n: ones_and_zeros(n).bool(), "A mask is added to the scores"),
    ("3.4", everybody_alone, "may not look at the class token"),
    ("3.4", the_others_alone, "does not see all"),
    ("3.4", lambda n: torch.zeros(n, n), "still looks at others"),
    ("3.4", lambda n: torch.zeros(n), "a mask of shape (6, 6)"),
    ("3.5", post_norm, "That is post-norm"),
    ("3.5", without_norms, "Nothing is normalised"),
    ("3.5", side_by_side, "before attention was added"),
    ("3.5", attention_not_added, "What attention found is not added"),
    ("3.5", mlp_not_added, "What the MLP found is not added"),
    ("3.5", norms_interchanged, "interchanged"),
    ("3.5", lambda x, attention, mlp, norm1, norm2: x + attention(norm1(x)), "still to come"),
    ("3.5", lambda x, *parts: x, "not what a layer of transformers gives"),
    ("4.1", lambda states, i: (states[i + 1], states[i]), "the two are interchanged"),
    ("4.1", lambda states, i: (states[i - 1], states[i]), "not what it read"),
    ("4.1", lambda states, i: (states[max(0, i - 1)], states[max(1, i)]), "the layer before"),
    ("4.1", lambda states, i: (states[i], states[-1]), "not what it wrote"),
    ("4.1", lambda states, i: states[i], "Two tensors are wanted"),
    ("4.2", lambda layers, run: [], "No layer ran"),
    ("4.2", runs_only, "4 layers ran, and you have 1"),
    ("4.2", lambda layers, run: run(), "A list is wanted"),
    ("4.2", zeros_of_the_shape, "These are not the outputs"),
    ("4.2", listened(first=False), "of 4.x you collect tuples"),
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
    ("6.1", table(factor=torch.ones_like), "the factor is missing"),
    ("6.1", table(factor=torch.clone), "the factor's logarithm"),
    ("6.1", table(factor=lambda x: 1 / x.exp()), "You divide by the factor"),
    ("6.1", table(images=False, texts=False), "Nothing has unit length"),
    ("6.1", table(images=False), "The pictures' vectors still"),
    ("6.1", table(texts=False), "The texts' vectors still"),
    ("6.1", table(dim=0), "Each channel has unit length"),
    ("6.1", table(factor=torch.exp2), "not the cosines times the factor"),
    ("6.2", crossed_entropy, "for each text. Each picture"),
    ("6.2", lambda logits: crossed_entropy(logits.T), "for each picture. Each text"),
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
    ("6.4", common_mean, "The pictures' vectors lost the mean of both"),
    ("6.4", the_other_s_mean, "the other kind's mean"),
    ("6.4", only_pictures, "The texts' vectors are as they were"),
    ("6.4", channels, "of their own channels"),
    ("6.4", lambda images, texts: (-images, texts), "The pictures' vectors are not right"),
    ("6.5", with_the_rest, "the incomplete batch"),
    ("6.5", the_first_batch, "the first batch only"),
    ("6.5", in_one_direction, "one direction only"),
    ("6.5", sum_over_batches, "that is the sum"),
    ("6.5", lambda logits, size: both_ways(logits), "of all pairs together"),
    ("6.5", lambda logits, size: torch.tensor(0.0), "not the mean loss"),
]
