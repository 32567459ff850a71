"""Wrong answers to the exercises of chapters 1 and 2, and a part of what each is told."""

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
    ("1.3", lambda image: pasted(image, "red", cut=False), "not the image laid on white"),
    ("1.3", lambda image: image, "A PIL image of mode RGB"),
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
    ("2.2", lambda embed, size: torch.ones(size) > 0, "one answer per pixel"),
    ("2.3", convolved, "still an image"),
    ("2.3", lambda *given: convolved(*given).flatten(2), "The channels come before"),
    ("2.3", in_pieces((0, 3, 2, 1, 4, 5)), "column by column"),
    ("2.3", in_pieces((0, 2, 3, 4, 5, 1)), "pixel by pixel"),
    ("2.3", in_pieces((0, 2, 3, 1, 5, 4)), "inside a patch"),
    ("2.3", torn_patches, "pieces of several"),
    ("2.3", lambda pictures, kernels: torch.zeros(2, 6, 7), "not what the convolution gives"),
    ("2.4", still_in_front, "still in front"),
    ("2.4", moved_too_early, "the position of a different one"),
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
]
