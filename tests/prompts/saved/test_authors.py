"""Checkpoints of CoOp's own program: read as they are, whoever wrote them runs no code here."""

import os
from collections import OrderedDict

import pytest
import torch

from clipnotes.prompts import CoCoOp, PromptLearner
from clipnotes.prompts.saved.authors import read_coop
from few_pictures import CLASSES, small_learner
from reference import agree


def suffix(clip, names, length=14):
    """What CoOp's program keeps of what is behind the context: name, full stop, end, padding."""
    table = clip.model.text_model.embeddings.token_embedding.weight.detach()
    rows = clip.tokenizer([f"{name}." for name in names], add_special_tokens=False)["input_ids"]
    padded = [[*row, clip.tokenizer.eos_token_id] + [0] * (length - 1 - len(row)) for row in rows]
    return table[torch.tensor(padded)].bfloat16().float()


def coop_file(clip, path, ctx, **more):
    """What CoOp's program writes: tensors, and the schedule with its optimizer as objects."""
    parameter = torch.nn.Parameter(ctx.clone())
    optimizer = torch.optim.SGD([parameter], lr=0.002, momentum=0.9, weight_decay=5e-4)
    parameter.sum().backward()
    optimizer.step()
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50.0)
    table = clip.model.text_model.embeddings.token_embedding.weight.detach()
    # Emoji-CLIP's weights are in half precision already, so another rounding stands for CoOp's.
    start = table[clip.tokenizer.bos_token_id].bfloat16().float()
    behind = suffix(clip, CLASSES) if ctx.shape[-1] == 128 else torch.zeros(5, 14, ctx.shape[-1])
    state = OrderedDict(ctx=ctx, token_prefix=start.repeat(5, 1, 1), token_suffix=behind)
    scheduler = {"successor": cosine, "warmup_epoch": 1, "cons_lr": 1e-5, "last_epoch": 50}
    content = {"state_dict": state, "epoch": 50, "optimizer": optimizer.state_dict()}
    torch.save({**content, "scheduler": scheduler, "val_result": None, **more}, path)
    return path


@pytest.mark.parametrize("per_class", [False, True])
def test_a_coop_checkpoint(clip, tmp_path, per_class):
    ctx = small_learner(clip, per_class=per_class, seed=5).ctx.detach()
    path = coop_file(clip, tmp_path / "model.pth.tar-50", ctx.half())
    learner = PromptLearner.from_coop(path, clip, CLASSES, position="middle")
    assert torch.equal(learner.ctx, ctx.half().float()) and learner.ctx.requires_grad
    twin = small_learner(clip, per_class=per_class, position="middle")
    with torch.no_grad():
        twin.ctx.copy_(ctx.half())
    assert agree(learner(), twin())
    if per_class:
        with pytest.raises(ValueError, match="each of 5 classes, and 3 names"):
            PromptLearner.from_coop(path, clip, CLASSES[:3])
    else:
        assert PromptLearner.from_coop(path, clip, ["one", "two"])().shape == (2, 128)


def csc_file(path, state):
    torch.save({"state_dict": {"ctx": torch.ones(len(CLASSES), 2, 128)} | state}, path)
    return path


def test_contexts_of_classes_in_another_order_are_refused(clip, tmp_path):
    path = csc_file(tmp_path / "model", {"token_suffix": suffix(clip, CLASSES).half()})
    assert PromptLearner.from_coop(path, clip, CLASSES).per_class
    turned = [*CLASSES[:3], CLASSES[4], CLASSES[3]]
    said = r"class 3 is 'tomato', and in .*model its context belongs to 'cherries'; give"
    for position in ("end", "middle", "front"):
        with pytest.raises(ValueError, match=said):
            PromptLearner.from_coop(path, clip, turned, position=position)
    # As long, but another name; the beginning of the name; more than the name; one token off.
    for other in ("tomatoes", "tom", "tomato soup"):
        with pytest.raises(ValueError, match=f"class 4 is '{other}'.* belongs to 'tomato'"):
            PromptLearner.from_coop(path, clip, [*CLASSES[:4], other])
    plain = csc_file(tmp_path / "plain", {})  # nothing says which class is which
    assert PromptLearner.from_coop(plain, clip, turned).per_class
    shared = {"ctx": torch.ones(2, 128), "token_suffix": suffix(clip, CLASSES)}
    torch.save({"state_dict": shared}, path)
    PromptLearner.from_coop(path, clip, turned)  # for a shared context any classes will do


