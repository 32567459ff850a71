"""The published recipes: made and trained as by hand, with the numbers of their papers."""

import copy
import inspect
import re

import pytest
import torch
from PIL import Image
from transformers import CLIPTextModelWithProjection

from clipnotes import Clip
from clipnotes.prompts import (
    VPT,
    CoCoOp,
    KgCoOp,
    LoRA,
    LPPlusPlus,
    MaPLe,
    ProLIP,
    PromptLearner,
    PromptSRC,
    TipAdapter,
    fit,
    fit_lp_plus_plus,
    fit_prolip,
    fit_tip,
)
from clipnotes.prompts.methods import PUBLISHED
from clipnotes.prompts.methods.published import Settings
from clipnotes.teach import Plan, describe
from clipnotes.teach.folder import Folder
from families import tiny_clip
from reference import agree
from some_folders import NAMES, make_folders

SENTENCE = "an emoji of a {}"  # that suits Emoji-CLIP


@pytest.fixture(scope="module")
def pictures(clip, tmp_path_factory):
    """Two of each class, and the others."""
    folder = make_folders(tmp_path_factory.mktemp("pictures"), 3)
    return Folder(folder).read(clip).draw(2, 0)[0]


def by_hand(name, clip, pictures):
    """Make and train each for two epochs, without a table."""
    given = pictures.features, pictures.labels
    pixels = clip.preprocess(list(pictures)), pictures.labels
    quick = {"epochs": 2, "seed": 3, "progress": False}
    if name == "coop":
        learner = PromptLearner(clip, NAMES, 16, seed=3)
        fit(learner, *given, **quick, lr=0.002, batch_size=32)
    elif name == "csc":
        learner = PromptLearner(clip, NAMES, 16, per_class=True, seed=3)
        fit(learner, *given, **quick, lr=0.002, batch_size=32)
    elif name == "kgcoop":
        learner = PromptLearner(clip, NAMES, init="a photo of a")
        penalty = KgCoOp(learner, 8.0, SENTENCE)
        fit(learner, *given, **quick, lr=0.002, batch_size=128, penalty=penalty)
    elif name == "cocoop":
        learner = CoCoOp(clip, NAMES, init="a photo of a", seed=3)
        fit(learner, *given, **quick, lr=0.002, batch_size=1)
    elif name == "vpt":
        learner = VPT(clip, NAMES, 8, templates=SENTENCE, seed=3)
        fit(learner, *pixels, **quick, lr=0.0025, batch_size=4)
    elif name == "maple":
        learner = MaPLe(clip, NAMES, init="a photo", seed=3)
        fit(learner, *pixels, **quick, lr=0.0035, batch_size=4)
    elif name == "lora":
        learner = LoRA(clip, NAMES, template=SENTENCE, seed=3)
        fit(learner, *pixels, **quick, lr=0.0002, batch_size=32, optimizer=LoRA.optimizer)
    elif name == "promptsrc":
        learner = PromptSRC(clip, NAMES, init="a photo of a", seed=3)
        fit(learner, *pixels, **quick, lr=0.0025, batch_size=4)
    elif name == "prolip":
        learner = ProLIP(clip, NAMES, SENTENCE)
        fit_prolip(learner, *pixels, epochs=2)
    elif name == "lp++":
        learner, _ = fit_lp_plus_plus(clip, NAMES, *given, template=SENTENCE, epochs=2)
    else:
        learner, _ = fit_tip(clip, NAMES, *given, template=SENTENCE, epochs=2, seed=3)
    return learner


def trained_by(plan, clip, pictures, seed):
    """Make and train by a plan, as ``learn`` does."""
    learner = plan.make(clip, NAMES, seed)
    inputs, how = pictures.suited(learner), plan.settings(clip, seed)
    return plan.published.train(learner, inputs, pictures.labels, how)


