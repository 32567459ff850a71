"""MaPLe against the paper written out: both towers, values, gradients, and what is saved."""

import copy

import pytest
import torch
import torch.nn.functional as F

import clipnotes
from clipnotes.compat import text_tower
from clipnotes.prompts import MaPLe, evaluate, load_prompt
from clipnotes.prompts.saved.storage import read_prompt, write_prompt
from few_pictures import CLASSES, fruits, quiet
from reference import agree, assert_close, pixels
from reference_visual import deep_clip, encode_class, encode_images, logits

NAMES = ["tulip", "steam locomotive", "a rose, red"]
PARAMETERS = ["ctx", "weight", "bias"]


def pictures(clip, n=4):
    return pixels(clip.model.config.vision_config, seed=n, batch=n)


def plain(clip, ctx, weight, bias, images, names, template="of a {}."):
    """Compute the logits with a map written as the paper does, layer by layer."""
    visual = [F.linear(*layer) for layer in zip(ctx, weight, bias, strict=True)]
    classes = torch.cat([encode_class(clip, name, list(ctx), template) for name in names])
    return logits(clip, encode_images(clip, images, visual), classes)


@pytest.mark.parametrize("depth", [1, 2, 3, None])
@pytest.mark.parametrize("kind", [{"init": "a photo"}, {"init": None, "n_ctx": 5}, {"init": None}])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.filterwarnings("error:prompts take the plain path")  # nobody asked for the other one
def test_equals_the_paper(clip, seed, kind, depth):
    tiny = deep_clip(clip, seed)
    maple = MaPLe(tiny, NAMES, depth=depth, seed=seed, **kind)
    assert maple.ctx.shape[:2] == (depth or 3, kind.get("n_ctx", 2))
    with torch.no_grad():
        maple.ctx.mul_(10)
        maple.bias.add_(0.3)
    images, labels = pictures(tiny), torch.tensor([0, 1, 2, 0])
    own = [getattr(maple, name) for name in PARAMETERS]
    copies = [value.detach().clone().requires_grad_() for value in own]
    expected = plain(tiny, *copies, images, NAMES)
    found = maple.logits(images)
    assert_close("logits", found, expected)
    wanted = torch.autograd.grad(F.cross_entropy(expected, labels), copies)
    gradients = torch.autograd.grad(F.cross_entropy(found, labels), own)
    for name, gradient, want in zip(PARAMETERS, gradients, wanted, strict=True):
        assert (want.flatten(1).abs().amax(dim=1) > 1e-6).all(), "every layer matters"
        assert_close(f"gradient of {name}", gradient, want)


def test_equals_the_paper_on_emoji_clip(clip):
    images, _ = fruits()
    maple = MaPLe(clip, NAMES, init="an emoji")
    assert (maple.depth, maple.n_ctx) == (3, 2)  # the text tower has three layers
    pixel_values = maple.inputs(images[:3])
    own = [getattr(maple, name) for name in PARAMETERS]
    assert_close("logits", maple.logits(pixel_values), plain(clip, *own, pixel_values, NAMES))


def test_the_start_is_the_authors(clip):
    maple = MaPLe(clip, NAMES)
    tower = text_tower(clip.model)
    ids = clip.tokenizer("a photo")["input_ids"][1:-1]
    assert torch.equal(maple.ctx[0], tower.embeddings.token_embedding.weight[ids])
    assert maple.ctx[1:].std().item() == pytest.approx(0.02, rel=0.15)
    limit = 128**-0.5  # nn.Linear's own
    for maps in (maple.weight, maple.bias):
        assert 0.9 * limit < maps.abs().max() <= limit
        assert maps.std().item() == pytest.approx(limit / 3**0.5, rel=0.1)
    # With one layer, whose vectors are those of the words, a class is its sentence.
    shallow = MaPLe(clip, NAMES, depth=1)
    sentences = clip.encode_text([f"a photo of a {name}." for name in NAMES])
    assert_close("classes", shallow(), sentences)


def test_the_depth_is_the_paper_s_if_both_towers_have_it(clip):
    assert MaPLe(deep_clip(clip, 0, layers=11), NAMES).depth == 9
    assert MaPLe(deep_clip(clip, 0, layers=4), NAMES).depth == 4


