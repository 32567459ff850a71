"""Train Emoji-CLIP, a small real CLIP, on pictures and names of things drawn by ten designers.

    python training/pretrain.py RUN_DIR --steps 5000     # starts, or goes on where a killed run was
    python training/pretrain.py RUN_DIR --export clipnotes/emoji_clip

RUN_DIR holds log.jsonl and the newest checkpoint. Recipe: Muon on the weight matrices and AdamW on
the rest; patches dropped in the first nine tenths of training (Li et al. 2023, FLIP); every pair
of the same concept counts as a match; augmentation and hard captions grow from none to full over
the first half; the exported weights are a running average.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import time
from pathlib import Path

import torch
from augment import augment
from captions import CATEGORY, caption
from emoji import Pictures, load_pictures, normalize
from emoji_clip import encode_captions, encode_pictures, fuse_activations, new_model
from torch import Tensor, nn
from tqdm import tqdm
from train_tokenizer import EOS, MAX_LENGTH, SOS, VOCAB_SIZE, build, save
from transformers import CLIPModel

BATCH = 256
KEPT_PATCHES = 20  # of 64
WARM_UP = 200  # steps
AVERAGE = 0.999  # per step, for the running average of the weights
SMOOTHING = 0.1  # of the targets, over the batch


def matches(concepts: Tensor, categories: Tensor, kinds: Tensor) -> Tensor:
    """(B, B) of floats: 1 where caption j is true of picture i."""
    same = concepts[:, None] == concepts[None]
    return (same | ((categories[:, None] == categories[None]) & (kinds == CATEGORY)[None])).float()


def loss_of(logits: Tensor, match: Tensor) -> Tensor:
    """Cross-entropy both ways; the target is spread over all true pairs, and a little over all."""
    total = logits.new_zeros(())
    for rows, true in ((logits, match), (logits.T, match.T)):
        target = true / true.sum(1, keepdim=True)
        target = (1 - SMOOTHING) * target + SMOOTHING / target.shape[1]
        total = total - (target * rows.log_softmax(1)).sum(1).mean() / 2
    return total


def optimizers(model: CLIPModel) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of encoders and projections, AdamW for tables, vectors, filters."""
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


