"""Train Emoji-LLaVA: a small language model that sees through Emoji-CLIP's frozen vision tower.

    python training/llava.py RUN_DIR --steps 6000      # starts, or goes on where a killed run was
    python training/llava.py RUN_DIR --export clipnotes/emoji_llava

The model is transformers' own LlavaForConditionalGeneration: the tower, two linear layers (the
projector) and a Llama. What the language model is shown can be chosen with --shown: LLaVA's own
way is `patches`, the patches of the layer before the last. The recipe: Muon trains the weight
matrices of the Llama, AdamW the rest; each scene is read once and asked six questions, packed
behind it. The exported weights are a running average. Everything was chosen on validation scenes
of trained designers' drawings; training/llava_test.py looks at the test scenes afterwards.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

import clipnotes
from clipnotes.compat.llava import llava_parts
from clipnotes.llava import NAMES
from emoji import load_pictures
from llava_data import (
    ASSISTANT,
    BOS,
    EOS,
    USER,
    WEIGHTS,
    Packed,
    Seen,
    augmented,
    draw_questions,
    endless,
    one_of_each,
    pack,
    plain,
    see,
    shows,
    tokenizer,
)
from llava_model import SHAPE, SHOWN, TOKENS, answers, new_model
from runs import averaged, follow, load_checkpoint, save_checkpoint, schedule, write_sums

SCENES, VALIDATION = 60_000, 1_000
BATCH = 32  # scenes
WARM_UP = 100  # steps
AVERAGE = 0.998  # per step
CHECKPOINT_EVERY = 250  # steps
NAMING = 0.5  # weight of the loss that asks what each image token shows


@dataclass(frozen=True)
class Recipe:
    """What a run is made of, beside its seed. The defaults are those of the model that ships."""

    steps: int  # the rates fall towards it
    shown: str = "patches"  # a key of SHOWN
    batch: int = BATCH
    weights: Mapping[str, float] = field(default_factory=lambda: WEIGHTS)  # of sorts of questions
    among: Sequence[str] = NAMES  # what absent things are drawn from
    alone: int = 0  # for so many steps the projector learns alone, as in LLaVA's first stage


class Training:
    """A run: the model, its running average, the optimizers and all that must survive a kill."""

    def __init__(self, clip: clipnotes.Clip, recipe: Recipe, seed: int) -> None:
        torch.manual_seed(seed)
        self.clip, self.recipe, self.seed = clip, recipe, seed
        self.model = new_model(clip, SHAPE)
        self.model.model.vision_tower = None  # its states are in the cache
        self.words = tokenizer()
        ids = [self.words.token_to_id(BOS), self.words.token_to_id(USER)]
        self.begin = torch.tensor(ids)
        self.assistant, self.eos = self.words.token_to_id(ASSISTANT), self.words.token_to_id(EOS)
        matrices, rest = [], []
        for name, p in self.model.named_parameters():
            (matrices if p.ndim == 2 and "layers" in name else rest).append(p)
        self.optims = [
            torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1),
            torch.optim.AdamW(rest, lr=3e-3, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.rates = [optim.param_groups[0]["lr"] for optim in self.optims]
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.rng = random.Random(seed)
        self.done = 0  # steps
        self.order = None

    def pack(self, asked) -> Packed:
        encode = lambda text: self.words.encode(text, add_special_tokens=False).ids  # noqa: E731
        return pack(asked, encode, self.eos, self.assistant)

    def step(self, seen: Seen) -> dict[str, float]:
        """Run one batch: forward, backward, both optimizers and the running average."""
        recipe = self.recipe
        if self.order is None:
            self.order = endless(len(seen), recipe.batch, self.rng)
        for optim, rate in zip(self.optims, self.rates, strict=True):
            optim.param_groups[0]["lr"] = rate * schedule(self.done, recipe.steps, WARM_UP)
        index = next(self.order)
        scenes = [seen.scenes[i] for i in index]
        asked = [draw_questions(s, self.rng, recipe.weights, recipe.among) for s in scenes]
        packed = self.pack(asked)
        named = [shows(scene, self.rng) for scene in scenes]
        names = torch.tensor([[self.words.token_to_id(word) for word in row] for row in named])
        shown, names = self.show(seen.states[index].float(), names)
        logits, right, image = answers(self.model, shown, packed, self.begin)
        loss = F.cross_entropy(logits, right)
        naming = F.cross_entropy(self.model.lm_head(image).flatten(0, 1), names.flatten())
        naming = naming if names.numel() else loss.new_zeros(())
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {self.done}")
        (loss + NAMING * naming).backward()
        if self.done < recipe.alone:
            for name, p in self.model.named_parameters():
                p.grad = p.grad if "multi_modal_projector" in name else None
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optim in self.optims:
            optim.step()
            optim.zero_grad(set_to_none=True)
        follow(self.average, self.model, self.done, AVERAGE)
        self.done += 1
        return {"loss": loss.item(), "naming": naming.item()}

    @torch.no_grad()
    def show(self, states: Tensor, names: Tensor) -> tuple[Tensor, Tensor]:
        """Select what the language model is shown, (B, n, D), and what each of it shows, (B, n)."""
        if self.recipe.shown == "shuffled":  # the patches of each image, in an order of its own
            order = torch.rand(len(states), 64).argsort(1) + 1
            order = torch.cat([torch.zeros(len(states), 1, dtype=torch.long), order], 1)  # (B, 65)
            states = states.gather(2, order[:, None, :, None].expand_as(states))
            names = names.gather(1, order)
        shown = SHOWN[self.recipe.shown](self.clip.model, states)
        return shown, names[:, TOKENS.get(self.recipe.shown, slice(1, 65))]

    def validate(self, seen: Seen, seed: int = 0) -> dict[str, float]:
        """Return each sort's share of exactly right answers, by the running average."""
        current = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        scores = self.scores(seen, seed)
        self.model.load_state_dict(current)
        return scores

    @torch.no_grad()
    def scores(self, seen: Seen, seed: int = 0) -> dict[str, float]:
        """Ask one question of each sort about each scene.

        A greedy answer is the right one if, and only if, each of its tokens is the most probable
        one after the right ones before it. So no answer has to be generated to be counted.
        """
        rng = random.Random(seed)
        torch.manual_seed(seed)  # for `shuffled`
        asked = [one_of_each(scene, rng, self.recipe.among) for scene in seen.scenes]
        right: dict[str, list[bool]] = {}
        for start in range(0, len(seen), 64):
            part = asked[start : start + 64]
            packed = self.pack(part)
            states = seen.states[start : start + 64].float()
            shown, _ = self.show(states, torch.zeros(states.shape[0], 65, dtype=torch.long))
            logits, wanted, _ = answers(self.model, shown, packed, self.begin)
            hit = torch.ones_like(packed.target, dtype=torch.bool)
            hit[packed.target != -100] = logits.argmax(-1) == wanted
            for i, questions in enumerate(part):
                for k, question in enumerate(questions, 1):
                    all_hit = bool(hit[i][packed.segment[i] == k].all())
                    right.setdefault(question.sort, []).append(all_hit)
        return {sort: sum(hits) / len(hits) for sort, hits in right.items()}

    def save(self, path: Path) -> None:
        """Save everything that must survive a kill."""
        save_checkpoint(path, self.done, self.model, self.average, self.optims)

    def resume(self, path: Path) -> None:
        """Go on from a saved state, with new random numbers."""
        self.done, self.average = load_checkpoint(path, self.model, self.optims)
        self.rng.seed(self.seed + self.done)


