"""Decide whether the fast path may run a text tower from its weights alone.

The fast path reads the weights of a tower and calls none of its modules except the activation. That
is right only if the modules are those of transformers and do what their classes say. LoRA,
quantised weights, hooks, a replaced ``forward``, a custom attention function and dropout all change
that, while a compiled module still computes the same.
"""

from typing import Any

from torch import nn
from torch.nn.modules import module as nn_module
from transformers.activations import ACT2FN

from clipnotes.compat import changes_nothing
from clipnotes.compat.attention import foreign_attention
from clipnotes.compat.carried import class_of
from clipnotes.compat.compiled import original
from clipnotes.compat.weights import is_plain

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
ATTENTIONS = ("eager", "sdpa", "flash_attention_2", "flash_attention_3")  # give equal numbers
CLIP = "transformers.models.clip.modeling_clip"


def why_not(tower: Any, project: nn.Module) -> str | None:
    """Say why a tower's weights alone do not tell what it computes; ``None`` if they do."""
    parts = [*tower.named_modules(), ("text_projection", project)]
    modules: dict[str, nn.Module] = {}
    for path, module in parts:
        name = ".".join(part for part in path.split(".") if part != "_orig_mod")
        modules[name or "the text tower"] = original(module)
    wrappers = [(path or "the text tower", m) for path, m in parts if original(m) is not m]
    return (
        _of_another_kind(modules)
        or _changed(modules)
        or _hooked([*modules.items(), *wrappers])
        or _set_otherwise(tower)
    )


def _of_another_kind(modules: dict[str, nn.Module]) -> str | None:
    clip_modules = ["the text tower", "embeddings", "encoder"]
    tables = ["embeddings.token_embedding", "embeddings.position_embedding"]
    norms, linears = ["final_layer_norm"], ["text_projection"]
    for i in range(len(getattr(modules["encoder"], "layers", []))):
        layer = f"encoder.layers.{i}"
        clip_modules += [layer, f"{layer}.self_attn", f"{layer}.mlp"]
        norms += [f"{layer}.layer_norm1", f"{layer}.layer_norm2"]
        linears += [f"{layer}.self_attn.{kind}_proj" for kind in ("q", "k", "v", "out")]
        linears += [f"{layer}.mlp.fc1", f"{layer}.mlp.fc2"]
    for names, kind in ((tables, nn.Embedding), (norms, nn.LayerNorm), (linears, nn.Linear)):
        for name in names:
            # A subclass may compute anything, so only the class itself will do.
            module = modules.get(name)
            if module is None or type(module) is not kind:
                return f"{name} is of type {class_of(module)}"
            for which, weight in module.named_parameters():
                if not is_plain(weight):
                    return f"the {which} of {name} is of type {class_of(weight)}"
    for name in clip_modules:
        if type(modules.get(name)).__module__ != CLIP:
            return f"{name} is of type {class_of(modules.get(name))}, not CLIP's"
    return None


def _changed(modules: dict[str, nn.Module]) -> str | None:
    for name, module in modules.items():
        forward = vars(type(module)).get("forward")
        if "forward" in vars(module) or (
            forward is not None and forward.__module__ != type(module).__module__
        ):
            return f"the forward of {name} was replaced"
    return None


def _hooked(modules: list[tuple[str, nn.Module]]) -> str | None:
    shared = [hook for kind in HOOKS for hook in getattr(nn_module, f"_global{kind}").values()]
    if not all(map(changes_nothing, shared)):
        return "a hook is registered for all modules"
    for name, module in modules:
        hooks = [hook for kind in HOOKS for hook in getattr(module, kind).values()]
        if not all(map(changes_nothing, hooks)):
            return f"{name} has a hook"
    return None


def _set_otherwise(tower: Any) -> str | None:
    expected = type(ACT2FN[tower.config.hidden_act])
    if any(table.max_norm is not None for table in tower.embeddings.children()):
        return "an embedding has max_norm"
    if function := foreign_attention(tower.encoder.layers):
        return f"the attention is {function.removesuffix(',')}"
    for i, layer in enumerate(tower.encoder.layers):
        attention, activation = layer.self_attn, layer.mlp.activation_fn
        if type(activation) is not expected or any(True for _ in activation.parameters()):
            return f"the activation of layer {i} is of type {class_of(activation)}"
        if attention.config._attn_implementation not in ATTENTIONS:
            return f"the attention is {attention.config._attn_implementation!r}"
        if attention.dropout and attention.training:
            return "the tower is in training mode with attention dropout"
    return None
