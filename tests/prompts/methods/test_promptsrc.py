"""PromptSRC against the paper written out: its loss, its start, and what is saved."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

import clipnotes
from clipnotes.compat import text_tower
from clipnotes.prompts import PromptSRC, evaluate, fit, load_prompt
from clipnotes.prompts.methods.promptsrc import TEMPLATES
from clipnotes.prompts.saved.storage import read_prompt, write_prompt
from few_pictures import CLASSES, fruits
from reference import agree, assert_close
from reference_promptsrc import NAMES, PARAMETERS, SENTENCES, compared, left, own, pictures, terms
from reference_visual import deep_clip, logits


@pytest.mark.parametrize("depth", [1, 2, 3, None])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("term", ["text", "image", "logits", "all"])
def test_what_is_added_equals_the_paper(clip, term, seed, depth):
    """Each term alone, and all of them, with the gradient of both towers' prompts."""
    tiny = deep_clip(clip, seed)
    images, labels = pictures(tiny), torch.tensor([0, 1, 2, 0])
    learner = left(tiny, seed, text_depth=depth, vision_depth=depth)

    def added(text_weight, image_weight):
        learner.text_weight, learner.image_weight = text_weight, image_weight
        return learner.in_training(images, None)[1] / len(images)

    copies = [value.detach().clone().requires_grad_() for value in own(learner)]
    _, text, image, kl, smallest = terms(tiny, *copies, images, labels)
    assert smallest > 1e-5, "the slope of a distance is not looked at where it turns"
    assert min(text, image, kl) > 1e-3, "every term matters"
    found, expected = {
        "text": lambda: (added(25, 0) - added(0, 0), 25 * text),
        "image": lambda: (added(0, 10) - added(0, 0), 10 * image),
        "logits": lambda: (added(0, 0), kl),
        "all": lambda: (added(25, 10), 25 * text + 10 * image + kl),
    }[term]()
    assert_close("added", found, expected)
    mine = own(learner) if term != "text" else own(learner)[:1]  # no image has a part in it
    theirs = copies[: len(mine)]
    if term == "image":
        mine, theirs = mine[1:], theirs[1:]
    wanted = torch.autograd.grad(expected, theirs)
    for gradient, want in zip(torch.autograd.grad(found, mine), wanted, strict=True):
        assert (want.flatten(1).abs().amax(dim=1) > 1e-5).all(), "every layer matters"
        assert_close("gradient", gradient, want)


def test_the_logits_come_along(clip):
    tiny = deep_clip(clip, 1)
    learner, images = left(tiny), pictures(tiny)
    expected = logits(tiny, *compared(tiny, *own(learner), images, NAMES))
    assert_close("in training", learner.in_training(images, None)[0], expected)
    assert_close("logits", learner.logits(images), expected)
    assert (PromptSRC(tiny, NAMES).text_weight, learner.image_weight) == (25, 10)


def test_the_terms_of_emoji_clip(clip):
    images, _ = fruits()
    learner = PromptSRC(clip, CLASSES, init="an emoji of a")
    given = learner.inputs(images[:4])
    found, added = learner.in_training(given, None)
    features = clip.encode_image(images[:4])
    sentences = [clip.encode_text([t.format(name) for name in CLASSES]) for t in TEMPLATES]
    anchors = F.normalize(torch.stack(sentences).mean(dim=0), dim=-1)
    assert_close("anchors", learner.anchors, anchors)
    text = F.l1_loss(learner(), anchors)
    image = F.l1_loss(learner.image_features(given), features)
    zero_shot = clip.model.logit_scale.exp() * features @ anchors.T
    kl = F.kl_div(found.log_softmax(1), zero_shot.softmax(1), reduction="sum") / found.numel()
    assert_close("added", added / 4, 25 * text + 10 * image + kl, scale=0)


def test_parts_of_a_batch_add_up(clip):
    """Several processes take a part each, and some may have none."""
    tiny = deep_clip(clip, 4)
    learner, images = left(tiny), pictures(tiny, 5)
    _, whole = learner.in_training(images, None)
    parts = [learner.in_training(images[rows], None)[1] for rows in ([0, 3], [1, 2, 4], [])]
    assert_close("sum", sum(parts), whole)
    wanted = torch.autograd.grad(whole, own(learner))
    found = [torch.autograd.grad(part, own(learner)) for part in parts]
    for name, want, *several in zip(PARAMETERS, wanted, *found, strict=True):
        assert_close(name, sum(several), want)
        assert not several[-1].any(), "of no image, nothing"


def test_the_start_is_the_authors(clip):
    learner = PromptSRC(clip, NAMES)
    assert (learner.n_ctx, learner.text_depth, learner.vision_depth) == (4, 3, 6)
    ids = clip.tokenizer("a photo of a")["input_ids"][1:-1]
    table = text_tower(clip.model).embeddings.token_embedding.weight
    assert torch.equal(learner.ctx[0], table[ids])
    assert learner.ctx[1:].std().item() == pytest.approx(0.02, rel=0.1)
    assert learner.visual_ctx.std().item() == pytest.approx(0.02, rel=0.1)
    deep = PromptSRC(deep_clip(clip, 0, layers=11), NAMES, templates=SENTENCES)
    assert len(deep.ctx) == len(deep.visual_ctx) == 9
    shallow = PromptSRC(clip, NAMES, text_depth=1)
    sentences = clip.encode_text([f"a photo of a {name}." for name in NAMES])
    assert_close("classes", shallow(), sentences)
    assert shallow.n_parameters == 4 * 128 + 6 * 4 * 128
    assert PromptSRC.recipe == {"epochs": 20, "batch_size": 4, "lr": 0.0025}
    assert all(sentence.count("{}") == 1 for sentence in TEMPLATES)
    assert len({*TEMPLATES}) == len(TEMPLATES) > 10