def test_names_with_underscores_are_told_what_coop_did_to_them(clip, tmp_path):
    names = ["hip_hop", *CLASSES[1:]]
    seen = [name.replace("_", " ") for name in names]  # what CoOp's program does
    path = csc_file(tmp_path / "model", {"token_suffix": suffix(clip, seen)})
    with pytest.raises(ValueError, match=r"'hip_hop'.* 'hip hop'.*replaced the underscores"):
        PromptLearner.from_coop(path, clip, names)
    assert PromptLearner.from_coop(path, clip, seen).classnames == seen
    assert 'name.replace("_", " ")' in PromptLearner.from_coop.__doc__


@pytest.mark.parametrize("off", [0.04, 0.06])
def test_the_names_vectors_may_be_off_by_a_twentieth(clip, tmp_path, off):
    path = csc_file(tmp_path / "model", {"token_suffix": (1 + off) * suffix(clip, CLASSES)})
    if off < 0.05:
        PromptLearner.from_coop(path, clip, CLASSES)
    else:
        with pytest.raises(ValueError, match="class 0 is"):
            PromptLearner.from_coop(path, clip, CLASSES)


@pytest.mark.parametrize(
    "wrong", ["text", torch.zeros(4, 14, 128), torch.zeros(5, 14, 64), torch.zeros(5, 128)]
)
def test_a_suffix_of_another_shape_is_refused(clip, tmp_path, wrong):
    path = csc_file(tmp_path / "model", {"token_suffix": wrong})
    with pytest.raises(ValueError, match=r"token_suffix in .* has shape .*no checkpoint of CoOp"):
        PromptLearner.from_coop(path, clip, CLASSES)
    path = csc_file(tmp_path / "short", {"token_suffix": suffix(clip, CLASSES)[:, :1]})
    with pytest.raises(ValueError, match="class 0 is 'grapes'"):
        PromptLearner.from_coop(path, clip, CLASSES)


# CoCoOp's


def cocoop_state(**changes):
    """What CoCoOp's program keeps, with the network as its module is called."""
    generator = torch.Generator().manual_seed(3)
    shapes = {"linear1.weight": (8, 128), "linear1.bias": (8,)}
    shapes |= {"linear2.weight": (128, 8), "linear2.bias": (128,)}
    state = {f"meta_net.{n}": torch.randn(s, generator=generator) for n, s in shapes.items()}
    return {"ctx": 0.02 * torch.randn(4, 128, generator=generator)} | state | changes


def test_a_checkpoint_of_cocoop_is_no_checkpoint_of_coop(clip, tmp_path):
    path = tmp_path / "model"
    torch.save({"state_dict": cocoop_state()}, path)
    said = r"meta_net\.linear1\.bias, .*open it with CoCoOp\.from_cocoop"
    with pytest.raises(ValueError, match=said):
        PromptLearner.from_coop(path, clip, CLASSES)
    # MaPLe's keys, as an example of any other.
    more = {"proj.weight": torch.zeros(1), "compound_prompts_text.0": torch.zeros(1)}
    torch.save({"state_dict": {"ctx": torch.ones(2, 128)} | more}, path)
    said = r"\(compound_prompts_text\.0, proj\.weight\), and without it the prompts .*; take what"
    for read in (PromptLearner.from_coop, CoCoOp.from_cocoop):
        with pytest.raises(ValueError, match=said):
            read(path, clip, CLASSES)


