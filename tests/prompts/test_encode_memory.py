"""What the fast path costs: no product in vain, no weight copied, and memory within the budget."""

import gc
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from both_paths import draw_ctx
from clipnotes.compat import text_tower
from clipnotes.prompts import PromptLearner
from clipnotes.prompts import encode as encoding
from clipnotes.prompts.encode import encode
from clipnotes.prompts.layout import Layout
from clipnotes.prompts.packed import bytes_per_token, run_chunk
from reference_prompts import MANY, NAMES, POSITIONS

# The fast path says when it is not taken: here it must be.
pytestmark = pytest.mark.filterwarnings("error")


# Nothing in vain


class Products(TorchDispatchMode):
    """Count the multiplications of matrix products, and look at every tensor that is made."""

    def __init__(self):
        super().__init__()
        self.flops = 0
        self.made = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            a, b = [x for x in args if isinstance(x, torch.Tensor)][-2:]
            self.flops += a.shape[0] * a.shape[1] * b.shape[1]
        for made in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(made, torch.Tensor):
                self.made.append((made.numel(), made.untyped_storage().data_ptr()))
        return out


def flops(model, layout, ctx, back=False, **kwargs):
    with Products() as products:
        features = encode(model, layout, ctx, **kwargs)
        forward = products.flops
        if back:
            features.sum().backward()
            return products.flops - forward
    return forward


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("position", POSITIONS)
def test_no_product_is_computed_in_vain(clip, position, per_class):
    tower = text_tower(clip.model)
    width, wide = tower.config.hidden_size, tower.config.intermediate_size
    n_layers = len(tower.encoder.layers)
    layout = Layout.build(clip.tokenizer, MANY, 8, limit=32, position=position)
    ctx = draw_ctx(clip, layout, per_class).requires_grad_(True)
    n_classes, n_all = len(MANY), int((layout.eos + 1).sum())
    # Shared: start and context (or its half) once. Per class, or behind the names: the start.
    common = 1 if per_class or position == "front" else {"end": 9, "middle": 5}[position]
    rows = n_all - (n_classes - 1) * common
    first = layout.ctx_positions.min(dim=1).values
    constant = 0 if common > 1 else common + int((first - 1).sum())
    attend, mlp = 4 * width**2, 2 * width * wide
    head = n_classes * width * clip.model.config.projection_dim
    kv = 2 * width**2
    full = (n_layers - 1) * (attend + mlp)
    asked = n_classes * (attend - kv + mlp)
    assert flops(clip.model, layout, ctx) == rows * (full + kv) + asked + head
    varying = rows - constant
    assert flops(clip.model, layout, ctx, back=True) == varying * (full + kv) + asked + head


def test_no_weight_is_copied(clip):
    model = clip.model
    layout = Layout.build(clip.tokenizer, NAMES, 4, limit=32)
    ctx = draw_ctx(clip, layout, False).requires_grad_(True)
    encode(model, layout, ctx)
    smallest = min(w.numel() for w in model.text_model.encoder.parameters() if w.dim() == 2)
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    with Products() as products:
        encode(model, layout, ctx).sum().backward()
    fresh = [size for size, storage in products.made if storage not in weights]
    assert len(fresh) > 100
    assert max(fresh) < smallest


# Memory


class Peak(TorchDispatchMode):
    """Follow the bytes of living storages that were made inside."""

    def __init__(self):
        super().__init__()
        self.alive, self.peak = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given = {
            x.untyped_storage().data_ptr()
            for x in [*args, *(kwargs or {}).values()]
            if isinstance(x, torch.Tensor)
        }
        for x in out if isinstance(out, (tuple, list)) else (out,):
            if not isinstance(x, torch.Tensor):
                continue
            storage = x.untyped_storage()
            key = storage.data_ptr()
            if key in self.alive or key in given or not storage.nbytes():
                continue
            self.alive[key] = storage.nbytes()
            weakref.finalize(storage, self.alive.pop, key, None)
            self.peak = max(self.peak, sum(self.alive.values()))
        return out


