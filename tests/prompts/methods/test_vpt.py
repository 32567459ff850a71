"""VPT against the paper written out: values, gradients, and a model that is left as it was."""

import copy

import pytest
import torch
import torch.nn.functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTextModelWithProjection

import clipnotes
from clipnotes.compat import vision_tower
from clipnotes.prompts import VPT, MaPLe, PromptLearner, ZeroShot, evaluate, load_prompt
from clipnotes.prompts.saved.storage import read_prompt, write_prompt
from few_pictures import CLASSES, fruits, quiet
from reference import agree, assert_close, pixels
from reference_visual import deep_clip, encode_images, logits
from saved_prompts import changed

NAMES = ["tulip", "steam locomotive", "a rose, red"]


def longer(learner, factor=20):
    """Prompts as long as the tokens of the tiny models, so that they matter."""
    with torch.no_grad():
        learner.ctx.mul_(factor)
    return learner


def pictures(clip, n=4):
    return pixels(clip.model.config.vision_config, seed=n, batch=n)


def sentences(clip, names, template="a photo of a {}."):
    return clip.encode_text([template.replace("{}", name) for name in names])


@pytest.mark.parametrize("depth", [1, 2, 3, None])
@pytest.mark.parametrize("n_ctx", [1, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_the_paper(clip, seed, n_ctx, depth):
    tiny = deep_clip(clip, seed)
    vpt = longer(VPT(tiny, NAMES, n_ctx, depth, seed=seed), 5)
    images, labels = pictures(tiny), torch.tensor([0, 1, 2, 0])
    ctx = vpt.ctx.detach().clone().requires_grad_(True)
    assert len(ctx) == (depth or 3)
    features = encode_images(tiny, images, list(ctx))
    assert_close("features", vpt.image_features(images), features)
    expected = logits(tiny, features, sentences(tiny, NAMES))
    found = vpt.logits(images)
    assert_close("logits", found, expected)
    (wanted,) = torch.autograd.grad(F.cross_entropy(expected, labels), ctx)
    (gradient,) = torch.autograd.grad(F.cross_entropy(found, labels), vpt.ctx)
    assert (wanted.abs().amax(dim=(1, 2)) > 1e-6).all(), "every layer's prompts matter"
    assert_close("gradient", gradient, wanted)


def test_equals_the_paper_on_emoji_clip(clip):
    images, _ = fruits()
    vpt = VPT(clip, NAMES, templates=["an emoji of a {}", "a drawing of a {}"])
    assert vpt.ctx.shape == (6, 8, 128)
    pixel_values = vpt.inputs(images[:3])
    assert agree(pixel_values, clip.preprocess(images[:3]))
    features = encode_images(clip, pixel_values, list(vpt.ctx))
    classes = ZeroShot(clip, NAMES, vpt.templates).class_features
    assert_close("logits", vpt.logits(pixel_values), logits(clip, features, classes))
    assert agree(vpt(), classes)


def test_the_start_is_the_paper_s_and_the_global_generator_is_left_alone(clip):
    before = torch.get_rng_state()
    one, same, other = (VPT(clip, NAMES, 50, seed=seed).ctx for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, same) and not torch.equal(one, other)
    limit = (6 / (3 * 8 * 8 + 128)) ** 0.5
    assert limit * 0.99 < one.abs().max() <= limit
    assert one.mean().abs() < 0.01


def test_pictures_in_any_number_are_encoded_alike(clip, monkeypatch):
    tiny = deep_clip(clip, 4)
    vpt = VPT(tiny, NAMES, 2)
    images = pictures(tiny, 5)
    whole = vpt.logits(images)
    monkeypatch.setattr("clipnotes.pictures.batches.BATCH", 2)
    assert_close("in batches", vpt.logits(images), whole)
    assert vpt.inputs([]).shape == (0, *images.shape[1:])
    none = vpt.logits(images[:0])  # what a process computes that has no part of a batch
    assert none.shape == (0, 3)
    (gradient,) = torch.autograd.grad(none.sum(), vpt.ctx)
    assert torch.equal(gradient, torch.zeros_like(vpt.ctx))


# The model


def test_training_changes_the_prompts_and_no_bit_of_the_model(clip):
    tiny = deep_clip(clip, 6)
    before = {name: tensor.clone() for name, tensor in tiny.model.state_dict().items()}
    vpt = VPT(tiny, NAMES, 2)
    tiny.model.visual_projection.weight.requires_grad_(False)
    flags = [weight.requires_grad for weight in tiny.model.parameters()]
    start = vpt.ctx.detach().clone()
    optimizer = torch.optim.AdamW([*vpt.parameters(), *tiny.model.parameters()], lr=0.1)
    losses = []
    for _ in range(4):
        loss = F.cross_entropy(vpt.logits(pictures(tiny, 3)), torch.tensor([0, 1, 2]))
        optimizer.zero_grad()
        loss.backward()
        assert all(weight.grad is None for weight in tiny.model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert ((vpt.ctx - start).abs().amax(dim=(1, 2)) > 0.01).all()
    assert [weight.requires_grad for weight in tiny.model.parameters()] == flags
    assert all(torch.equal(t, before[name]) for name, t in tiny.model.state_dict().items())


def test_a_model_in_half_precision(clip):
    half = copy.deepcopy(clip.model).bfloat16()
    half = clipnotes.Clip(half, clip.tokenizer, clip.image_processor)
    images, _ = fruits()
    vpt, plain = (VPT(c, CLASSES, 2) for c in (half, clip))
    found = vpt.logits(vpt.inputs(images))
    found.square().sum().backward()
    assert {vpt.ctx.dtype, vpt.ctx.grad.dtype, found.dtype} == {torch.float32}
    features = vpt.image_features(vpt.inputs(images))
    assert_close("unit", features.norm(dim=-1), torch.ones(15), 1e-6)
    assert_close("features", features, plain.image_features(plain.inputs(images)), 0.05)


def test_the_learner_owns_its_prompts_and_nothing_else(clip):
    vpt = VPT(clip, NAMES, 2)
    assert list(vpt.state_dict()) == [name for name, _ in vpt.named_parameters()] == ["ctx"]
    twin = copy.deepcopy(vpt)
    assert twin.clip is clip
    with torch.no_grad():
        twin.ctx.zero_()
    assert vpt.ctx.abs().sum() > 0


# On disk


@pytest.mark.parametrize("depth", [1, None])
def test_saved_and_loaded(clip, tmp_path, depth):
    tiny = deep_clip(clip, 8)
    vpt = VPT(tiny, NAMES, 3, depth, ["a {}", "the {}"], seed=4)
    vpt.save(tmp_path, shots=2)
    tensors, card = read_prompt(tmp_path)
    assert list(tensors) == ["ctx"]
    assert card["vision_tower"] is not None
    for back in (VPT.load(tmp_path, tiny), load_prompt(tmp_path, tiny)):
        assert type(back) is VPT
        assert agree(back.logits(pictures(tiny)), vpt.logits(pictures(tiny)))
    others = VPT.load(tmp_path, tiny, ["bear", "fox"])
    assert_close(
        "others", others(), ZeroShot(tiny, ["bear", "fox"], ["a {}", "the {}"]).class_features
    )
    other = copy.deepcopy(tiny.model)
    with torch.no_grad():
        vision_tower(other).post_layernorm.weight.mul_(2)
    with pytest.raises(ValueError, match="the vision tower"):
        VPT.load(tmp_path, clipnotes.Clip(other, tiny.tokenizer, tiny.image_processor))
    with pytest.raises(ValueError, match="'vpt', and PromptLearner loads 'coop'"):
        PromptLearner.load(tmp_path, tiny)
    write_prompt(tmp_path, {"ctx": tensors["ctx"][:, :2]}, card, force=True)
    with pytest.raises(ValueError, match=r"is damaged: it holds .*ctx"):
        VPT.load(tmp_path, tiny)


# What it cannot take


def test_wrong_arguments_are_named(clip):
    tiny = deep_clip(clip, 8)
    with pytest.raises(TypeError, match="clip is a CLIPModel: give what"):
        VPT(tiny.model, NAMES)
    text = CLIPTextModelWithProjection(tiny.model.config.text_config)
    with pytest.raises(TypeError, match="no CLIP vision tower in a CLIPTextModelWithProjection"):
        VPT(clipnotes.Clip(text, tiny.tokenizer, tiny.image_processor), NAMES)
    for depth in (0, 4):
        with pytest.raises(ValueError, match=f"depth is {depth}, and the vision tower has 3 la"):
            VPT(tiny, NAMES, depth=depth)
    with pytest.raises(TypeError, match=r"depth is 1\.5"):
        VPT(tiny, NAMES, depth=1.5)
    with pytest.raises(ValueError, match="n_ctx is 0"):
        VPT(tiny, NAMES, 0)
    with pytest.raises(ValueError, match="'no place' has 0 places"):
        VPT(tiny, NAMES, templates="no place")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x[0], r"shape \(3, 64, 64\).*\(n, 3, 64, 64\)"),
        (lambda x: x[..., :32], r"shape \(2, 3, 64, 32\)"),
        (lambda x: x.long(), "torch.int64"),
        (lambda x: x[:0], r"images is empty; give PIL images, or the \(n, 3, 64, 64\) tensor"),
        (lambda x: x[0, 0, 0, 0], r"shape \(\)"),
        (lambda x: x.index_fill(0, torch.tensor([1]), torch.nan), "image 1 has a pixel"),
        (lambda x: torch.eye(128)[:2], r"shape \(2, 128\).*clip.preprocess"),
    ],
)
def test_pixels_that_do_not_fit(clip, change, words):
    vpt = VPT(clip, CLASSES, 1, 1)
    start = vpt.ctx.detach().clone()
    given = change(torch.zeros(2, 3, 64, 64))
    for call in (quiet, evaluate):
        with pytest.raises(ValueError, match=words):
            call(vpt, given, [0, 1])
    assert torch.equal(vpt.ctx, start)
    if given.dim() == 4 and len(given) == 2:
        with pytest.raises(ValueError, match=words):
            vpt.logits(given)