def test_a_checkpoint_of_cocoop(clip, tmp_path):
    path, state = tmp_path / "model", cocoop_state()
    half = {name: value.half() for name, value in state.items()}
    torch.save({"state_dict": half | {"token_suffix": suffix(clip, CLASSES)}}, path)
    learner = CoCoOp.from_cocoop(path, clip, CLASSES)
    features = clip.encode_text(["a tulip", "a beetle"])  # (2, P), as of images
    with torch.no_grad():
        # The authors' program: linear1, ReLU, linear2, and the same bias for every vector.
        half = {name.removeprefix("meta_net."): value.float() for name, value in half.items()}
        hidden = (features @ half["linear1.weight"].T + half["linear1.bias"]).relu()
        bias = hidden @ half["linear2.weight"].T + half["linear2.bias"]  # (2, D)
        shared = PromptLearner(clip, CLASSES, n_ctx=4)
        for i in range(2):
            shared.ctx.copy_(half["ctx"] + bias[i])
            torch.testing.assert_close(learner(features)[i], shared(), atol=1e-5, rtol=0)


def test_what_is_no_checkpoint_of_cocoop(clip, tmp_path):
    path, name = tmp_path / "model", "meta_net.linear1.weight"
    for state, said in (
        ({"ctx": torch.ones(4, 128)}, r"is no checkpoint of CoCoOp.*PromptLearner\.from_coop"),
        (cocoop_state(ctx=torch.ones(5, 4, 128)), "is no checkpoint of CoCoOp"),
        (cocoop_state(**{name: "text"}), "is no checkpoint of CoCoOp"),
        (cocoop_state(**{name: torch.zeros(8, 64)}), r"\(8, 64\).*it needs \[\(8, 128\)"),
        (cocoop_state(**{name: torch.full((8, 128), torch.nan)}), "is not finite"),
    ):
        torch.save({"state_dict": state}, path)
        with pytest.raises(ValueError, match=said):
            CoCoOp.from_cocoop(path, clip, CLASSES)


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_coop_checkpoint_with_code_in_it_does_not_run(clip, tmp_path):
    ctx = small_learner(clip).ctx.detach()
    path = coop_file(clip, tmp_path / "model", ctx, val_result=Trap(tmp_path / "ran"))
    with pytest.raises(ValueError, match=r"more than tensors.*stranger's code.*mkdir"):
        PromptLearner.from_coop(path, clip, CLASSES)
    assert not (tmp_path / "ran").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "ran").exists(), "the trap works"


def test_nor_where_torch_is_told_to_trust_all_files(clip, tmp_path, monkeypatch):
    ctx = small_learner(clip).ctx.detach()
    path = coop_file(clip, tmp_path / "model", ctx, val_result=Trap(tmp_path / "ran"))
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # its old default, since 2.6
    with pytest.raises(ValueError, match="more than tensors"):
        PromptLearner.from_coop(path, clip, CLASSES)
    assert not (tmp_path / "ran").exists()


def test_it_was_learned_on_a_gpu_and_is_read_without_one(clip, tmp_path, monkeypatch):
    ctx = torch.ones(2, 128)
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save({"state_dict": {"ctx": ctx}}, tmp_path / "model")
    found = read_coop(tmp_path / "model", clip, CLASSES)
    assert found.device.type == "cpu" and torch.equal(found, ctx)


def test_before_torch_2_5_only_a_file_without_a_schedule_is_read(clip, tmp_path, monkeypatch):
    monkeypatch.delattr(torch.serialization, "safe_globals", raising=False)
    ctx = torch.ones(2, 128)
    torch.save({"state_dict": {"ctx": ctx}, "epoch": 50}, tmp_path / "plain")
    assert torch.equal(read_coop(tmp_path / "plain", clip, CLASSES), ctx)
    with pytest.raises(ValueError, match="more than tensors"):
        read_coop(coop_file(clip, tmp_path / "whole", ctx), clip, CLASSES)