def test_the_seed_decides_and_the_global_generator_is_left_alone(clip):
    before = torch.get_rng_state()
    one, same, other = (PromptSRC(clip, NAMES, init=None, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for mine, twin, foreign in zip(own(one), own(same), own(other), strict=True):
        assert torch.equal(mine, twin)
        assert not torch.isclose(mine, foreign).any()
    every = [row for value in own(one) for row in value]
    for i, row in enumerate(every):
        assert all(not torch.equal(row, later) for later in every[i + 1 :])


def test_a_model_in_half_precision(clip):
    half = copy.deepcopy(clip.model).bfloat16()
    half = clipnotes.Clip(half, clip.tokenizer, clip.image_processor)
    images, _ = fruits()
    learner, full = (PromptSRC(c, CLASSES, init="an emoji of a") for c in (half, clip))
    given = learner.inputs(images[:4])
    found, added = learner.in_training(given, None)
    (found.square().sum() + added).backward()
    for value in own(learner):
        assert value.dtype == value.grad.dtype == torch.float32
    assert found.dtype == added.dtype == torch.float32
    assert_close("logits", found, full.in_training(given, None)[0], 0.1)
    assert_close("added", added, full.in_training(given, None)[1], 0.1)


@pytest.mark.parametrize(
    "kind", [{}, {"init": None, "n_ctx": 3, "template": "{} !", "text_depth": 2, "vision_depth": 1}]
)
def test_saved_and_loaded(clip, tmp_path, kind):
    tiny = deep_clip(clip, 8)
    learner = left(tiny, seed=3, **kind)
    fresh = dict(learner.named_parameters())
    images = pictures(tiny)
    learner.save(tmp_path, shots=1, scores={"test": 0.5})
    tensors, card = read_prompt(tmp_path)
    assert sorted(tensors) == sorted(fresh)
    assert card["options"].keys() == {"n_ctx", "text_depth", "vision_depth", "template"}
    for back in (PromptSRC.load(tmp_path, tiny), load_prompt(tmp_path, tiny)):
        assert type(back) is PromptSRC
        assert agree(back.logits(images), learner.logits(images))
    others = PromptSRC.load(tmp_path, tiny, ["bear", "x"])
    features = compared(tiny, *own(learner), images, ["bear", "x"], learner.template)
    assert_close("others", others.logits(images), logits(tiny, *features))
    model = copy.deepcopy(tiny.model)
    with torch.no_grad():
        model.visual_projection.weight.mul_(2)
    with pytest.raises(ValueError, match="the vision tower"):
        PromptSRC.load(tmp_path, clipnotes.Clip(model, tiny.tokenizer, tiny.image_processor))
    write_prompt(tmp_path, {"ctx": learner.ctx}, card, force=True)
    with pytest.raises(ValueError, match="is damaged: it holds"):
        PromptSRC.load(tmp_path, tiny)


def test_whoever_only_names_images_reads_no_sentence(clip, monkeypatch):
    images, _ = fruits()
    learner = PromptSRC(clip, CLASSES)
    monkeypatch.setattr(clipnotes.Clip, "encode_text", lambda *_: pytest.fail("not needed"))
    learner.logits(learner.inputs(images[:1]))


def test_wrong_arguments_are_named(clip):
    tiny = deep_clip(clip, 8)
    with pytest.raises(TypeError, match="clip is a CLIPModel: give what"):
        PromptSRC(tiny.model, NAMES)
    with pytest.raises(ValueError, match="depth is 4, and the text tower has 3 layers"):
        PromptSRC(clip, NAMES, text_depth=4)
    with pytest.raises(ValueError, match="depth is 7, and the vision tower has 6 layers"):
        PromptSRC(clip, NAMES, vision_depth=7)
    with pytest.raises(ValueError, match="has 4 tokens and n_ctx is 5"):
        PromptSRC(clip, NAMES, 5)
    with pytest.raises(ValueError, match=r"leaving room for .* n_ctx is 99"):
        PromptSRC(clip, NAMES, 99, init=None)
    with pytest.raises(ValueError, match="it needs one"):
        PromptSRC(clip, NAMES, templates=["a {}", "a"])
    with pytest.raises(ValueError, match="templates is empty"):
        PromptSRC(clip, NAMES, templates=[])
    with pytest.raises(ValueError, match="tokens"):  # before training, not in its first step
        PromptSRC(clip, NAMES, templates=["a {}", "{}" + " long" * 40])
    for name, value, words in (
        ("text_weight", -1.0, "at least 0"),
        ("image_weight", math.inf, "finite"),
        ("gpa_mean", -0.1, "at least 0"),
        ("gpa_std", 0, "above 0"),
    ):
        with pytest.raises(ValueError, match=f"{name} is .*{words}"):
            PromptSRC(clip, NAMES, **{name: value})
    with pytest.raises(TypeError, match="text_weight is '1'"):
        PromptSRC(clip, NAMES, text_weight="1")
    with pytest.raises(ValueError, match=r"shape \(2, 128\).*clip\.preprocess"):
        evaluate(PromptSRC(clip, NAMES), torch.eye(128)[:2], [0, 1])
    with pytest.raises(TypeError, match="a penalty is of class features, and a PromptSRC has none"):
        fit(PromptSRC(clip, NAMES), pictures(clip, 3), NAMES, penalty=lambda classes: classes.sum())
