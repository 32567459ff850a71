"""Each method on families whose tokens look ahead: what it computes, and that it learns."""

import inspect
from functools import partial

import pytest
import torch
import transformers
from torch.nn.functional import normalize

import clipnotes
from clipnotes import compat
from clipnotes.prompts import (
    VPT,
    CoCoOp,
    KgCoOp,
    LinearProbe,
    MaPLe,
    NearestMean,
    PromptLearner,
    PromptSRC,
    TipAdapter,
    ZeroShot,
    evaluate,
    fit,
    fit_tip,
)
from families import LENGTH, NAMES, tiny_clip, tokenizer_of
from reference import assert_close, randomise

AHEAD = ["Siglip", "ChineseCLIP", "AltCLIP", "VisionTextDualEncoder"]
BY_HAND = ["Siglip", "ChineseCLIP", "VisionTextDualEncoder"]
CLASSES = ["rose", "tulip", "beetle"]  # of as many tokens each, so no text needs a mask
SGD = partial(torch.optim.AdamW, weight_decay=0.0)
QUICK = {"epochs": 8, "lr": 0.02, "schedule": "constant", "optimizer": SGD, "progress": False}
LABELS = [0, 1, 2, 0, 1, 2]


def some_pixels(n=6):
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(5))


def features_of(clip):
    with torch.no_grad():
        return normalize(compat.image_features(clip.model, some_pixels()), dim=-1)


@pytest.mark.filterwarnings("ignore:prompts take the plain path")
@pytest.mark.parametrize("name", NAMES)
def test_the_logits_are_the_models_own_with_their_bias(name):
    clip = tiny_clip(name)
    last = {"padding": "max_length", "max_length": LENGTH} if name == "Siglip" else {}
    texts = clip.tokenizer([f"a photo {c}." for c in CLASSES], return_tensors="pt", **last)
    with torch.no_grad():
        theirs = clip.model(**texts, pixel_values=some_pixels()).logits_per_image
    images = features_of(clip)
    learners = [
        PromptLearner(clip, CLASSES, init="a photo"),
        ZeroShot(clip, CLASSES, "a photo {}."),
        TipAdapter(clip, CLASSES, images, LABELS, "a photo {}.", alpha=0),
    ]
    for learner in learners:
        assert_close(type(learner).__name__, learner.logits(images), theirs)
    vpt = VPT(clip, CLASSES, 1, 1, templates="a photo {}.")
    own = vpt.image_features(some_pixels()) @ vpt.class_features.T
    assert_close("VPT", vpt.logits(some_pixels()), compat.logits(clip.model, own))
    cocoop = CoCoOp(clip, CLASSES, init="a photo")
    with torch.no_grad():
        cocoop.meta_net[2].weight.zero_()
        cocoop.meta_net[2].bias.zero_()
    assert_close("CoCoOp", cocoop.logits(images), theirs)


def through(layers, x, prompts, places):
    """Run layers one by one, with (n_ctx, D) prompts at their places in front of all but one."""
    for i, layer in enumerate(layers):
        if i > 0:
            x = x.clone()
            x[:, places] = prompts[i].expand(len(x), -1, -1)
        takes_mask = "attention_mask" in inspect.signature(layer.forward).parameters
        out = layer(x, None) if takes_mask else layer(x)
        x = out[0] if isinstance(out, tuple) else out
    return x


def eye_by_hand(clip, name, pixels, prompts):
    """Images with prompts behind their patches, where attention sees them just as well."""
    model, family = clip.model, compat.family_of(clip.model)
    tower = family.vision_tower(model)
    x = family.vision_embeddings(model)(pixels)
    n = x.shape[1]
    x = torch.cat([x, prompts[0].expand(len(x), -1, -1)], dim=1)
    places = torch.arange(n, x.shape[1])
    if name == "ChineseCLIP":
        x = through(tower.encoder.layers, tower.pre_layrnorm(x), prompts, places)
        x = model.visual_projection(tower.post_layernorm(x[:, 0]))
    elif name == "Siglip":
        x = through(tower.encoder.layers, x, prompts, places)
        x = tower.head(tower.post_layernorm(x))
    else:
        x = through(family.vision_layers(model), x, prompts, places)
        x = model.visual_projection(tower.pooler(tower.layernorm(x)))
    return normalize(x, dim=-1)


