"""Train Emoji-CLIP, a small real CLIP, on drawings and names of things drawn by ten designers.

    python training/pretrain.py RUN_DIR --steps 5000     # starts, or goes on where a killed run was
    python training/pretrain.py RUN_DIR --export clipnotes/emoji_clip

With `--loss sigmoid` it trains Emoji-SigLIP: SigLIP's towers and loss, all the rest the same.

RUN_DIR holds log.jsonl and the newest checkpoint. The recipe: Muon trains the weight matrices, and
AdamW the rest. Patches are dropped in the first nine tenths of training (Li et al. 2023, FLIP).
Every pair of the same concept counts as a match. Augmentation and hard captions grow from none to
full over the first half. The exported weights are a running average.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn
from tqdm import tqdm

import emoji_clip
import emoji_siglip
from augment import augment
from captions import CATEGORY, caption
from emoji import EmojiPictures, load_pictures, normalize
from runs import averaged, follow, load_checkpoint, save_checkpoint, schedule, write_sums
from train_tokenizer import EOS, MAX_LENGTH, SOS, VOCAB_SIZE, build, save

BATCH = 256
KEPT_PATCHES = 20  # of 64
WARM_UP = 200  # steps
AVERAGE = 0.999  # per step, for the running average of the weights
CHECKPOINT_EVERY = 250  # steps
MODELS = {"softmax": emoji_clip, "sigmoid": emoji_siglip}  # by loss


def matches(concepts: Tensor, categories: Tensor, kinds: Tensor) -> Tensor:
    """Mark which captions j are true of which drawings i, as (B, B) floats."""
    same = concepts[:, None] == concepts[None]
    return (same | ((categories[:, None] == categories[None]) & (kinds == CATEGORY)[None])).float()


def optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Use Muon for the matrices of the encoders and projections, and AdamW for everything else."""
    matrices, rest = [], []
    for name, p in model.named_parameters():
        (matrices if p.ndim == 2 and "embedding" not in name else rest).append(p)
    decayed = [p for p in rest if p.ndim > 1]
    free = [p for p in rest if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": free, "weight_decay": 0.0}]
    return [
        torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1),
        torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.98)),
    ]


class Batches:
    """Endless batches: each round has every concept once, in a new order, by random designers."""

    def __init__(self, pictures: EmojiPictures, seed: int) -> None:
        self.pictures, self.rng = pictures, random.Random(seed)
        self.by_concept: dict[str, list[int]] = {}
        for i in pictures.train:
            self.by_concept.setdefault(pictures.rows[i]["codepoint"], []).append(i)
        self.waiting: list[str] = []

    def next(self, n: int) -> list[int]:
        if len(self.waiting) < n:
            fresh = sorted(self.by_concept)
            self.rng.shuffle(fresh)
            self.waiting += fresh
        taken, self.waiting = self.waiting[:n], self.waiting[n:]
        return [self.rng.choice(self.by_concept[c]) for c in taken]


