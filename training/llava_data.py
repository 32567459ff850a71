"""What Emoji-LLaVA is trained on: scenes seen by the frozen tower, and packed questions."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from tqdm import tqdm

import clipnotes
from augment import move, outline, recolour
from clipnotes.llava import CORE, NAMES, Question, Scene, questions, words
from clipnotes.llava.scenes import MIDDLE, PLACES, make_scene
from clipnotes.llava.things import CALLED, KIND_OF
from emoji import EmojiPictures

PAD, BOS, EOS, UNK, IMAGE = "<pad>", "<s>", "</s>", "<unk>", "<image>"
USER, ASSISTANT = "USER:", "ASSISTANT:"
VARIANTS = 8  # augmented copies of each drawing
PER_SCENE = 6  # questions asked about a scene in one step
# How often a sort of question is drawn. What is learned at once is asked rarely.
WEIGHTS = {
    "name": 4.0,
    "kind": 2.0,
    "what is at": 1.5,
    "anything at": 0.15,
    "count": 0.3,
    "colour": 0.3,
    "describe": 3.0,
    "is there": 0.7,
    "how many": 0.5,
    "where": 1.2,
    "beside": 1.0,
}


def tokenizer() -> Tokenizer:
    """Build a tokenizer of whole words: so few that each can have a vector of its own."""
    special = [PAD, BOS, EOS, UNK, IMAGE]
    vocabulary = [*special, USER, ASSISTANT, *words()]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(vocabulary)}, unk_token=UNK))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(r"[?.,!]"), behavior="isolated"),
        ]
    )
    made.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, vocabulary.index(BOS))]
    )
    made.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in special])
    made.add_tokens([AddedToken(t, normalized=False) for t in (USER, ASSISTANT)])
    return made


def augmented(
    pictures: EmojiPictures, rows: Sequence[int], seed: int
) -> dict[str, list[Image.Image]]:
    """Draw the things of these rows, each in VARIANTS copies: turned, recoloured, outlined."""
    rng = torch.Generator().manual_seed(seed)
    found: dict[str, list[Image.Image]] = {}
    for i in tqdm(rows, desc="drawings"):
        name = CALLED.get(pictures.rows[i]["name"], pictures.rows[i]["name"])
        if name not in KIND_OF:
            continue
        rgba = pictures.rgba[i].float().div(255).expand(VARIANTS, -1, -1, -1)  # (V, 4, 64, 64)
        alpha = rgba[:, 3:]
        moved = move(torch.cat([rgba[:, :3] * alpha, alpha], 1), 0.5, rng)
        alpha = moved[:, 3:].clamp(0, 1)
        rgb = recolour((moved[:, :3] / alpha.clamp(min=1e-3)).clamp(0, 1), 0.7, rng)
        lined = torch.rand(VARIANTS, generator=rng) < 0.3
        wide = torch.rand(int(lined.sum()), 1, 1, 1, generator=rng) < 0.5
        rgb[lined], alpha[lined] = outline(rgb[lined], alpha[lined], wide)
        copies = torch.cat([rgb, alpha], 1).mul(255).round().byte().permute(0, 2, 3, 1).numpy()
        found.setdefault(name, []).extend(Image.fromarray(c, "RGBA") for c in copies)
    return found


def plain(pictures: EmojiPictures, rows: Sequence[int]) -> dict[str, list[Image.Image]]:
    """Take the drawings of these rows as they are, by the names that are used here."""
    found: dict[str, list[Image.Image]] = {}
    for i in rows:
        name = CALLED.get(pictures.rows[i]["name"], pictures.rows[i]["name"])
        if name in KIND_OF:
            drawn = pictures.rgba[i].permute(1, 2, 0).contiguous().numpy()
            found.setdefault(name, []).append(Image.fromarray(drawn, "RGBA"))
    return found


@dataclass
class Seen:
    """Scenes, and the tower's hidden states of them before and after its last layer."""

    scenes: list[Scene]
    states: Tensor  # (n, 2, 65, D) float16

    def __len__(self) -> int:
        return len(self.scenes)


@torch.no_grad()
def look(clip: clipnotes.Clip, scenes: list[Scene], batch: int = 256) -> Seen:
    """Send scenes through the frozen vision tower; their images are not needed after that."""
    tower, states = clip.model.vision_model, []
    for start in range(0, len(scenes), batch):
        pixels = clip.preprocess([s.image for s in scenes[start : start + batch]])
        hidden = tower(pixel_values=pixels, output_hidden_states=True).hidden_states
        states.append(torch.stack([hidden[-2], hidden[-1]], 1).half())
    blank = Image.new("RGB", (1, 1))
    return Seen([replace(scene, image=blank) for scene in scenes], torch.cat(states))