EXTRA = {
    "kgcoop": {"init": "a photo of a", "weight": 8.0, "template": SENTENCE},
    "cocoop": {"init": "a photo of a"},
    "maple": {"init": "a photo"},
    "promptsrc": {"init": "a photo of a"},
    "tip": {"n_held_out": 3},
    "prolip": {"weight": 0.5},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_by_hand(clip, pictures, name):
    plan = Plan(name, epochs=2)
    trained = trained_by(plan, clip, pictures, 3)
    expected = by_hand(name, clip, pictures)
    assert type(trained.learner) is type(expected)
    for option in expected.OPTIONS:
        assert getattr(trained.learner, option) == getattr(expected, option)
    found, wanted = trained.learner.state_dict(), expected.state_dict()
    assert found.keys() == wanted.keys()
    assert all(agree(found[key], wanted[key], 1e-4) for key in wanted)
    assert trained.shots == 2 and trained.seconds > 0
    trained.recipe.pop("chosen_epoch", None)
    recipe = {"method": name, **PUBLISHED[name].recipe, "epochs": 2, **EXTRA.get(name, {})}
    assert trained.recipe == recipe
    assert next(iter(trained.recipe)) == "method"


def test_the_numbers_of_the_papers():
    said = {name: dict(method.recipe) for name, method in PUBLISHED.items()}
    assert said["coop"] == said["csc"]
    # CoOp's and Tip-Adapter's are the defaults of the functions; epochs go by the shots.
    for name, function in (("coop", fit), ("tip", fit_tip)):
        defaults = inspect.signature(function).parameters
        assert said[name].items() <= {key: p.default for key, p in defaults.items()}.items()
    assert "epochs" not in said["coop"] and said["tip"]["epochs"] == 20
    assert said["kgcoop"] == {"epochs": 100, "batch_size": 128, "lr": 0.002}
    assert said["lora"] == {"batch_size": 32, "lr": 0.0002}
    assert said["prolip"] == {"epochs": 300, "lr": 1e-5}
    defaults = inspect.signature(fit_prolip).parameters
    assert said["prolip"] == {name: defaults[name].default for name in ("epochs", "lr")}
    assert said["lp++"] == {"epochs": 300}
    assert inspect.signature(fit_lp_plus_plus).parameters["epochs"].default == 300
    assert said["cocoop"] == {"epochs": 10, "batch_size": 1, "lr": 0.002}
    for name in ("cocoop", "maple", "promptsrc"):
        init = inspect.signature(PUBLISHED[name].learner).parameters["init"].default
        assert PUBLISHED[name].start == {"init": init}


def test_epochs_go_by_the_shots_and_the_rate_can_be_another(clip, pictures, monkeypatch):
    seen = []

    def quick(*given, **keywords):
        seen.append(keywords)
        return fit(*given, **{**keywords, "epochs": 1})

    monkeypatch.setattr("clipnotes.prompts.methods.published.fit", quick)
    for plan in (Plan(), Plan(lr=0.5), Plan("vpt", epochs=7)):
        trained_by(plan, clip, pictures, 0)
    assert [one.get("epochs") for one in seen] == [None, None, 7]
    assert [one["lr"] for one in seen] == [0.002, 0.5, 0.0025]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "clip"}, "no method 'clip'; there are coop, csc"),
        ({"method": "vpt", "position": "front"}, "vpt has no position; .* it takes n_ctx"),
        ({"method": "maple", "per_class": True}, "maple has no per_class; .* n_ctx, init"),
        ({"method": "tip", "init": "a"}, "tip has no init; .* takes none"),
        ({"shots": 0}, "shots is 0"),
        ({"seeds": []}, "no seed"),
        ({"epochs": 0}, "epochs is 0"),
        ({"lr": -1.0}, r"lr is -1\.0"),
        ({"loss": "hinge"}, "loss is 'hinge'; choose 'softmax' or 'sigmoid'"),
        ({"method": "tip", "loss": "sigmoid"}, "tip is trained by a loop of its own, .* no sigm"),
    ],
)
def test_a_plan_that_cannot_be(options, words):
    with pytest.raises(ValueError, match=words):
        Plan(**options)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_method_takes_the_loss_or_says_why_not(clip, name):
    """Told directly, without a plan: by a model with a bias, and by one without."""
    words, siglip = ["rose", "tulip"], tiny_clip("Siglip", "larger")
    given = Settings("a photo of a {}", 0, recipe={"epochs": 2, "loss": "sigmoid"})
    if "sigmoid" not in PUBLISHED[name].losses:
        assert name in ("tip", "lp++", "prolip")
        told = rf"the method {re.escape(name)} is trained by a loop of its own"
        with pytest.raises(ValueError, match=told):
            PUBLISHED[name].make(siglip, words, given)
        return
    with pytest.raises(ValueError, match=f"{name}: the sigmoid loss .* have no bias"):
        PUBLISHED[name].make(clip, words, given)
    images = [Image.effect_noise((8, 8), 90 + i).convert("RGB") for i in range(4)]
    n_ctx = {} if name in ("kgcoop", "lora") else {"n_ctx": 1}  # the texts of this model are short
    given = Settings("a photo of a {}", 0, n_ctx, given.recipe)
    usual = Settings("a photo of a {}", 0, n_ctx, {"epochs": 2})
    found = {}
    for settings in (given, usual):
        learner = PUBLISHED[name].make(siglip, words, settings)
        inputs = learner.inputs_of(images)
        trained = PUBLISHED[name].train(learner, inputs, [0, 1, 0, 1], settings)
        assert trained.recipe.get("loss") == settings.recipe.get("loss")
        found[len(settings.recipe)] = trained.learner.state_dict()
    assert any((found[1][key] - found[2][key]).abs().max() > 1e-6 for key in found[1])


