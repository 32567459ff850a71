"""Wrong answers to the exercises of chapters 1 to 3, and a part of what each is told."""

import copy

import torch
import torch.nn.functional as F
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModel

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
]