def peak(model, layout, ctx, **kwargs):
    encode(model, layout, ctx, **kwargs)  # packs
    gc.collect()
    with Peak() as seen:
        features = encode(model, layout, ctx, **kwargs)
        if features.requires_grad:
            features.sum().backward()
    return seen.peak


@pytest.mark.parametrize("position", POSITIONS)
def test_the_budget_is_kept(clip, position):
    names = [f"{a} {b}" for a in ("x", "dog", "steam locomotive") for b in range(40)]
    layout = Layout.build(clip.tokenizer, names, 8, limit=32, position=position)
    ctx = draw_ctx(clip, layout, False).requires_grad_(True)
    free = peak(clip.model, layout, ctx)
    for part in (4, 10):
        assert free / 40 < peak(clip.model, layout, ctx, memory=free // part) < free / part
    with torch.no_grad():
        assert peak(clip.model, layout, ctx) < free / 2
        assert peak(clip.model, layout, ctx, memory=free // 20) < free / 20


def test_without_gradient_a_chunk_may_be_larger(clip, monkeypatch):
    layout = Layout.build(clip.tokenizer, MANY, 4, limit=32)
    ctx = draw_ctx(clip, layout, False).requires_grad_(True)
    tower, counts = text_tower(clip.model), []
    n_tokens = int((layout.eos - 4).sum())  # start and context are common
    budget = n_tokens * bytes_per_token(tower, int(layout.eos.max()) + 1, False)
    monkeypatch.setattr(encoding, "run_chunk", lambda *a: counts.append(1) or run_chunk(*a))
    for wanted in (True, False):
        counts.clear()
        with torch.set_grad_enabled(wanted):
            encode(clip.model, layout, ctx, memory=budget)
        assert (len(counts) > 1) == wanted
    counts.clear()
    PromptLearner(clip, NAMES, 4, memory=1)()
    assert len(counts) == len(NAMES)


@pytest.mark.parametrize(
    ("n_classes", "n_contexts", "before", "after"),
    [(1, 1, 1, 1), (1, 2, 2, 4), (2, 1, 2, 4), (2, 2, 4, 8)],
)
def test_what_is_computed_in_parts_is_computed_again(
    clip, monkeypatch, n_classes, n_contexts, before, after
):
    layout = Layout.build(clip.tokenizer, ["tulip", "dog"][:n_classes], 2, limit=32)
    ctxs = torch.zeros(n_contexts, 2, 128, requires_grad=True)
    sizes, run = [], encoding.run_chunk

    def counted(tower, chunk, vectors):
        sizes.append(vectors.shape[1])
        return run(tower, chunk, vectors)

    monkeypatch.setattr(encoding, "run_chunk", counted)
    features = encoding.encode_each(clip.model, layout, ctxs, memory=1)
    assert sizes == [1] * before
    features[:, :, 0].sum().backward()
    assert sizes == [1] * after, "of one part alone, what was computed is kept"
    sizes.clear()
    encoding.encode_each(clip.model, layout, ctxs.detach(), memory=1)
    assert sizes == [1] * before


def test_a_wrong_budget_is_refused(clip):
    layout = Layout.build(clip.tokenizer, NAMES, 2, limit=32)
    ctx = torch.zeros(2, 128)
    for memory in (0, -5):
        with pytest.raises(ValueError, match=rf"memory is {memory}: give a positive number"):
            encode(clip.model, layout, ctx, memory=memory)
    for memory in (1.5, "1 GB", True):
        with pytest.raises(TypeError, match=r"memory is .*: give an integer"):
            encode(clip.model, layout, ctx, memory=memory)
    with pytest.raises(TypeError, match="memory is '1 GB'"):
        PromptLearner(clip, NAMES, 2, memory="1 GB")
