"""The two towers together: projections, logits, and the loss."""

from clipnotes.remarks.places import Remark, at, either

_MODEL = "CLIPModel.forward: "

MODEL: list[Remark] = [
    at(
        _MODEL + "vision_outputs",
        "The towers run one after the other, and neither gets anything from the other one. That is "
        "why the vectors of a million images can be computed once and kept.",
    ),
    at(
        _MODEL + "text_outputs",
        "Ids, a mask and positions go down to the text tower. `inputs_embeds` does not: nobody "
        "passes it, here or below.",
    ),
    at(
        _MODEL + "image_embeds = vision_outputs",
        "Up to 5.5 this is the tower's own vector, and the next line projects it. Since 5.18 it "
        "comes projected out of `get_image_features`. To project it again raises no error where "
        "both spaces are equally wide.",
    ),
    at(
        _MODEL + "image_embeds = image_embeds /",
        "Each vector is divided by its length. Only its direction counts from here on.",
    ),
    at(
        _MODEL + "logits_per_text = torch.matmul",
        "All texts meet all images in one product. But for the factor, each number is a cosine.",
    ),
    either(
        _MODEL + "logits_per_text = logits_per_text * self.logit_scale",
        _MODEL + "logit_scale = self.logit_scale.exp",
        said="Cosines are too close together for a softmax, so they are multiplied. What is stored "
        "is the logarithm of the factor; the factor itself is positive, whatever training does.",
    ),
    at(
        _MODEL + "logits_per_image = logits_per_text.t",
        "The same table, read the other way. It is a view: nothing is computed twice.",
    ),
    at(
        _MODEL + "if return_loss",
        "There is a loss only if you ask for one. It takes text i to belong to image i, so there "
        "must be as many of each.",
    ),
]

_NEW, _OLD = "image_text_contrastive_loss: ", "clip_loss: "

LOSS: list[Remark] = [
    either(
        _NEW + "caption_loss",
        _OLD + "caption_loss",
        said="Each text looks for its image, along a row.",
    ),
    either(
        _NEW + "image_loss",
        _OLD + "image_loss",
        said="And each image looks for its text: the same table, transposed.",
    ),
    at(
        "contrastive_loss: return",
        "The right answers are 0, 1, 2, ..., the diagonal. Two equal captions in one batch are "
        "pushed apart all the same, although both are right.",
    ),
]