def test_options_of_the_plan(clip):
    assert Plan("kgcoop", init="an emoji").make(clip, NAMES, 0).n_ctx == 2
    cocoop = Plan("cocoop", n_ctx=3, position="front").make(clip, NAMES, 0)
    assert (cocoop.n_ctx, cocoop.position) == (3, "front")
    random = PromptLearner(clip, NAMES, 4, seed=5).ctx
    assert torch.equal(Plan("kgcoop", n_ctx=4).make(clip, NAMES, 5).ctx, random)
    assert Plan("vpt", n_ctx=3).make(clip, NAMES, 0).n_ctx == 3
    assert Plan("vpt", template="one {}").make(clip, NAMES, 0).templates == ["one {}"]
    assert Plan("tip", template="one {}").make(clip, NAMES, 0).template == "one {}"
    assert Plan("csc").make(clip, NAMES, 0).per_class


def test_what_a_model_cannot_carry_says_its_class(clip):
    texts = CLIPTextModelWithProjection(clip.model.config.text_config)
    no_eye = Clip(texts, clip.tokenizer, clip.image_processor)
    cases = [
        ("coop", {"n_ctx": 60}, clip, lambda: PromptLearner(clip, NAMES, 60)),
        ("cocoop", {"n_ctx": 60}, clip, lambda: CoCoOp(clip, NAMES, 60, None)),
        ("kgcoop", {"template": "no"}, clip, lambda: KgCoOp(PromptLearner(clip, NAMES), 8, "no")),
        ("vpt", {}, no_eye, lambda: VPT(no_eye, NAMES)),
        ("maple", {}, no_eye, lambda: MaPLe(no_eye, NAMES)),
        ("promptsrc", {}, no_eye, lambda: PromptSRC(no_eye, NAMES)),
        ("prolip", {}, no_eye, lambda: ProLIP(no_eye, NAMES)),
        ("prolip", {"template": "no"}, clip, lambda: ProLIP(clip, NAMES, "no")),
        (
            "tip",
            {"template": "no"},
            clip,
            lambda: TipAdapter(clip, NAMES, torch.eye(128)[:3], range(3), "no"),
        ),
        (
            "lp++",
            {"template": "no"},
            clip,
            lambda: LPPlusPlus(clip, NAMES, torch.eye(128)[:3], range(3), "no"),
        ),
    ]
    for name, options, model, direct in cases:
        with pytest.raises((TypeError, ValueError)) as own:
            direct()
        with pytest.raises(ValueError) as ours:  # noqa: PT011
            Plan(name, **options).make(model, NAMES, 0)
        assert str(ours.value) == f"{name}: {own.value}"


def test_a_recipe_for_a_different_scale_is_doubted(clip):
    doubtful = [name for name in PUBLISHED if Plan(name).doubts(clip)]
    assert doubtful == ["vpt", "maple", "promptsrc", "prolip"]
    assert "has 1" in Plan("vpt").doubts(clip)[0]
    assert Plan("vpt", lr=0.1).doubts(clip) == []
    sharp = Clip(copy.deepcopy(clip.model), clip.tokenizer, clip.image_processor)
    with torch.no_grad():
        sharp.model.logit_scale.fill_(4.6)
    assert Plan("vpt").doubts(sharp) == []


def test_a_recipe_in_a_line():
    line = describe({"method": "tip", "lr": 0.001, "init": "a photo"})
    assert line == "Tip-Adapter-F (arXiv 2207.09519): lr 0.001, init 'a photo'"
