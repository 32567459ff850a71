"""Models that are not on the CPU. A device that is not there stands in, see `pretend.py`.

`test_other_device.py` runs these in a process of their own.
"""

import copy

import pytest
import torch

import clipnotes
import equality
from clipnotes import compat, looking, plots
from clipnotes.checkpoints import Clip
from clipnotes.prompts import (
    CoCoOp,
    KgCoOp,
    LPPlusPlus,
    NearestMean,
    PromptLearner,
    TipAdapter,
    ZeroShot,
)
from clipnotes.prompts.inputs import check_labels, features_of
from clipnotes.prompts.layout import Layout
from clipnotes.prompts.methods import PUBLISHED

pretend = pytest.importorskip("pretend", reason="this torch has no devices written in Python")
NAMES = ["rose", "tulip"]


@pytest.fixture(scope="module")
def device():
    with pretend.pretended() as made:
        yield made


@pytest.fixture
def far(clip, device):
    """Emoji-CLIP over there."""
    return Clip(copy.deepcopy(clip.model).to(device), clip.tokenizer, clip.image_processor)


def test_the_device_refuses_what_a_graphics_processor_would(device):
    there = torch.arange(3.0).to(device)
    assert there.device == device
    assert (2 * there).tolist() == [0, 2, 4]
    with pytest.raises(RuntimeError, match="tensors on pretend:0 and on cpu"):
        there + torch.arange(3.0)
    with pytest.raises(RuntimeError, match="numpy"):
        there.numpy()
    with pytest.raises(RuntimeError, match="generator on the cpu"):
        torch.randn(3, device=device, generator=torch.Generator())


def test_every_method_gives_the_same_logits_there(device):
    found = dict(equality.of_learners("Emoji-CLIP", device, torch.float32, 3))
    assert list(found) == list(PUBLISHED)
    for method, differences in found.items():
        assert differences["logits"] < 1e-5, method


def test_training_with_a_checkpoint_runs_there(device):
    found, _ = equality.of_fit(device, 3, 2)
    assert found["context, resumed"] == 0


def test_learning_from_a_folder_runs_there(device):
    method, found = next(equality.of_learn(device, 3, 1))  # the others differ by their learners
    assert method == "coop"
    assert found["logits of the same prompt"] < 1e-5
    assert found["zero-shot: pictures more than one apart"] == 0


def test_what_the_explorers_show_is_the_same_there(device):
    assert max(equality.of_states(device, torch.float32).values()) < 1e-5


def test_figures_of_what_lies_there(far, device, nothing_shown):
    pixels = torch.rand(3, 64, 64).to(device)
    maps = torch.rand(2, 8, 8).to(device)
    plots.patches(pixels, 8)
    plots.filters(compat.vision_tower(far.model).embeddings.patch_embedding.weight[:4])
    plots.maps(maps)
    plots.attention_over(pixels, maps)
    plots.text_maps(pixels, maps, ["a", "b"])
    plots.by_head(maps[None])
    plots.by_head(maps[None], pixels)


@pytest.mark.parametrize(
    "make",
    [
        lambda clip, seen: ZeroShot(clip, NAMES),
        lambda clip, seen: NearestMean(clip, NAMES, seen, [0, 1]),
        lambda clip, seen: TipAdapter(clip, NAMES, seen, [0, 1]),
        lambda clip, seen: LPPlusPlus(clip, NAMES, seen, [0, 1]),
        lambda clip, seen: PromptLearner(clip, NAMES, n_ctx=2),
        lambda clip, seen: CoCoOp(clip, NAMES),
    ],
    ids=["zero-shot", "nearest mean", "tip", "lp++", "coop", "cocoop"],
)
def test_a_classifier_made_before_the_model_moved_still_works(clip, device, make):
    own = Clip(copy.deepcopy(clip.model), clip.tokenizer, clip.image_processor)
    seen = torch.nn.functional.normalize(torch.randn(2, 128), dim=-1)
    classifier = make(own, seen)
    before = classifier.logits(seen)
    own.model = own.model.to(device)
    after = classifier.logits(seen.to(device))
    torch.testing.assert_close(after.detach().cpu(), before.detach(), atol=1e-4, rtol=1e-5)


def test_a_penalty_made_before_the_model_moved_still_works(clip, device):
    learner = PromptLearner(clip, NAMES, n_ctx=2)
    penalty, features = KgCoOp(learner), learner().detach()
    assert float(penalty(features.to(device))) == pytest.approx(float(penalty(features)), abs=1e-5)


def test_patches_to_keep_may_be_named_on_the_cpu(far):
    seen = torch.zeros(1, 3, 64, 64).to(far.model.device)
    kept = looking.features_from(far.model, seen, torch.arange(10)[None])
    assert kept.device == far.model.device


def test_the_default_device_changes_no_number(clip):
    def made():
        learner = PromptLearner(clip, ["rose", "steam locomotive"], n_ctx=4)
        tables = Layout.build(clip.tokenizer, NAMES, 2, limit=32)
        meta_net = CoCoOp(clip, NAMES).meta_net[0].weight
        drawn = clipnotes.prompts.methods.vpt.uniform(2, limit=1.0, seed=0)
        labels = check_labels([0, 1], NAMES, 2)
        rest = [learner(), learner.ctx, tables.input_ids, tables.ctx_positions, tables.eos]
        return [*rest, meta_net, drawn, labels]

    expected = made()
    with torch.device("meta"):  # as torch.set_default_device("cuda") would
        found = made()
    for one, other in zip(found, expected, strict=True):
        assert one.device.type == "cpu"
        torch.testing.assert_close(one, other)


def test_a_seed_is_no_business_of_the_graphics_processors(clip, monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    state = torch.get_rng_state()
    first, again = (CoCoOp(clip, NAMES, seed=3).meta_net[0].weight for _ in range(2))
    assert seeded == []
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert features_of(clip, torch.eye(128)[:1]).device.type == "cpu"