# Settings, and towers of different depth

TWO = ["tulip", "steam locomotive"]

SENTENCE = "a photo of a {}."


def with_layers(clip, text, vision):
    """A random CLIP that reads Emoji-CLIP's tokens, with so many layers in each tower."""
    small = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    tokens = {"vocab_size": 4000, "bos_token_id": 3998, "eos_token_id": 3999}
    config = CLIPConfig(
        text_config={**small, **tokens, "num_hidden_layers": text},
        vision_config={**small, "num_hidden_layers": vision, "image_size": 64, "patch_size": 32},
        projection_dim=4,
    )
    return clipnotes.Clip(CLIPModel(config), clip.tokenizer, clip.image_processor)


@pytest.mark.parametrize("kind", [VPT, MaPLe])
def test_without_a_seed_it_is_seed_0(clip, kind):
    one, twin = kind(clip, TWO), kind(clip, TWO, seed=0)
    for mine, same in zip(one.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, same)


def test_the_words_without_an_argument_are_those_of_the_authors(clip):
    assert VPT(clip, TWO).templates == [SENTENCE]
    assert agree(VPT(clip, TWO)(), ZeroShot(clip, TWO, SENTENCE).class_features)
    assert MaPLe(clip, TWO).template == "of a {}."


def test_one_template_is_saved_and_comes_back(clip, tmp_path):
    vpt = VPT(clip, TWO, templates="an emoji of a {}")
    vpt.save(tmp_path)
    back = load_prompt(tmp_path, clip)
    assert back.templates == vpt.templates == ["an emoji of a {}"]
    assert agree(back(), vpt())