def see(
    clip: clipnotes.Clip,
    drawings: dict[str, list[Image.Image]],
    n: int,
    seed: int,
    core_share: float = 0.5,
) -> Seen:
    """Make n scenes by a seed, some of them of the things in CORE alone, and look at them."""
    rng = random.Random(seed)
    core = {name: drawings[name] for name in CORE if name in drawings}
    parts = []
    for start in tqdm(range(0, n, 4096), desc="scenes"):
        scenes = [
            make_scene(core if rng.random() < core_share else drawings, rng)
            for _ in range(min(4096, n - start))
        ]
        parts.append(look(clip, scenes))
    return Seen(
        [scene for part in parts for scene in part.scenes], torch.cat([p.states for p in parts])
    )


def shows(scene: Scene, rng: random.Random) -> list[str]:
    """Name what each of the tower's tokens shows, by one word: 65 of them.

    For the class token, one of the things; for a patch, what is drawn in its quarter of the image,
    or the colour of the background where nothing is.
    """
    if MIDDLE in scene.things:
        here = [scene.things[MIDDLE]] * 64
    else:
        quarter = [PLACES[row // 4 * 2 + column // 4] for row in range(8) for column in range(8)]
        here = [scene.things.get(place, scene.background) for place in quarter]
    return [rng.choice(name.split()) for name in (rng.choice([*scene.things.values()]), *here)]


@dataclass
class Packed:
    """Questions about B scenes: each is a segment of its own behind the image of its scene.

    A question sees the image and itself, and its positions go on behind the image. So the model
    answers it as if it had been asked alone, and the image is read once for all of them.
    """

    ids: Tensor  # (B, T) tokens behind the image
    segment: Tensor  # (B, T) number of the question, from 1; 0 is padding
    position: Tensor  # (B, T) within its own text, from 0
    target: Tensor  # (B, T) the next token where it belongs to an answer, else -100


def pack(batch: Sequence[Sequence[Question]], tokens: Any, eos: int, assistant: int) -> Packed:
    rows = []
    for asked in batch:
        row: list[tuple[int, int, int, int]] = []
        for k, question in enumerate(asked, 1):
            said = [*tokens(question.text), assistant]
            answer = [*tokens(question.answer), eos]
            ids = said + answer[:-1]
            target = [-100] * (len(said) - 1) + answer
            row += [(i, k, p, t) for p, (i, t) in enumerate(zip(ids, target, strict=True))]
        rows.append(row)
    longest = max(map(len, rows))
    padded = [row + [(0, 0, 0, -100)] * (longest - len(row)) for row in rows]
    return Packed(*torch.tensor(padded).unbind(-1))


def mask_of(packed: Packed, n_prefix: int) -> Tensor:
    """Say who sees whom, (B, 1, n_prefix + T, n_prefix + T): True where a token may look."""
    b, _ = packed.segment.shape
    segment = torch.cat([torch.zeros(b, n_prefix, dtype=torch.long), packed.segment], 1)
    total = segment.shape[1]
    before = torch.ones(total, total, dtype=torch.bool).tril()
    prefix = torch.arange(total) < n_prefix
    same = segment[:, :, None] == segment[:, None, :]  # (B, L, L)
    return ((same | prefix) & before)[:, None]


def draw_questions(
    scene: Scene,
    rng: random.Random,
    weights: Mapping[str, float] = WEIGHTS,
    among: Sequence[str] = NAMES,
    n: int = PER_SCENE,
) -> list[Question]:
    """Draw n of the questions about a scene, each at most once, by the weights of their sorts."""
    asked = questions(scene, rng, among)
    keys = [rng.random() ** (1 / weights.get(q.sort, 1.0)) for q in asked]
    return [q for _, q in sorted(zip(keys, asked, strict=True), key=lambda kq: -kq[0])[:n]]


def one_of_each(scene: Scene, rng: random.Random, among: Sequence[str] = NAMES) -> list[Question]:
    """Draw one question of each sort that the scene allows: what a test asks."""
    by_sort: dict[str, list[Question]] = {}
    for question in questions(scene, rng, among):
        by_sort.setdefault(question.sort, []).append(question)
    return [rng.choice(asked) for asked in by_sort.values()]


def endless(n: int, size: int, rng: random.Random) -> Iterator[list[int]]:
    """Yield numbers below n in batches, each round in a new order."""
    while True:
        order = list(range(n))
        rng.shuffle(order)
        for start in range(0, n - size + 1, size):
            yield order[start : start + size]
