"""One process or several under ``accelerate launch``: who does what, and adding up the results."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from clipnotes.prompts.training.resume import digest

# What launchers tell a process: torch's, accelerate's and the three kinds of MPI.
_LAUNCHED = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


class Processes:
    """The processes that train together, of which this is one."""

    def __init__(self, device: torch.device) -> None:
        from accelerate import PartialState

        # Launched processes whose model is on the CPU exchange there, also beside a GPU. A single
        # one does not say so: accelerate keeps one state per process and would remember the CPU.
        launched = any(name in os.environ for name in _LAUNCHED)
        self._state = PartialState(cpu=launched and device.type == "cpu")
        self.count: int = self._state.num_processes
        self.is_main: bool = self._state.is_main_process

    def share(self, batch: Sequence[int]) -> Sequence[int]:
        """The rows of a batch that are this process's; none, if there are fewer than processes."""
        return batch[self._state.process_index :: self.count]

    def total(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Sum each tensor over all processes, in one exchange."""
        if self.count == 1:
            return list(tensors)
        from accelerate.utils import reduce

        # The model may be on another device than the one on which this process exchanges.
        flat = torch.cat([t.detach().flatten().float() for t in tensors]).to(self._state.device)
        parts = reduce(flat, "sum").split([t.numel() for t in tensors])
        return [part.view_as(t).to(t) for part, t in zip(parts, tensors, strict=True)]

    def check_same(self, what: Mapping[str, Any]) -> None:
        """Raise in all processes unless all were given the same values, compared by repr."""
        if self.count == 1:
            return
        from accelerate.utils import gather_object

        everyone = gather_object([{name: digest(value) for name, value in what.items()}])
        different = [name for name in what if len({mine[name] for mine in everyone}) > 1]
        if different:
            raise ValueError(
                f"the {self.count} processes do not have the same {', '.join(different)}; "
                "each must call fit with the same arguments and see the same files"
            )

    def wait(self) -> None:
        """Wait until all processes are here."""
        self._state.wait_for_everyone()
