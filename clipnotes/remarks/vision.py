"""The vision tower: how an image becomes tokens, and what is made of them at the end."""

from clipnotes.remarks.places import Remark, at, either

_HERE = "CLIPVisionEmbeddings.forward: "

EMBEDDINGS: list[Remark] = [
    at(
        _HERE + "if not interpolate_pos_encoding",
        "There is one position vector for each patch of an image of the right size, and none to "
        "spare. An image of a different size is refused here, unless you ask for the table to be "
        "stretched.",
    ),
    at(
        _HERE + "target_dtype =",
        "The image processor always gives float32. A model in half precision needs its pixels in "
        "half precision, so the tower looks at its own weights and casts.",
    ),
    at(
        _HERE + "patch_embeds = self.patch_embedding",
        "Kernel and stride are both the size of a patch, so this convolution does not slide. It "
        "reads each patch once and turns it into one vector. By `width` the comment means the "
        "width of that vector, not of the image.",
    ),
    at(
        _HERE + "patch_embeds = patch_embeds.flatten",
        "What came out is still a small image with D channels. A transformer reads a row of "
        "tokens, so the grid is laid out line by line, and the channels go last. No number is "
        "copied for that.",
    ),
    at(
        _HERE + "class_embeds =",
        "One learned vector is lent to every image of the batch. `expand` does not repeat it: all "
        "B rows are the same memory.",
    ),
    at(
        _HERE + "embeddings = torch.cat",
        "The class token goes in front. From here on there is one token more than there are "
        "patches, and patch 0 is token 1.",
    ),
    at(
        _HERE + "embeddings = embeddings + self.position_embedding",
        "This addition is all that the tower ever learns about where a patch was. The class token "
        "gets a position vector like the others.",
    ),
]

_PLACES = ("CLIPVisionTransformer.forward: ", "CLIPVisionModel.forward: ")


def _tower(beginning: str, said: str) -> Remark:
    return either(*(place + beginning for place in _PLACES), said=said)


TOWER: list[Remark] = [
    _tower(
        "hidden_states = self.pre_layrnorm",
        "The letter that is missing in this name is missing in every checkpoint, too, so it stays "
        "that way. Because of this norm, `hidden_states[0]` is not what the embeddings gave.",
    ),
    _tower(
        "encoder_outputs",
        "No mask is handed on: every patch may look at every other one.",
    ),
    _tower(
        "pooled_output = last_hidden_state",
        "The class token has been in front all the time. Taking its row computes nothing: it is a "
        "view.",
    ),
    _tower(
        "pooled_output = self.post_layernorm",
        "The last norm gets this one vector and no other. The patches in `last_hidden_state` are "
        "returned without it, which is a trap for everybody who uses them.",
    ),
    _tower(
        "return BaseModelOutputWithPooling",
        "`pooler_output` cannot be compared with a text yet. The projection into the space that "
        "both towers share belongs to CLIPModel.",
    ),
]