def words_by_hand(clip, name, prompts, template):
    """Classes with prompts at the places of the first words, all texts of one length."""
    model, family = clip.model, compat.family_of(clip.model)
    tower, n_ctx = family.text_tower(model), prompts.shape[1]
    last = {"padding": "max_length", "max_length": LENGTH} if name == "Siglip" else {}
    texts = ["x " * n_ctx + template.format(c) for c in CLASSES]
    ids = clip.tokenizer(texts, return_tensors="pt", **last)["input_ids"]
    places = torch.arange(n_ctx) + (name != "Siglip")
    x = family.token_table(model)(ids).clone()
    x[:, places] = prompts[0].expand(len(x), -1, -1)
    x = family.text_embeddings(model)(inputs_embeds=x)
    x = through(family.text_layers(model), x, prompts, places)
    if name == "ChineseCLIP":
        x = model.text_projection(x[:, 0])
    elif name == "Siglip":
        x = tower.head(tower.final_layer_norm(x)[:, -1])
    else:
        x = model.text_projection(tower.pooler(x))
    return normalize(x, dim=-1)


@pytest.mark.parametrize("size", ["small", "larger"])
@pytest.mark.parametrize("name", BY_HAND)
def test_prompts_in_the_layers_are_those_written_out(name, size):
    clip, pixels = tiny_clip(name, size), some_pixels(2)
    vpt = VPT(clip, CLASSES, 2)
    assert vpt.depth == {"small": 2, "larger": 3}[size]
    images = eye_by_hand(clip, name, pixels, vpt.ctx)
    assert_close("VPT", vpt.image_features(pixels), images)
    with torch.no_grad():
        vpt.ctx.copy_(vpt.ctx.flip(-1))
    assert (vpt.image_features(pixels) - images).abs().max() > 1e-3

    maple = MaPLe(clip, CLASSES, init="a photo")
    with torch.no_grad():
        maple.ctx[1:] *= 20
    classes = words_by_hand(clip, name, maple.ctx, "of a {}.")
    assert_close("MaPLe's words", maple(), classes)
    images = eye_by_hand(clip, name, pixels, maple.visual_prompts())
    logits = compat.logits(clip.model, images @ classes.T)
    assert_close("MaPLe", maple.logits(pixels), logits)
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(6))
    parameters = [maple.ctx, maple.weight, maple.bias]
    ours = torch.autograd.grad((maple.logits(pixels) * weights).sum(), parameters)
    theirs = torch.autograd.grad((logits * weights).sum(), parameters)
    for which, one, other in zip(("ctx", "weight", "bias"), ours, theirs, strict=True):
        assert other.abs().max() > 1e-4
        assert_close(which, one, other)


@pytest.mark.parametrize("name", BY_HAND)
def test_prompts_in_both_towers_that_know_nothing_of_each_other(name):
    clip, pixels = tiny_clip(name, "larger"), some_pixels(2)
    learner = PromptSRC(clip, CLASSES, init="a photo", templates="a photo {}.")
    with torch.no_grad():
        learner.ctx[1:] *= 20
    classes = words_by_hand(clip, name, learner.ctx, "{}.")
    assert_close("words", learner(), classes)
    images = eye_by_hand(clip, name, pixels, learner.visual_ctx)
    assert_close("eye", learner.image_features(pixels), images)


