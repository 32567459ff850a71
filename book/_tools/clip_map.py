"""What the book's drawing of CLIP holds: its boxes, its arrows, and the chapter of each.

This is the only place that knows them. A box stands in one of four lanes, at a step on the way from
the input to the loss: what is put in and taken out above, the vision tower, the text tower, and the
prompts with their training below. A new chapter is added to the boxes that it is about.

The letters are those of the notation page.
"""

from typing import NamedTuple

ABOVE, VISION, TEXT, BELOW = range(4)
TIMES = "\N{MULTIPLICATION SIGN}"
LAYERS, PATCHES = "loop", "(B, N, D)"
CLASS, POSITIONS = "+\N{NO-BREAK SPACE}class", "+\N{NO-BREAK SPACE}positions"
HERE, LLM = "enter here", "takes patches, a layer early"


class Box(NamedTuple):
    """A box, or a frame around boxes; it leads to the first of its chapters."""

    key: str
    name: str
    said: str  # what screen readers say, and the line "You are here"
    chapters: tuple[int, ...]
    lane: int
    step: int
    shape: str = ""
    note: str = ""
    steps: int = 1
    lanes: int = 1
    frame: int = 0  # 0 for a box, 1 for a frame around boxes, 2 for one around frames


class Arrow(NamedTuple):
    """An arrow between two boxes; a dashed one is what a later chapter adds."""

    start: str
    end: str
    dashed: bool = False
    around: bool = False  # on the outer side of the last lane, past the boxes in between


#: Frames first: what is drawn later lies on top.
BOXES = (
    Box("clip", "CLIPModel", "the whole model", (1,), VISION, 1, steps=9, lanes=2, frame=2),
    Box("layers", LAYERS, "the loop over the layers", (4,), VISION, 3, steps=3, frame=1),
    Box("text layers", LAYERS, "the text tower's layers", (7, 10), TEXT, 3, steps=3, frame=1),
    # An image's way
    Box("pixels", "pixels", "the pixels", (2,), VISION, 0, "(B, 3, S, S)"),
    Box("patches", "patches", "the patches", (2,), VISION, 1, PATCHES),
    Box("tokens", "tokens", "the tokens", (2,), VISION, 2, "(B, L, D)", f"{CLASS} {POSITIONS}"),
    Box("attention", "attention", "attention", (3, 12), VISION, 3, note="tokens mix"),
    Box("mlp", "MLP", "the MLP", (3,), VISION, 4, note="each alone"),
    Box("pooled", "pooled", "the pooled output", (5,), VISION, 6, "(B, D)", "class token"),
    Box("image", "projected", "the image's projection", (6,), VISION, 7, "(B, P)", "a matrix"),
    # A text's way
    Box("ids", "text → ids", "from text to ids", (7,), TEXT, 0, "(T, L)"),
    Box("embeddings", "embeddings", "the text's embeddings", (7, 8), TEXT, 1, "(T, L, D)"),
    Box("text tokens", "tokens", "the text's tokens", (7,), TEXT, 2, "(T, L, D)", POSITIONS),
    Box("causal", "attention", "causal attention", (7,), TEXT, 3, note="never looks ahead"),
    Box("text mlp", "MLP", "the text tower's MLP", (7,), TEXT, 4, note="each alone"),
    Box("end", "pooled", "the vector at the end token", (7, 8), TEXT, 6, "(T, D)", "end token"),
    Box("text", "projected", "the text's projection", (6,), TEXT, 7, "(T, P)", "a matrix"),
    # Where they meet
    Box("cosine", "cosine", "the cosine", (6,), VISION, 8, "(T, B)", "of unit vectors", lanes=2),
    Box("logits", "logits", "the logits", (6, 11), VISION, 9, "(T, B)", f"{TIMES} scale"),
    Box("loss", "loss", "the loss", (6, 13), TEXT, 9, note="softmax, twice"),
    # What is put in and taken out, and what a training moves
    Box("houses", "SigLIP", "SigLIP and other models", (15,), ABOVE, 0),
    Box("visual", "visual prompts", "visual prompts", (11,), ABOVE, 1, "", HERE, 2),
    Box("maps", "attention maps", "attention maps", (12,), ABOVE, 3, "", "where it looks", 2),
    Box("llm", "multimodal LLM", "what a multimodal LLM takes", (16, 5), ABOVE, 5, PATCHES, LLM, 3),
    Box("fails", "where it fails", "what goes wrong", (14,), ABOVE, 8, "", "photographs, pens", 2),
    Box("prompts", "learnable prompts", "learnable prompts", (8, 9, 11), BELOW, 0, "", HERE, 2),
    Box("fast", "exact and fast", "fast prompts", (10,), BELOW, 2, "", "cut, share, pack", 4),
    Box("few", "train a prompt", "a prompt's training", (9,), BELOW, 6, "", "CLIP stays frozen", 2),
    Box("all", "train CLIP", "the training of a whole CLIP", (13,), BELOW, 8, "", "Emoji-CLIP", 2),
)

ARROWS = (
    Arrow("pixels", "patches"),
    Arrow("patches", "tokens"),
    Arrow("tokens", "attention"),
    Arrow("attention", "mlp"),
    Arrow("layers", "pooled"),
    Arrow("pooled", "image"),
    Arrow("image", "cosine"),
    Arrow("ids", "embeddings"),
    Arrow("embeddings", "text tokens"),
    Arrow("text tokens", "causal"),
    Arrow("causal", "text mlp"),
    Arrow("text layers", "end"),
    Arrow("end", "text"),
    Arrow("text", "cosine"),
    Arrow("cosine", "logits"),
    Arrow("logits", "loss"),
    Arrow("visual", "tokens", dashed=True),
    Arrow("attention", "maps"),
    Arrow("layers", "llm"),
    Arrow("logits", "fails", dashed=True),
    Arrow("prompts", "embeddings"),
    Arrow("fast", "text layers", dashed=True),
    Arrow("loss", "all", dashed=True),
    Arrow("loss", "few", dashed=True),
    Arrow("few", "prompts", dashed=True, around=True),
)


def of_chapter(number: int) -> list[Box]:
    """Return the boxes that a chapter is about, in the order in which the data leaves them."""
    return sorted(
        (box for box in BOXES if number in box.chapters), key=lambda box: box.step + box.steps
    )


def listed(words: list[str]) -> str:
    """Join words as one would say them."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def told() -> str:
    """Say in words what the whole drawing shows."""
    return (
        "CLIP in one drawing. The vision tower takes pixels, makes patches of them, adds a class "
        "token and positions, and sends these tokens through layers of attention and MLP; the "
        "state of the class token is pooled and projected into the shared space. The text tower "
        "takes ids, makes embeddings, adds positions, and sends them through layers whose "
        "attention never looks ahead; the state of the end token is pooled and projected. The "
        "cosines of both, times a scale, are the logits, and the loss is made of them. Learnable "
        "prompts enter at the text embeddings, visual prompts at the vision tower's tokens. "
        "Attention maps come out of attention, and a multimodal language model takes the patch "
        "tokens one layer before the end. Where a CLIP fails is read off its logits. Apart "
        "from all this stand SigLIP and other models with two towers."
    )
