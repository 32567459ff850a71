"""Compare what a device computes with the CPU in float32: the parts of ``on_gpu``.

Everything runs twice with the same seeds, which always draw on the CPU. A difference is the largest
one, divided by the largest entry.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel

import clipnotes
from clipnotes import compat, looking
from clipnotes.checkpoints import EMOJI_CLIP, Clip
from clipnotes.data import load_emoji
from clipnotes.explorer import explore, explore_text
from clipnotes.prompts import LoRA, LPPlusPlus, PromptLearner, TipAdapter, fit
from clipnotes.prompts.inputs import features_of, pixels_of
from clipnotes.prompts.learner import Learner
from clipnotes.prompts.methods import PUBLISHED, load_prompt
from clipnotes.prompts.methods.vpt import uniform
from clipnotes.teach import Plan, learn
from text_step import difference

CPU = torch.device("cpu")
FROM_IMAGES = {"tip": TipAdapter, "lp++": LPPlusPlus}  # learners that images are needed for
STYLES = ["noto", "fxemoji", "emojione"]  # designers that drew nearly everything
Differences = dict[str, float]


@cache
def of_tower(tower: str) -> Clip:
    """Make a CLIP on the CPU: Emoji-CLIP, or a random one of ViT-B/32's size with its tokens."""
    clip = clipnotes.load(EMOJI_CLIP)
    clip.model.requires_grad_(False)
    if tower == "Emoji-CLIP":
        return clip
    torch.manual_seed(0)
    config = CLIPConfig()
    for name in ("bos_token_id", "eos_token_id"):
        setattr(config.text_config, name, getattr(clip.tokenizer, name))
    processor = copy.deepcopy(clip.image_processor)
    size = config.vision_config.image_size
    processor.size = {"shortest_edge": size}
    processor.crop_size = {"height": size, "width": size}
    return Clip(CLIPModel(config).eval().requires_grad_(False), clip.tokenizer, processor)


def moved(clip: Clip, device: torch.device, dtype: torch.dtype) -> Clip:
    """Copy a CLIP to a device and a dtype."""
    model = copy.deepcopy(clip.model).to(device, dtype)
    return Clip(model, clip.tokenizer, clip.image_processor)


def drawings(n_classes: int) -> tuple[list[str], list, list[int]]:
    """Return names of n things, drawings by a few designers, and the class of each drawing."""
    data = load_emoji(style=STYLES, category="food-fruit")
    names = list(dict.fromkeys(data["name"]))[:n_classes]
    rows = [i for i, name in enumerate(data["name"]) if name in names]
    some = data.select(rows)
    return names, list(some["image"]), [names.index(name) for name in some["name"]]


def differences(values: dict[str, Tensor], expected: dict[str, Tensor]) -> Differences:
    """Compare tensors by name."""
    return {name: difference(values[name].float().cpu(), expected[name]) for name in expected}


def of_learners(
    tower: str, device: torch.device, dtype: torch.dtype, n_classes: int
) -> Iterator[tuple[str, Differences]]:
    """Compare the untrained learner of each method: its logits, and the gradients of a loss."""
    there = moved(of_tower(tower), device, dtype)
    here = moved(there, CPU, torch.float32)
    names, pictures, labels = drawings(n_classes)
    pictures, labels = pictures[:16], labels[:16]
    inputs = {False: features_of(here, pictures), True: pixels_of(here, pictures)}
    truth = torch.arange(n_classes), torch.tensor(labels)
    for method in PUBLISHED:
        sides = []
        for clip in (there, here):
            if method in FROM_IMAGES:
                images_of = here.encode_text(names)  # one vector per class, equal on both sides
                learner: Learner = FROM_IMAGES[method](clip, names, images_of, truth[0])
            else:
                # KgCoOp's own words start where its penalty is 0 and the gradient is only rounding,
                # so we give it random vectors. So do we with PromptSRC, whose words have a gradient
                # of 5e-6 here, which float16 can hardly hold.
                random = method in ("kgcoop", "promptsrc")
                plan = Plan(method, n_ctx=4) if random else Plan(method)
                learner = plan.make(clip, names, seed=0)
            if isinstance(learner, LoRA):  # its B starts at 0, and then A has no gradient
                with torch.no_grad():
                    for one in (learner.text_b, learner.vision_b):
                        one.copy_(uniform(*one.shape, limit=0.1, seed=1))
            images = learner.inputs(inputs[learner.takes_pixels].to(clip.model.device))
            sides.append(logits_and_gradients(learner, method, images, truth[1]))
        yield method, differences(*sides)