class Training:
    """A run: the model, its running average, the optimizers and all that must survive a kill."""

    def __init__(
        self, kind: ModuleType, pictures: EmojiPictures, steps: int, seed: int, device: str
    ) -> None:
        torch.manual_seed(seed)
        self.kind, self.pictures, self.steps, self.seed = kind, pictures, steps, seed
        self.model = kind.new_model().to(device).train()
        kind.prepare(self.model)
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.optims = optimizers(self.model)
        self.rates = [[group["lr"] for group in optim.param_groups] for optim in self.optims]
        self.batches = Batches(pictures, seed)
        self.rng = torch.Generator().manual_seed(seed)
        self.tokenizer = build()
        self.tokenizer.enable_padding(pad_id=VOCAB_SIZE - 1, pad_token=EOS, **kind.PADDING)
        self.tokenizer.enable_truncation(MAX_LENGTH)
        self.done = 0  # steps

    def save(self, path: Path) -> None:
        """Save everything that must survive a kill."""
        save_checkpoint(path, self.done, self.model, self.average, self.optims)

    def resume(self, path: Path) -> None:
        """Go on from a saved state. New random numbers differ from those of an unbroken run."""
        device = self.model.device
        self.done, self.average = load_checkpoint(path, self.model, self.optims, device)
        for generator in (torch.default_generator, self.rng):
            generator.manual_seed(self.seed + self.done)
        self.batches.rng.seed(self.seed + self.done)

    def step(self) -> dict[str, float]:
        """Run one batch: forward, backward, both optimizers and the running average."""
        hardness = min(1.0, 2 * self.done / self.steps)
        for optim, rates in zip(self.optims, self.rates, strict=True):
            for group, rate in zip(optim.param_groups, rates, strict=True):
                group["lr"] = rate * schedule(self.done, self.steps, WARM_UP)

        model, pictures, device = self.model, self.pictures, self.model.device
        index = self.batches.next(BATCH)
        drawn = [caption(pictures.rows[i], hardness, self.batches.rng) for i in index]
        ids = self.tokenize([text for text, _ in drawn])
        kinds = torch.tensor([kind for _, kind in drawn])
        seen = normalize(augment(pictures.rgba[index].to(device), hardness, self.rng))
        kept = KEPT_PATCHES if self.done < 0.9 * self.steps else None
        features = self.kind.encode_pictures(model, seen, kept)  # (B, P)
        cosines = features @ self.kind.encode_captions(model, ids).T  # (B, B)
        match = matches(pictures.concept[index], pictures.category[index], kinds).to(device)
        loss = self.kind.loss_of(model, cosines, match)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {self.done}")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim in self.optims:
            optim.step()
            optim.zero_grad(set_to_none=True)
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
        follow(self.average, model, self.done, AVERAGE)
        self.done += 1
        return {"loss": loss.item(), "scale": model.logit_scale.exp().item(), "hardness": hardness}

    def tokenize(self, texts: list[str]) -> Tensor:
        """Texts -> (n, length) ids on the model's device."""
        encoded = self.tokenizer.encode_batch(texts)
        return torch.tensor([e.ids for e in encoded], device=self.model.device)

    def validate(self) -> dict[str, float]:
        """Return the scores of the running average."""
        current = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        scores = self.scores()
        self.model.load_state_dict(current)
        return scores

    @torch.no_grad()
    def scores(self) -> dict[str, float]:
        """Measure how often the validation drawings get the right one of all names."""
        model, pictures = self.model.eval(), self.pictures
        ids = self.tokenize([f"an emoji of a {name}" for name in pictures.names])
        labels = torch.tensor(
            [pictures.names.index(pictures.rows[i]["name"]) for i in pictures.validation]
        )
        rgba = pictures.rgba[pictures.validation].to(model.device)
        seen = normalize(augment(rgba, 0.0, torch.Generator()))
        cosines = self.kind.encode_pictures(model, seen) @ self.kind.encode_captions(model, ids).T
        model.train()
        top = cosines.cpu().topk(5, dim=1).indices == labels[:, None]
        return {"top1": top[:, 0].float().mean().item(), "top5": top.any(1).float().mean().item()}


def train(
    run: Path, kind: ModuleType, steps: int, seed: int, leave_out: str | None, device: str
) -> None:
    """Train for `steps`, and write RUN/checkpoint.safetensors and RUN/log.jsonl on the way."""
    run.mkdir(parents=True, exist_ok=True)
    training = Training(kind, load_pictures(leave_out), steps, seed, device)
    checkpoint, log = run / "checkpoint.safetensors", run / "log.jsonl"
    if checkpoint.exists():
        training.resume(checkpoint)
        print(f"going on from step {training.done}")
        rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        kept = [json.dumps(row) + "\n" for row in rows if row["step"] <= training.done]
        # A kill may have come between the two files, so the log may be ahead.
        log.write_text("".join(kept), encoding="utf-8")

    bar, began = tqdm(range(training.done, steps), initial=training.done, total=steps), time.time()
    for _ in bar:
        row = training.step()
        bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)
        if training.done % CHECKPOINT_EVERY == 0 or training.done == steps:
            row |= training.validate() | {"seconds": time.time() - began}
            with log.open("a", encoding="utf-8") as file:
                rounded = {k: round(v, 4) for k, v in row.items()}
                file.write(json.dumps({"step": training.done, **rounded}) + "\n")
            training.save(checkpoint)


def export(run: Path, kind: ModuleType, out: Path) -> None:
    """Write the averaged weights as a complete Hugging Face model directory, in float16."""
    step, average = averaged(run / "checkpoint.safetensors")
    model = kind.new_model()
    model.load_state_dict(average)
    model.half().save_pretrained(out)
    save(build(), out)
    card = {
        **kind.PROCESSOR,
        "do_resize": True,
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "do_convert_rgb": True,
    }
    (out / "preprocessor_config.json").write_text(
        json.dumps(card, indent=2) + "\n", encoding="utf-8"
    )
    write_sums(out)
    print(f"step {step} -> {out} ({SOS} {VOCAB_SIZE - 2}, {EOS} {VOCAB_SIZE - 1})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--loss", choices=tuple(MODELS), default="softmax")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--leave-out",
        metavar="STYLE",
        help="validate on this trained designer (to choose a recipe)",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--export", type=Path, metavar="DIR", help="write the model directory and stop"
    )
    args = parser.parse_args()
    if args.export:
        export(args.run, MODELS[args.loss], args.export)
    else:
        train(args.run, MODELS[args.loss], args.steps, args.seed, args.leave_out, args.device)


if __name__ == "__main__":
    main()
