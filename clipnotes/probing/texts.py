"""Random texts for a model: which ids to write them with, and where its token table is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.probing.watch import Place, feature, places, states_place

L = 8  # tokens of a full text; small enough for every model
KEYS = ("eos_token_id", "sep_token_id", "bos_token_id", "cls_token_id", "pad_token_id")


class Texts:
    """Writes texts for one model and encodes them.

    Attributes:
        ends: Ids that may be what the model takes for the end of a text.
        end: The one it does take, or the first of ``ends``; ``pool`` decides.
        pad: The id of padding.
        largest: The last row of the token table.
        words: Six ids that are none of these, the largest first.
        chain: Path and module of the token table, then all that hold it, innermost first.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self.tokenizer = tokenizer
        self._place: Place | None = None
        self.chain = self._chain()
        self.table: Any = self.chain[0][1]
        vocabulary = len(self.table.weight)
        named = self._named(vocabulary)
        self.ends = list(dict.fromkeys([*named["eos_token_id"], *named["sep_token_id"]]))
        self.pad = next(iter(named["pad_token_id"]), 0)
        self.largest = vocabulary - 1
        self.end = next(iter(self.ends), self.largest)
        taken = {self.largest, 0}.union(*named.values())
        free = [i for i in range(vocabulary) if i not in taken][::-1]
        self.words = free[:: max(1, len(free) // 6)][:6]
        if len(self.words) < 6:
            raise ValueError(
                f"a vocabulary of {vocabulary} leaves {len(free)} words beside the special tokens, "
                "and the texts of a probe need 6"
            )

    def _chain(self) -> list[tuple[str, Any]]:
        ids = torch.tensor([[1, 3, 4, 5, 4, 2, 3, 4]], device=self.device)
        tables: list[nn.Module] = []

        def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            weight = getattr(module, "weight", None)
            if inputs and isinstance(weight, Tensor) and weight.dim() == 2:
                given = inputs[0]
                if isinstance(given, Tensor) and given.shape == ids.shape and not tables:
                    tables.extend([module] * bool((given == ids).all()))

        handles = [module.register_forward_pre_hook(note) for module in self.model.modules()]
        try:
            self.features(ids)
        except Exception as error:  # whatever a model raises, nothing else can be measured then
            said = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(
                f"a {type(self.model).__name__} cannot encode {ids.shape[1]} ids with its own "
                f"get_text_features ({said}); make that work first"
            ) from error
        finally:
            for handle in handles:
                handle.remove()
        if not tables:
            raise ValueError("no token table was called with the ids")
        by_path = dict(self.model.named_modules())
        path = next(path for path, module in by_path.items() if module is tables[0])
        parts = path.split(".")
        paths = [".".join(parts[:n]) for n in range(len(parts), -1, -1)]
        return [(path, by_path[path]) for path in paths]

    def _named(self, vocabulary: int) -> dict[str, list[int]]:
        """List the special ids that the tokenizer, the tower or a configuration names."""
        modules = [module for _, module in self.chain]
        configs = [getattr(module, "config", None) for module in modules]
        configs.append(getattr(getattr(self.model, "config", None), "text_config", None))
        named: dict[str, list[int]] = {key: [] for key in KEYS}
        for holder in (self.tokenizer, *modules, *configs):
            for key in KEYS:
                value = getattr(holder, key, None)
                for one in value if isinstance(value, list) else [value]:
                    if isinstance(one, int) and 0 <= one < vocabulary:
                        named[key].append(one)
        return named

    def features(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode ids, (B, L) -> (B, P)."""
        return feature(self.model.get_text_features(input_ids=ids, attention_mask=mask))

    def rows(self, *rows: list[int]) -> Tensor:
        """Put rows of ids into one tensor, (B, L)."""
        return torch.tensor(rows, device=self.device)

    def place(self) -> Place:
        """Find the last states of a text, (B, L, D), in the model; they are in one place always."""
        if self._place is None:
            w = self.words
            ids = self.rows([w[1], w[2], w[3], w[4], w[5], w[0], w[1], self.end])
            self._place = states_place(self.model, lambda: self.features(ids), vectors_of(ids))
        return self._place

    def states(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the last states of texts, (B, L, D)."""
        found = places(self.model, lambda: self.features(ids, mask), vectors_of(ids))
        return next(p.tensor for p in found if p[:2] == self.place()[:2])


def vectors_of(ids: Tensor) -> Callable[[Tensor], bool]:
    """Return what tells whether a tensor has one vector for each of these ids, (B, L, D)."""
    return lambda tensor: tensor.dim() == 3 and tensor.shape[:2] == ids.shape