def test_the_seed_decides_and_the_global_generator_is_left_alone(clip):
    before = torch.get_rng_state()
    one, same, other = (MaPLe(clip, NAMES, init=None, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for name in PARAMETERS:
        mine, twin, foreign = (getattr(learner, name) for learner in (one, same, other))
        assert torch.equal(mine, twin)
        assert not torch.isclose(mine, foreign).any()
        assert not torch.isclose(mine[0], mine[1]).any()


def test_texts_are_cut_behind_the_longest_and_no_shorter(clip):
    """How long the other classes are changes nothing."""
    tiny = deep_clip(clip, 3)
    both, alone = MaPLe(tiny, ["x", "steam locomotive"]), MaPLe(tiny, ["x"])
    assert both.layout.input_ids.shape[1] < 16 > alone.layout.input_ids.shape[1]
    assert_close("class", both()[:1], alone())


def test_training_moves_all_it_owns_and_no_bit_of_the_model(clip):
    images, names = fruits()
    before = {name: tensor.clone() for name, tensor in clip.model.state_dict().items()}
    maple = MaPLe(clip, CLASSES, init="an emoji")
    assert [name for name, _ in maple.named_parameters()] == PARAMETERS
    start = copy.deepcopy(maple)
    history = quiet(maple, images, names, **MaPLe.recipe)
    assert history.epochs == 5
    for name in PARAMETERS:
        moved = (getattr(maple, name) - getattr(start, name)).flatten(1).abs().amax(dim=1)
        assert (moved > 1e-6).all(), name
    assert evaluate(maple, images, names).accuracy >= evaluate(start, images, names).accuracy
    maple.logits(maple.inputs(images[:2])).sum().backward()
    assert all(weight.grad is None for weight in clip.model.parameters())
    assert all(weight.requires_grad for weight in clip.model.parameters())
    assert all(torch.equal(t, before[name]) for name, t in clip.model.state_dict().items())


def test_a_model_in_half_precision(clip):
    half = copy.deepcopy(clip.model).bfloat16()
    half = clipnotes.Clip(half, clip.tokenizer, clip.image_processor)
    images, _ = fruits()
    maple, full = (MaPLe(c, CLASSES, init="an emoji") for c in (half, clip))
    found = maple.logits(maple.inputs(images[:4]))
    found.square().sum().backward()
    for name in PARAMETERS:
        assert getattr(maple, name).dtype == getattr(maple, name).grad.dtype == torch.float32
    assert found.dtype == torch.float32
    assert_close("classes", maple(), full(), 0.05)
    assert_close("unit", maple().norm(dim=-1), torch.ones(5), 1e-6)


def test_a_process_without_a_part_of_the_batch_has_a_gradient_of_nothing(clip):
    maple = MaPLe(clip, CLASSES)
    own = [getattr(maple, name) for name in PARAMETERS]
    gradients = torch.autograd.grad(maple.logits(maple.inputs([])).sum(), own)
    assert all(not gradient.any() for gradient in gradients)


@pytest.mark.parametrize("kind", [{}, {"init": None, "n_ctx": 3, "template": "{} !", "depth": 2}])
def test_saved_and_loaded(clip, tmp_path, kind):
    tiny = deep_clip(clip, 8)
    maple = MaPLe(tiny, NAMES, seed=3, **kind)
    maple.save(tmp_path, shots=1, scores={"test": 0.5})
    tensors, card = read_prompt(tmp_path)
    assert sorted(tensors) == sorted(PARAMETERS)
    for back in (MaPLe.load(tmp_path, tiny), load_prompt(tmp_path, tiny)):
        assert type(back) is MaPLe
        assert agree(back.logits(pictures(tiny)), maple.logits(pictures(tiny)))
    others = MaPLe.load(tmp_path, tiny, ["bear", "x"])
    own = [getattr(maple, name) for name in PARAMETERS]
    expected = plain(tiny, *own, pictures(tiny), ["bear", "x"], maple.template)
    assert_close("others", others.logits(pictures(tiny)), expected)
    model = copy.deepcopy(tiny.model)
    with torch.no_grad():
        model.visual_projection.weight.mul_(2)
    with pytest.raises(ValueError, match="the vision tower"):
        MaPLe.load(tmp_path, clipnotes.Clip(model, tiny.tokenizer, tiny.image_processor))
    write_prompt(tmp_path, {"ctx": maple.ctx}, card, force=True)
    with pytest.raises(ValueError, match="is damaged: it holds"):
        MaPLe.load(tmp_path, tiny)


def test_wrong_arguments_are_named(clip):
    tiny = deep_clip(clip, 8)
    with pytest.raises(TypeError, match="clip is a CLIPModel: give what"):
        MaPLe(tiny.model, NAMES)
    with pytest.raises(ValueError, match="depth is 4, and the text tower has 3 layers"):
        MaPLe(clip, NAMES, depth=4)
    with pytest.raises(ValueError, match="depth is 0"):
        MaPLe(tiny, NAMES, depth=0)
    with pytest.raises(ValueError, match="has 2 tokens and n_ctx is 5"):
        MaPLe(tiny, NAMES, 5)
    with pytest.raises(ValueError, match=r"leaving room for .* n_ctx is 99"):
        MaPLe(tiny, NAMES, 99, init=None)
    with pytest.raises(ValueError, match=r"shape \(2, 128\).*clip\.preprocess"):
        evaluate(MaPLe(clip, NAMES), torch.eye(128)[:2], [0, 1])
