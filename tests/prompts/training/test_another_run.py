"""A checkpoint of another run is refused: other images, another learner, another recipe."""

import copy
import functools

import pytest
import torch
from PIL import Image

import clipnotes
from clipnotes.prompts import KgCoOp, PromptLearner, fit, random_crop_and_flip
from clipnotes.prompts.training.resume import digest
from clipnotes.prompts.training.same_run import name_of
from few_pictures import CLASSES, fruits, pictures, quiet, small_learner
from stopped_runs import ADAM, RECIPE


def another_model(clip):
    other = clipnotes.Clip(copy.deepcopy(clip.model), clip.tokenizer, clip.image_processor)
    with torch.no_grad():
        other.model.text_projection.weight.mul_(-1)
    return other


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 7}, r"epochs \(6 there, 7 here\)"),
        ({"lr": 0.1}, "learning rates"),
        ({"schedule": "constant"}, "learning rates"),
        ({"batch_size": 9}, r"batch_size \(8 there, 9 here\)"),
        ({"seed": 2}, r"seed \(1 there, 2 here\)"),
        ({"optimizer": ADAM}, r"optimizer \(SGD\(momentum=0.9, weight_decay=0.0005\) .*AdamW"),
        ({"augment": random_crop_and_flip}, r"augment \(None there, random_crop_and_flip here\)"),
        (
            {"augment": random_crop_and_flip, "views": 3},
            r"augment .*; views \(None there, 3 here\)",
        ),
        ({"learner": {"seed": 5}}, "learner at the start"),
        ({"learner": {"template": "{}, drawn."}}, "the model or the prompts, which give other"),
        ({"learner": {"position": "front"}}, "the model or the prompts"),
        ({"clip": another_model}, "the model or the prompts"),
        ({"classes": CLASSES[::-1]}, "classes .*; labels"),
        ({"order": -1}, "images .*; labels"),
    ],
)
def test_another_run_is_refused_and_nothing_changes(clip, tmp_path, change, words):
    images, names = fruits()
    path = tmp_path / "run"
    fit(small_learner(clip), images, names, checkpoint=path, **{**RECIPE, "epochs": 6})
    written = path.read_bytes()
    change = dict(change)  # the parameter itself stays whole
    arguments, classes = change.pop("learner", {}), change.pop("classes", CLASSES)
    model, order = change.pop("clip", lambda clip: clip)(clip), change.pop("order", 1)
    learner = PromptLearner(model, classes, n_ctx=2, **arguments)
    start = learner.ctx.detach().clone()
    with pytest.raises(ValueError, match=f"belongs to another run. What differs: {words}"):
        fit(learner, images[::order], names[::order], checkpoint=path, **{**RECIPE, **change})
    assert torch.equal(learner.ctx, start)
    assert path.read_bytes() == written


def test_another_picture_anywhere_makes_another_run(clip, tmp_path):
    """Only the first one is looked at before training, and it is the same."""
    features, labels = pictures(clip, 15)
    fit(small_learner(clip), features, labels, checkpoint=tmp_path / "run", **RECIPE)
    others = torch.cat([features[:-1], features[:1]])
    with pytest.raises(ValueError, match="What differs: images "):
        fit(small_learner(clip), others, labels, checkpoint=tmp_path / "run", **RECIPE)


def test_the_same_bytes_in_another_shape_are_another_picture(clip, tmp_path):
    wide, tall = (Image.new("RGB", size, "red") for size in ((16, 4), (4, 16)))
    images, names = fruits()
    recipe = {"epochs": 1, "checkpoint": tmp_path / "run"}
    quiet(small_learner(clip), [*images[:-1], wide], names, **recipe)
    with pytest.raises(ValueError, match="What differs: images "):
        quiet(small_learner(clip), [*images[:-1], tall], names, **recipe)


def test_a_learner_that_begins_elsewhere_is_another_run(clip, tmp_path):
    features, labels = pictures(clip, 15)
    fit(small_learner(clip), features, labels, checkpoint=tmp_path / "run", **RECIPE)
    other = small_learner(clip)
    with torch.no_grad():
        other.ctx[0, 0] += 1e-6  # too little for the logits
    with pytest.raises(ValueError, match="What differs: learner at the start "):
        fit(other, features, labels, checkpoint=tmp_path / "run", **RECIPE)


class Named(PromptLearner):
    """Has a parameter more, whose name is another one with each learner."""

    def __init__(self, clip, name):
        super().__init__(clip, CLASSES, n_ctx=2)
        self.register_parameter(name, torch.nn.Parameter(torch.zeros(5)))
        self.name = name

    def logits(self, image_features):
        return super().logits(image_features) + getattr(self, self.name)


def test_a_learner_whose_parameters_have_other_names_is_another_run(clip, tmp_path):
    given, path = pictures(clip, 15), tmp_path / "run"
    fit(Named(clip, "shift"), *given, checkpoint=path, **RECIPE)
    with pytest.raises(ValueError, match="What differs: learner at the start "):
        fit(Named(clip, "offset"), *given, checkpoint=path, **RECIPE)


def test_an_optimizer_with_another_setting_makes_another_run(clip, tmp_path):
    given = pictures(clip, 15)
    fit(small_learner(clip), *given, checkpoint=tmp_path / "run", **RECIPE)
    decays = functools.partial(torch.optim.SGD, lr=1, momentum=0.9, weight_decay=1e-4)
    with pytest.raises(ValueError, match="What differs: ") as error:
        fit(small_learner(clip), *given, checkpoint=tmp_path / "run", optimizer=decays, **RECIPE)
    there, here = (f"SGD(momentum=0.9, weight_decay={d})" for d in (0.0005, 0.0001))
    assert f": optimizer ({there} there, {here} here). Give" in str(error.value)


def test_a_penalty_makes_another_run(clip, tmp_path):
    given, path = pictures(clip, 15), tmp_path / "run"
    learner = small_learner(clip)
    fit(small_learner(clip), *given, checkpoint=path, **RECIPE)
    with pytest.raises(ValueError, match=r"What differs: penalty \(None there, \['KgCoOp', .*here"):
        fit(learner, *given, checkpoint=path, penalty=KgCoOp(learner), **RECIPE)


def test_an_augmentation_is_known_by_a_name_that_another_process_gives_it_too():
    """A partial's repr holds an address."""
    assert name_of(random_crop_and_flip) == "random_crop_and_flip"
    assert name_of(functools.partial(random_crop_and_flip)) == "partial"


def test_what_is_digested_apart_is_not_taken_for_what_is_together():
    parts = [(b"ab", b"c"), (b"a", b"bc"), (b"abc",), (b"abc", b""), ("abc",), ("a", "bc"), ()]
    parts += [(torch.zeros(2),), (torch.zeros(2, 1),), (torch.zeros(2).long(),), (torch.ones(2),)]
    assert len({digest(*some) for some in parts}) == len(parts)
    assert digest(torch.arange(6).view(2, 3).T) == digest(torch.arange(6).view(2, 3).T.contiguous())
    assert digest(b"abc", 1) == digest(b"abc", 1)