@pytest.mark.parametrize(("text", "vision"), [(2, 4), (4, 2)])
def test_maple_goes_as_deep_as_both_towers_and_no_deeper(clip, text, vision):
    uneven = with_layers(clip, text, vision)
    assert MaPLe(uneven, TWO).depth == 2
    tower = "text" if text < vision else "vision"
    with pytest.raises(ValueError, match=f"depth is 3, and the {tower} tower has 2 layers"):
        MaPLe(uneven, TWO, depth=3)


@pytest.mark.parametrize("kind", [VPT, MaPLe])
def test_a_model_in_double_precision(clip, kind):
    double = changed(clip, lambda model: model.double())
    try:
        double.encode_text(["a tulip"])
    except RuntimeError as error:  # 4.x makes the causal mask in float32
        pytest.skip(f"the text tower of this transformers has no double precision: {error}")
    images, _ = fruits()
    found, expected = (
        learner.logits(learner.inputs(images[:2]))
        for learner in (kind(c, CLASSES) for c in (double, clip))
    )
    assert_close("logits", found.float(), expected)


def test_many_pictures_are_prepared_and_stay_in_order(clip):
    images, _ = fruits()
    whole = clip.preprocess(images[:5])
    assert agree(VPT(clip, TWO).inputs(images[:5]), whole)
