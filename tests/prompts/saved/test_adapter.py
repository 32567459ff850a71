"""CLIP-LoRA on disk: the prompt, and beside it adapters that PEFT opens without this package."""

import copy
import json
import subprocess
import sys
import warnings

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import normalize

import clipnotes
from clipnotes import compat
from clipnotes.prompts import LoRA, PromptLearner, load_prompt
from clipnotes.prompts.adapters import attention_matrices as matrices_of
from clipnotes.prompts.methods import PUBLISHED
from clipnotes.prompts.saved import adapter, storage
from clipnotes.teach import Plan, compare
from command_line import refused
from families import NAMES, save, tiny_clip
from reference import agree, assert_close, pixels
from reference_visual import deep_clip
from some_folders import make_folders

THINGS = ["tulip", "steam locomotive", "a rose, red"]
PEFT_FILES = ["adapter_config.json", "adapter_model.safetensors"]


def trained(learner, size=0.2):
    """Adapters as a long training might leave them: B is not 0 any more."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
    return learner


def opened_by_peft(model, folder):
    """What PEFT makes of a folder; some versions of it call what transformers calls deprecated."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PeftModel.from_pretrained(model, folder).eval()


ALONE = """
import json, sys
import torch, transformers
from peft import PeftModel
sys.modules["clipnotes"] = None  # importing it would fail
kind, base, folder, pixels = sys.argv[1:]
model = getattr(transformers, kind).from_pretrained(base).float()
model = PeftModel.from_pretrained(model, folder).eval()
with torch.no_grad():
    found = model.get_image_features(pixel_values=torch.tensor(json.loads(pixels)))
found = getattr(found, "pooler_output", found)
print(json.dumps(found.tolist()))
"""