def schedule(step: int, steps: int) -> float:
    """The factor of the learning rates: up in WARM_UP steps, then half a cosine down to 2 %."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    return 0.02 + 0.49 * (1 + math.cos(math.pi * (step - WARM_UP) / max(1, steps - WARM_UP)))


class Batches:
    """Endless batches: every concept once a round, in a new order, by a random designer."""

    def __init__(self, pictures: Pictures, seed: int) -> None:
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


@torch.no_grad()
def validate(model: CLIPModel, pictures: Pictures, tokenizer) -> dict[str, float]:
    """Naming the validation pictures among all names."""
    model.eval()
    texts = [f"an emoji of a {name}" for name in pictures.names]
    ids = torch.tensor([e.ids for e in tokenizer.encode_batch(texts)], device=model.device)
    labels = torch.tensor(
        [pictures.names.index(pictures.rows[i]["name"]) for i in pictures.validation]
    )
    seen = normalize(
        augment(pictures.rgba[pictures.validation].to(model.device), 0.0, torch.Generator())
    )
    logits = (encode_pictures(model, seen) @ encode_captions(model, ids).T).cpu()
    model.train()
    top = logits.topk(5, dim=1).indices == labels[:, None]
    return {"top1": top[:, 0].float().mean().item(), "top5": top.any(1).float().mean().item()}


def write_atomically(path: Path, write) -> None:
    part = path.with_suffix(".part")
    write(part)
    os.replace(part, path)


def train(run: Path, steps: int, seed: int, leave_out: str | None, device: str) -> None:
    run.mkdir(parents=True, exist_ok=True)
    pictures = load_pictures(leave_out)
    tokenizer = build()
    tokenizer.enable_padding(pad_id=VOCAB_SIZE - 1, pad_token=EOS)
    tokenizer.enable_truncation(MAX_LENGTH)
    torch.manual_seed(seed)
    model = new_model().to(device).train()
    fuse_activations(model)
    average = {k: v.clone() for k, v in model.state_dict().items()}
    optims, batches = optimizers(model), Batches(pictures, seed)
    rng, start = torch.Generator().manual_seed(seed), 0

    checkpoint = run / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        average, start = state["average"], state["step"]
        for optim, saved in zip(optims, state["optims"], strict=True):
            optim.load_state_dict(saved)
        torch.manual_seed(
            seed + start
        )  # a resumed run draws other samples than an unbroken one would have
        rng.manual_seed(seed + start)
        batches.rng.seed(seed + start)
        print(f"going on from step {start}")
    rates = [
        [g["initial_lr"] if "initial_lr" in g else g["lr"] for g in o.param_groups] for o in optims
    ]

    def save_checkpoint(step: int) -> None:
        state = {"model": model.state_dict(), "average": average, "step": step}
        state["optims"] = [o.state_dict() for o in optims]
        write_atomically(checkpoint, lambda path: torch.save(state, path))

    bar, began = tqdm(range(start, steps), initial=start, total=steps), time.time()
    for step in bar:
        hardness = min(1.0, 2 * step / steps)
        for optim, lrs in zip(optims, rates, strict=True):
            for group, lr in zip(optim.param_groups, lrs, strict=True):
                group["initial_lr"] = lr
                group["lr"] = lr * schedule(step, steps)

        index = batches.next(BATCH)
        drawn = [caption(pictures.rows[i], hardness, batches.rng) for i in index]
        ids = torch.tensor([e.ids for e in tokenizer.encode_batch([text for text, _ in drawn])])
        kinds = torch.tensor([kind for _, kind in drawn])
        seen = normalize(augment(pictures.rgba[index].to(device), hardness, rng))
        kept = KEPT_PATCHES if step < 0.9 * steps else None
        logits = encode_pictures(model, seen, kept) @ encode_captions(model, ids.to(device)).T
        match = matches(pictures.concept[index], pictures.category[index], kinds).to(device)
        loss = loss_of(logits * model.logit_scale.exp(), match)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss {loss.item()} at step {step}")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim in optims:
            optim.step()
            optim.zero_grad(set_to_none=True)
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
            rate = min(AVERAGE, (step + 1) / (step + 10))
            for k, v in model.state_dict().items():
                average[k].lerp_(v, 1 - rate) if v.is_floating_point() else average[k].copy_(v)

        done = step + 1
        if done % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
        if done % 250 == 0 or done == steps:
            current = nn.Module.state_dict(model)
            keep = {k: v.clone() for k, v in current.items()}
            model.load_state_dict(average)
            scores = validate(model, pictures, tokenizer)
            model.load_state_dict(keep)
            row = {
                "step": done,
                "loss": round(loss.item(), 4),
                "seconds": round(time.time() - began, 1),
            }
            row |= {k: round(v, 4) for k, v in scores.items()}
            row |= {
                "scale": round(model.logit_scale.exp().item(), 2),
                "hardness": round(hardness, 3),
            }
            row |= {
                "match": round(
                    (match.argmax(1) == logits.argmax(1).to(match.device)).float().mean().item(), 4
                )
            }
            with (run / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            save_checkpoint(done)
    print((run / "log.jsonl").read_text().splitlines()[-1])


def export(run: Path, out: Path) -> None:
    """The averaged weights as a Hugging Face model directory in float16, with all it needs."""
    state = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    model = new_model()
    model.load_state_dict(state["average"])
    model.half().save_pretrained(out)
    save(build(), out)
    card = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": 64},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 64, "width": 64},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "do_convert_rgb": True,
    }
    (out / "preprocessor_config.json").write_text(json.dumps(card, indent=2) + "\n")
    (out / "model.safetensors").chmod(0o644)
    files = sorted(f for f in out.iterdir() if f.suffix in (".json", ".txt", ".safetensors"))
    sums = [f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in files]
    (out / "SHA256SUMS").write_text("".join(sums))
    print(f"step {state['step']} -> {out} ({SOS} {VOCAB_SIZE - 2}, {EOS} {VOCAB_SIZE - 1})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
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
        export(args.run, args.export)
    else:
        train(args.run, args.steps, args.seed, args.leave_out, args.device)


if __name__ == "__main__":
    main()