def train(run: Path, shown: str, steps: int, seed: int, scenes: int) -> None:
    """Train for `steps`, and write RUN/checkpoint.safetensors and RUN/log.jsonl on the way."""
    run.mkdir(parents=True, exist_ok=True)
    clip, pictures = clipnotes.load(), load_pictures()
    training = Training(clip, Recipe(steps, shown), seed)
    checkpoint, log = run / "checkpoint.safetensors", run / "log.jsonl"
    if checkpoint.exists():
        training.resume(checkpoint)
        print(f"going on from step {training.done}")
    valid = see(clip, plain(pictures, pictures.validation), VALIDATION, seed=1)
    seen = see(clip, augmented(pictures, pictures.train, seed), scenes, seed=seed)
    bar, began = tqdm(range(training.done, steps), initial=training.done, total=steps), time.time()
    rows: list[dict[str, float]] = []
    for _ in bar:
        rows.append(training.step(seen))
        if training.done % CHECKPOINT_EVERY == 0 or training.done == steps:
            row = {name: sum(r[name] for r in rows) / len(rows) for name in rows[0]}
            row |= training.validate(valid)
            rows = []
            row["seconds"] = time.time() - began
            with log.open("a", encoding="utf-8") as file:
                rounded = {k: round(v, 4) for k, v in row.items()}
                file.write(json.dumps({"step": training.done, **rounded}) + "\n")
            training.save(checkpoint)


def export(run: Path, out: Path) -> None:
    """Write what ships: the averaged weights of projector and language model, in float16."""
    clip = clipnotes.load()
    model = new_model(clip, SHAPE)
    step, average = averaged(run / "checkpoint.safetensors")
    missing, unknown = model.load_state_dict(average, strict=False)
    assert not unknown
    assert all("vision_tower" in name for name in missing)
    out.mkdir(parents=True, exist_ok=True)
    parts = llava_parts(model)
    tensors = {
        f"{part}.{name}": value.half().contiguous()
        for part in ("projector", "language_model")
        for name, value in getattr(parts, part).state_dict().items()
    }
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    model.config.save_pretrained(out)
    tokenizer().save(str(out / "tokenizer.json"))
    write_sums(out)
    print(f"step {step} -> {out}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--shown", choices=tuple(SHOWN), default="patches")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--export", type=Path, metavar="DIR", help="write what ships, and stop")
    args = parser.parse_args()
    if args.export:
        export(args.run, args.export)
        return
    train(args.run, args.shown, args.steps, args.seed, args.scenes)


if __name__ == "__main__":
    main()
