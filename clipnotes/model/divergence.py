"""Where two models that should be the same first part: what to look at when a port is wrong."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clipnotes.compat import text_tower, vision_tower
from clipnotes.compat.compiled import refuse_compiled

# The fields of an output in the order in which they are computed.
_FIELDS = [
    "last_hidden_state",
    "pooler_output",
    "image_embeds",
    "text_embeds",
    "logits_per_text",
    "logits_per_image",
    "loss",
]


class Divergence(NamedTuple):
    """The first stage at which two models differ; printed, it is one sentence.

    Attributes:
        stage: The path of a module and which side of it, or a field of the output.
        difference: The largest; ``nan`` if one of the two is NaN, ``inf`` if the shapes differ.
        largest: The largest magnitude in the reference there, to judge the difference by.
        ours: The shape there in our model.
        theirs: The shape there in the reference.
    """

    stage: str
    difference: float
    largest: float
    ours: tuple[int, ...]
    theirs: tuple[int, ...]

    def __str__(self) -> str:
        if self.ours != self.theirs:
            return f"{self.stage}: the shape is {self.ours} and should be {self.theirs}"
        return (
            f"{self.stage}: differs by up to {self.difference:.1e}; "
            f"the largest value there is {self.largest:.2g}"
        )


def first_divergence(
    ours: nn.Module, theirs: nn.Module, inputs: Mapping[str, Any], *, tolerance: float = 1e-5
) -> Divergence | None:
    """Run two models on the same inputs and name the first stage where they part.

    Stages are matched by the names of the modules: what goes into and comes out of each layer
    without parts (a linear layer, a norm, a table), what comes out of each module with parts, then
    each tensor of the output by its field, all in the order in which the reference computes them.
    What has no name in both models is passed over. Both run in evaluation mode and without
    gradients, and are afterwards as they were.

    Args:
        ours: The model in question, for instance your own port.
        theirs: The reference. If one of the two is a tower, the other's tower is compared with it.
        inputs: Keyword arguments of both models.
        tolerance: Allowed difference, relative to the largest value there if that is more than 1.

    Returns:
        The first divergence, or ``None`` if there is none.

    Raises:
        ValueError: No module's name and no field of the output is in both models; or one of them
            is compiled.

    Example:
        >>> from transformers import CLIPTextConfig, CLIPTextModel
        >>> from clipnotes.model.text import TextTower
        >>> config = CLIPTextConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=2)
        >>> theirs = CLIPTextModel(config)
        >>> ours = TextTower.from_transformers(theirs)
        >>> inputs = {"input_ids": torch.tensor([[49406, 320, 49407]])}
        >>> first_divergence(ours, theirs, inputs) is None
        True
        >>> ours.encoder.layers[1].self_attn.scale = 1.0
        >>> first_divergence(ours, theirs, inputs, tolerance=0).stage
        'encoder.layers.1.self_attn.out_proj, what goes in'
    """
    ours, theirs = _same_part(ours, theirs)
    with torch.no_grad(), _evaluation(ours, theirs):
        our_stages, their_stages = _stages(ours, inputs), _stages(theirs, inputs)
    shared = [stage for stage in their_stages if stage in our_stages]
    if not shared:
        raise ValueError(
            f"a {type(ours).__name__} and a {type(theirs).__name__} share no name of a module and "
            "no field of the output: name the parts of one as those of the other are named"
        )
    for stage in shared:
        a, b = our_stages[stage], their_stages[stage]
        difference = (a - b).abs().max().item() if a.shape == b.shape else torch.inf
        largest = b.abs().max().item()
        if not difference <= tolerance * max(1.0, largest):  # also if it is NaN
            return Divergence(stage, difference, largest, tuple(a.shape), tuple(b.shape))
    return None


def _same_part(ours: nn.Module, theirs: nn.Module) -> tuple[nn.Module, nn.Module]:
    for find in (text_tower, vision_tower):
        try:
            our_tower, their_tower = find(ours), find(theirs)
        except TypeError:
            continue
        if our_tower is ours or their_tower is theirs:
            return our_tower, their_tower
    return ours, theirs


@contextmanager
def _evaluation(*models: nn.Module) -> Iterator[None]:
    before = [(module, module.training) for model in models for module in model.modules()]
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for module, training in before:
            module.training = training


def _stages(model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """Run a model; return what passes each stage, in order, in double precision."""
    seen: dict[str, Tensor] = {}
    calls: Counter[str] = Counter()

    def keep(stage: str, value: Any) -> None:
        tensor = _first_tensor(value)
        if tensor is None or tensor.numel() == 0:
            return
        calls[stage] += 1
        name = stage if calls[stage] == 1 else f"{stage}, call {calls[stage]}"
        seen[name] = tensor.detach().double().cpu().clone()  # somebody may write into it later

    refuse_compiled(model, model.modules(), "what watches the stages")
    with ExitStack() as hooks:
        for path, module in model.named_modules():
            if not path:
                continue
            if not any(module.children()):
                goes_in = partial(_keep_input, keep, f"{path}, what goes in")
                handle = module.register_forward_pre_hook(goes_in, with_kwargs=True)
                hooks.callback(handle.remove)
            comes_out = partial(_keep_output, keep, f"{path}, what comes out")
            hooks.callback(module.register_forward_hook(comes_out).remove)
        output = model(**inputs)

    for field, value in _fields(output):
        keep(f"output {field}", value)
    return seen


def _keep_input(keep: Any, stage: str, _: nn.Module, args: Any, kwargs: Any) -> None:
    keep(stage, (*args, *kwargs.values()))


def _keep_output(keep: Any, stage: str, _: nn.Module, args: Any, output: Any) -> None:
    keep(stage, output)


def _first_tensor(value: Any) -> Tensor | None:
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        return next((item for item in value if isinstance(item, Tensor)), None)
    return value if isinstance(value, Tensor) else None


def _fields(output: Any) -> list[tuple[str, Any]]:
    if isinstance(output, tuple) and hasattr(output, "_asdict"):
        output = output._asdict()
    if not isinstance(output, Mapping):
        return [("itself", output)]
    tensors = [(name, value) for name, value in output.items() if isinstance(value, Tensor)]
    last = len(_FIELDS)
    return sorted(tensors, key=lambda item: _FIELDS.index(item[0]) if item[0] in _FIELDS else last)