@pytest.mark.parametrize(
    "prefix",
    [None, "text", torch.zeros(0, 1, 128), torch.zeros(5, 1, 64), torch.zeros(128)],
)
def test_without_the_start_token_s_vector_the_model_is_not_compared(clip, tmp_path, prefix):
    state = {"ctx": torch.ones(2, 128)} | ({} if prefix is None else {"token_prefix": prefix})
    torch.save({"state_dict": state}, tmp_path / "model")
    assert torch.equal(read_coop(tmp_path / "model", clip, CLASSES), state["ctx"])


@pytest.mark.parametrize("n_classes", [1, 5])
@pytest.mark.parametrize("off", [0.04, 0.06])
def test_the_start_token_s_vector_may_be_off_by_a_twentieth(clip, tmp_path, n_classes, off):
    table = clip.model.text_model.embeddings.token_embedding.weight.detach()
    start = (1 + off) * table[clip.tokenizer.bos_token_id]
    state = {"ctx": torch.ones(2, 128), "token_prefix": start.repeat(n_classes, 1, 1)}
    torch.save({"state_dict": state}, tmp_path / "model")
    if off < 0.05:
        assert torch.equal(read_coop(tmp_path / "model", clip, CLASSES), state["ctx"])
    else:
        with pytest.raises(ValueError, match="learned with another CLIP"):
            read_coop(tmp_path / "model", clip, CLASSES)


def test_what_is_no_coop_checkpoint(clip, tmp_path):
    path = tmp_path / "model"
    with pytest.raises(ValueError, match="no file"):
        PromptLearner.from_coop(path, clip, CLASSES)
    path.write_bytes(b"text")
    with pytest.raises(ValueError, match="or is damaged"):
        PromptLearner.from_coop(path, clip, CLASSES)
    no_state = ([], {"state_dict": 3}, {"ctx": torch.ones(2, 128)})
    no_ctx = ([1.0], torch.ones(128), torch.ones(1, 1, 2, 128), torch.ones(2, 128).long())
    for content in (*no_state, *({"state_dict": {"ctx": ctx}} for ctx in no_ctx)):
        torch.save(content, path)
        with pytest.raises(ValueError, match="has no context vectors"):
            PromptLearner.from_coop(path, clip, CLASSES)
    coop_file(clip, path, torch.full((2, 128), float("inf")))
    with pytest.raises(ValueError, match="are not finite"):
        PromptLearner.from_coop(path, clip, CLASSES)
    torch.save({"state_dict": {"ctx": torch.zeros(2, 512)}}, path)
    with pytest.raises(ValueError, match=r"have 512 numbers, and this model's tokens 128"):
        PromptLearner.from_coop(path, clip, CLASSES)
    other = torch.full((5, 1, 128), 0.02)
    torch.save({"state_dict": {"ctx": torch.zeros(2, 128), "token_prefix": other}}, path)
    with pytest.raises(ValueError, match="learned with another CLIP"):
        PromptLearner.from_coop(path, clip, CLASSES)


def test_a_damaged_file_is_named(clip, tmp_path):
    path = tmp_path / "model"
    for content in (b"", b"text", b"<!DOCTYPE html>", b"PK\3\4 cut off", b"\x80\2N0."):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model .*or is damaged"):
            read_coop(path, clip, CLASSES)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("failed reading zip\nframe 1\nframe 2"), "failed reading zip"),
        (EOFError(), "EOFError"),
    ],
)
def test_of_what_torch_says_the_first_line_is_told(clip, tmp_path, monkeypatch, error, words):
    def broken(*_, **__):
        raise error

    (tmp_path / "model").touch()
    monkeypatch.setattr(torch, "load", broken)
    with pytest.raises(ValueError, match=f"or is damaged: {words}$"):
        read_coop(tmp_path / "model", clip, CLASSES)