@pytest.mark.parametrize("name", NAMES)
def test_what_keeps_prompts_near_the_frozen_model(name):
    clip, pixels = tiny_clip(name), some_pixels()
    learner = PromptSRC(clip, CLASSES, init="a photo")  # with its own sentences
    found, added = learner.in_training(pixels, None)
    texts = [clip.encode_text([t.format(c) for c in CLASSES]) for t in learner.templates]
    anchors, images = normalize(torch.stack(texts).mean(dim=0), dim=-1), features_of(clip)
    zero_shot = compat.logits(clip.model, images @ anchors.T).log_softmax(dim=1)
    expected = 25 * (learner() - anchors).abs().mean()
    expected = expected + 10 * (learner.image_features(pixels) - images).abs().mean()
    away = zero_shot.exp() * (zero_shot - found.log_softmax(dim=1))
    assert_close("added", added / 6, expected + away.mean())


@pytest.mark.parametrize("name", AHEAD)
def test_every_method_learns(name):
    clip = tiny_clip(name, "larger")
    before = {key: value.clone() for key, value in clip.model.state_dict().items()}
    images = features_of(clip)
    for learner, given, more in (
        (PromptLearner(clip, CLASSES, 2), images, {}),
        (PromptLearner(clip, CLASSES, 2, per_class=True, position="front"), images, {}),
        (CoCoOp(clip, CLASSES, 2, None), images, {}),
        (VPT(clip, CLASSES, 2), some_pixels(), {}),
        (MaPLe(clip, CLASSES, 2, init=None), some_pixels(), {}),
        (PromptSRC(clip, CLASSES, 2, init=None, templates="a photo {}."), some_pixels(), {}),
    ):
        history = fit(learner, given, LABELS, **QUICK, **more)
        assert history.loss[-1] < history.loss[0] - 1e-4, type(learner).__name__
        assert evaluate(learner, given, LABELS).n == 6
    learner = PromptLearner(clip, CLASSES, init="a photo of a")
    assert KgCoOp(learner, template="a photo of a {}.")(learner()).item() < 1e-4
    penalty = KgCoOp(learner, template="red {} kite.")
    history = fit(learner, images, LABELS, penalty=penalty, **QUICK)
    assert history.loss[-1] < history.loss[0]
    _, choice = fit_tip(clip, CLASSES, images, LABELS, template="a {}.", epochs=2)
    assert choice.n_held_out == 3
    tip = TipAdapter(clip, CLASSES, images, LABELS, alpha=1e4, beta=50)  # the cache alone decides
    assert evaluate(tip, images, LABELS).accuracy == 1
    for baseline in (NearestMean, LinearProbe):
        assert evaluate(baseline(clip, CLASSES, images, LABELS), images, LABELS).accuracy > 0.5
    after = clip.model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert all(weight.grad is None for weight in clip.model.parameters())


def test_a_dual_encoder_of_another_pair():
    """CLIP's eye, whose parts are one module deeper in some versions, beside an XLM-RoBERTa."""
    common = {"hidden_size": 12, "num_attention_heads": 2, "num_hidden_layers": 2}
    tokenizer = tokenizer_of("AltCLIP")
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
        transformers.CLIPVisionConfig(
            **common, intermediate_size=16, image_size=8, patch_size=4, projection_dim=6
        ),
        transformers.XLMRobertaConfig(
            **common,
            intermediate_size=16,
            vocab_size=len(tokenizer),
            max_position_embeddings=LENGTH + 2,
            pad_token_id=tokenizer.pad_token_id,
        ),
        projection_dim=6,
    )
    model = randomise(transformers.VisionTextDualEncoderModel(config), 3)
    clip = clipnotes.Clip(model, tokenizer, tiny_clip("CLIP").image_processor)
    names = ["rose", "red dog"]
    texts = tokenizer([f"a photo {name}." for name in names], return_tensors="pt", padding=True)
    with torch.no_grad():
        theirs = model(**texts, pixel_values=some_pixels()).logits_per_image
    learner = PromptLearner(clip, names, init="a photo")
    assert_close("logits", learner.logits(features_of(clip)), theirs)
    maple = MaPLe(clip, names, init=None)
    history = fit(maple, some_pixels(), [0, 1] * 3, **QUICK)
    assert maple.depth == 2 and history.loss[-1] < history.loss[0] - 1e-4