def logits_and_gradients(
    learner: Learner, method: str, images: Tensor, truth: Tensor
) -> dict[str, Tensor]:
    """Take the step that ``fit`` would take, without what a learner adds to the loss."""
    # PromptSRC adds absolute differences: their slope is 1 or -1, and rounding may turn it.
    penalty = PUBLISHED[method].penalty
    logits = learner.logits(images).float()
    loss = F.cross_entropy(logits, truth.to(logits.device))
    if penalty is not None:
        loss = loss + penalty(learner)(learner())
    parameters = dict(learner.named_parameters())
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    named = {f"{n}: gradient": g for n, g in zip(parameters, gradients, strict=True)}
    return {"logits": logits.detach(), **named}


def of_fit(device: torch.device, n_classes: int, epochs: int) -> tuple[Differences, float]:
    """Fit on device and CPU, then resume; return differences and the device's seconds."""
    names, pictures, labels = drawings(n_classes)
    features = features_of(of_tower("Emoji-CLIP"), pictures)
    losses, contexts, seconds = [], [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for where in (device, CPU, device):
            clip = moved(of_tower("Emoji-CLIP"), where, torch.float32)
            learner = PromptLearner(clip, names, n_ctx=4)
            file = Path(folder) / f"{where.type}.safetensors"
            seconds_before = time.perf_counter()
            history = fit(learner, features, labels, epochs=epochs, checkpoint=file, progress=False)
            seconds = seconds or time.perf_counter() - seconds_before
            losses.append(torch.tensor(history.loss))
            contexts.append(learner.ctx.detach().cpu())
    return {
        "losses": difference(losses[0], losses[1]),
        "context (a gradient's sum)": difference(contexts[0], contexts[1]),
        "context, resumed": difference(contexts[2], contexts[0]),
    }, seconds


def of_learn(
    device: torch.device, n_classes: int, epochs: int
) -> Iterator[tuple[str, Differences]]:
    """Learn from a folder of images by each method, save, and load again on the other side."""
    names, pictures, labels = drawings(n_classes)
    with tempfile.TemporaryDirectory() as folder:
        for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            file = Path(folder) / "pictures" / names[label] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture.save(file)
        for method in PUBLISHED:
            plan, sides = Plan(method, shots=2, epochs=epochs), []
            for place, where in (("there", device), ("here", CPU)):
                clip = moved(of_tower("Emoji-CLIP"), where, torch.float32)
                out = Path(folder) / f"{method}-{place}"
                report = learn(clip, Path(folder) / "pictures", out, plan)
                sides.append((clip, out, report))
            (there, out, ours), (here, _, theirs) = sides
            loaded = [load_prompt(out, clip) for clip in (there, here)]
            images = loaded[1].inputs(pictures)
            with torch.no_grad():
                logits = [one.logits(images.to(one.clip.model.device)).cpu() for one in loaded]
            compared = {"logits of the same prompt": difference(*logits)}
            for name, right in ours.accuracies.items():
                # One image on the edge may fall to either side, but not two.
                apart = abs(right[0] - theirs.accuracies[name][0]) * ours.n_test
                compared[f"{name}: pictures more than one apart"] = max(0.0, apart - 1.01)
            yield method, compared


@torch.no_grad()
def of_states(device: torch.device, dtype: torch.dtype) -> Differences:
    """Compare everything that the explorers show; also make their pages on the device."""
    there = moved(of_tower("Emoji-CLIP"), device, dtype)
    here = moved(there, CPU, torch.float32)
    names, pictures, _ = drawings(3)
    sides = []
    for clip in (there, here):
        seen = here.preprocess(pictures[:2]).to(clip.model.device, clip.model.dtype)
        read = {k: v.to(clip.model.device) for k, v in here.tokenize(names).items()}
        eye, words = compat.vision_states(clip.model, seen), compat.text_states(clip.model, **read)
        texts = clip.encode_text(names)
        some = torch.arange(0, 64, 3).expand(2, -1)
        shown = {
            f"{who} {part}": torch.stack(list(value)) if isinstance(value, tuple) else value
            for who, states in (("vision", eye), ("text", words))
            for part, value in states._asdict().items()
        }
        shown |= {
            "rollout": looking.rollout(eye.attentions),
            "by offset": looking.by_offset(eye.attentions[0]),
            "logits by layer": looking.logits_by_layer(clip.model, eye.hidden_states, texts),
            "maps": looking.patch_text_maps(clip.model, eye.last_hidden_state, texts),
            "from some patches": looking.features_from(clip.model, seen, some),
            "probabilities": clip.classify(pictures[:2], names),
        }
        sides.append(shown)
        explore(clip, pictures[0], texts=names)
        explore_text(clip, names[0])
    return differences(*sides)