def test_peft_opens_it_without_this_package(clip, tmp_path):
    """In a process that cannot import clipnotes: the same features of images."""
    tiny = deep_clip(clip, 2)
    lora = trained(LoRA(tiny, THINGS))
    lora.save(tmp_path / "prompt")
    tiny.model.save_pretrained(tmp_path / "model")
    images = pixels(tiny.model.config.vision_config, seed=2, batch=2)
    words = ["CLIPModel", tmp_path / "model", tmp_path / "prompt", json.dumps(images.tolist())]
    command = [sys.executable, "-W", "ignore", "-c", ALONE, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = normalize(torch.tensor(json.loads(done.stdout)), dim=-1)
    assert_close("images", found, lora.image_features(images))


@pytest.mark.parametrize("name", NAMES)
def test_peft_computes_the_same_in_every_family(tmp_path, name):
    clip = tiny_clip(name, "larger")
    names = ["rose", "red dog"]
    lora = trained(LoRA(clip, names, rank=3, alpha=2, template="a {}."))
    lora.save(tmp_path / "prompt")
    save(clip, tmp_path / "model")
    again = clipnotes.load(tmp_path / "model")
    model = opened_by_peft(again.model, tmp_path / "prompt").base_model.model
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        found = normalize(compat.image_features(model, images), dim=-1)
        words = clipnotes.Clip(model, again.tokenizer, again.image_processor)
        classes = words.encode_text(["a rose.", "a red dog."])
    assert_close("images", found, lora.image_features(images))
    assert_close("classes", classes, lora())
    # The adapters are in the layers of both towers, and nowhere else: not in CLIPSeg's decoder.
    inside = [n for n, _ in model.named_parameters() if "lora_" in n]
    assert len(inside) == 2 * (len(lora.text_a) + len(lora.vision_a))


def test_gradients_are_those_of_peft(clip, tmp_path):
    tiny = deep_clip(clip, 3)
    lora = trained(LoRA(tiny, THINGS))
    lora.save(tmp_path)
    model = opened_by_peft(copy.deepcopy(tiny.model), tmp_path).base_model.model
    images = pixels(tiny.model.config.vision_config, seed=2, batch=3)
    for name, weight in model.named_parameters():
        weight.requires_grad_("lora_" in name and "vision_model" in name)
    normalize(compat.image_features(model, images), dim=-1)[:, 0].sum().backward()
    theirs = {name: w.grad for name, w in model.named_parameters() if w.grad is not None}
    pair = [lora.vision_a, lora.vision_b]
    ours = torch.autograd.grad(lora.image_features(images)[:, 0].sum(), pair)
    names = list(matrices_of(tiny.model, "vision"))
    assert len(theirs) == 2 * len(names)
    for letter, gradients in zip("AB", ours, strict=True):
        for name, gradient in zip(names, gradients, strict=True):
            assert_close(name, gradient, theirs[f"{name}.lora_{letter}.default.weight"])


def test_the_two_files_say_what_the_prompt_says(clip, tmp_path):
    lora = trained(LoRA(clip, THINGS, rank=3, alpha=2, dropout=0.5))
    lora.save(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        [storage.FILE, storage.COPY, *PEFT_FILES]
    )
    config = json.loads((tmp_path / PEFT_FILES[0]).read_text(encoding="utf-8"))
    said = {"r": 3, "lora_alpha": 2, "use_rslora": True, "lora_dropout": 0.5, "peft_type": "LORA"}
    assert {name: config[name] for name in said} == said
    prompt, theirs = storage.read_prompt(tmp_path)[0], load_file(tmp_path / PEFT_FILES[1])
    for tower, layers in (("text", 3), ("vision", 6)):
        for i in range(layers):
            for j, part in enumerate("qkv"):
                name = f"base_model.model.{tower}_model.encoder.layers.{i}.self_attn.{part}_proj"
                for letter in "AB":
                    own = theirs.pop(f"{name}.lora_{letter}.weight")
                    assert torch.equal(own, prompt[f"{tower}_{letter.lower()}"][3 * i + j])
    assert theirs == {}
    first = {name: (tmp_path / name).read_bytes() for name in PEFT_FILES}
    lora.save(tmp_path, force=True)
    assert {name: (tmp_path / name).read_bytes() for name in PEFT_FILES} == first


def test_peft_files_belong_to_the_prompt_that_is_there(clip, tmp_path, monkeypatch):
    files = [tmp_path / name for name in PEFT_FILES]
    lora, coop = LoRA(clip, THINGS), PromptLearner(clip, THINGS, 2)
    files[0].write_bytes(b"somebody's own")
    for learner in (lora, coop):
        with pytest.raises(ValueError, match=r"already holds adapter_config\.json"):
            learner.save(tmp_path)
    coop.save(tmp_path, force=True)  # it writes no such file, and takes none that is not ours
    assert files[0].read_bytes() == b"somebody's own"
    lora.save(tmp_path, force=True)
    assert all(file.exists() for file in files)
    coop.save(tmp_path, force=True)
    assert not any(file.exists() for file in files)
    lora.save(tmp_path, force=True)
    write = storage.write_atomically

    def stopped(path, content):
        if path.name == storage.FILE:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(storage, "write_atomically", stopped)
    with pytest.raises(KeyboardInterrupt):
        trained(lora).save(tmp_path, force=True)
    assert not any(file.exists() for file in files), "rather none than one of another prompt"
    assert not load_prompt(tmp_path, clip).vision_b.any()


def test_saved_and_loaded(clip, tmp_path):
    tiny = deep_clip(clip, 8)
    lora = trained(LoRA(tiny, THINGS, 3, 2, 0.5, "the {}"))
    lora.save(tmp_path, shots=2)
    images = pixels(tiny.model.config.vision_config, seed=4, batch=4)
    for back in (LoRA.load(tmp_path, tiny), load_prompt(tmp_path, tiny)):
        assert type(back) is LoRA
        assert [getattr(back, name) for name in LoRA.OPTIONS] == [3, 2, 0.5, "the {}"]
        assert agree(back.logits(images), lora.logits(images))
    others = LoRA.load(tmp_path, tiny, ["bear", "fox"])
    whole = trained(LoRA(tiny, ["fox", "bear"], 3, 2, 0.5, "the {}"))
    assert_close("others", others(), whole().flip(0))


# Without PEFT


@pytest.fixture
def without_peft(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setattr("clipnotes.teach.folder.encode_files", lambda *_: pytest.fail("too late"))
    return r'pip install "clipnotes-book\[lora\]"'


def test_what_is_missing_is_named_before_an_image_is_read(clip, tmp_path, without_peft):
    with pytest.raises(ValueError, match=without_peft):
        LoRA(clip, THINGS)
    folder = make_folders(tmp_path / "images", 2)
    line = f"lora: .*{without_peft}"
    refused(line, "learn", folder, "--out", tmp_path / "o", "--method", "lora")
    refused(line, "compare", folder, "--methods", "coop,lora")
    assert not (tmp_path / "o").exists()
    assert [name for name in PUBLISHED if PUBLISHED[name].missing()] == ["lora"]


def test_a_comparison_without_it_leaves_it_out(clip, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    few = {name: PUBLISHED[name] for name in ("lora", "tip")}
    monkeypatch.setattr("clipnotes.teach.loop.PUBLISHED", few)
    folder = make_folders(tmp_path, 3)
    found = compare(clip, folder, shots=1, seeds=[0], epochs=1)
    assert list(found.rows)[3:] == ["tip"]
    (note,) = found.notes
    assert note == f"lora is left out: {adapter.MISSING}"


def test_a_peft_that_cannot_be_imported_says_why(clip, monkeypatch, tmp_path):
    (tmp_path / "peft.py").write_text("raise ImportError('no name X in transformers')")
    for name in [name for name in sys.modules if name.split(".")[0] == "peft"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"cannot be imported \(no name X in .*install -U peft"):
        LoRA(clip, THINGS)


def test_nothing_else_imports_it(root):
    code = """
import sys, torch, clipnotes
from clipnotes.prompts import PromptLearner, fit
from clipnotes.prompts.adapters import attention_matrices as matrices_of
from clipnotes.prompts.methods import PUBLISHED
learner = PromptLearner(clipnotes.load(), ["rose", "tulip"], 2)
fit(learner, torch.eye(128)[:2], [0, 1], epochs=1, progress=False)
assert PUBLISHED["lora"].missing() is None
assert "peft" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# As published


def test_steps_become_epochs(clip, tmp_path, monkeypatch):
    seen = []

    def quick(learner, images, labels, **keywords):
        seen.append(keywords["epochs"])
        raise KeyboardInterrupt

    monkeypatch.setattr("clipnotes.prompts.methods.published.fit", quick)
    for plan, n in (
        (Plan("lora"), 48),  # 16 shots: 8,000 steps, two an epoch
        (Plan("lora"), 33),  # 11 shots: 5,500
        (Plan("lora", brief=True), 48),
        (Plan("lora", brief=True, epochs=7), 48),
        (Plan("lora", epochs=3), 3),
    ):
        learner = plan.make(clip, THINGS, 0)
        given = torch.zeros(n, 3, 64, 64), [i % 3 for i in range(n)], plan.settings(clip, 0)
        with pytest.raises(KeyboardInterrupt):
            plan.published.train(learner, *given)
    assert seen == [4000, 2750, 50, 7, 3]
    assert "100 steps here" in Plan("lora", brief=True).doubts(clip)[0]
    assert Plan("lora").doubts(clip) == Plan("lora", brief=True, epochs=2).doubts(clip) == []
