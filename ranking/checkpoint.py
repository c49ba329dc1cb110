"""Where a training run stands after an epoch, on disk: a killed run goes on from there and ends as if nothing happened.

One safetensors file holds the weights, the best weights, Adam's moments and the state of the random generator; its
metadata say for which step it was made, and what was measured so far.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from core import storage


@dataclass(slots=True)
class Progress:
    """What was measured: the loss of every step, a line an epoch, and which epoch was best on validation."""

    losses: list[float] = field(default_factory=list)
    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.epochs)

    def over(self, epochs: int, patience: int) -> bool:
        """Whether training ends here."""
        return self.epoch >= epochs or (self.epoch > 0 and self.epoch - self.best_epoch >= patience)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file of one run. `key` names all that the run depends on: what another run has left is not read."""

    path: Path
    key: str

    def save(
        self,
        progress: Progress,
        modules: dict[str, nn.Module],
        best: dict[str, Tensor],
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Replace the file; a kill leaves the old one. `modules` are what changes in training, by any name."""
        parts = {"best": best, **{name: module.state_dict() for name, module in modules.items()}}
        tensors = {f"{part}/{name}": value for part, state in parts.items() for name, value in state.items()}
        for number, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{name}": value for name, value in moments.items()}
        tensors["generator"] = torch.get_rng_state()
        with storage.atomic_path(self.path) as beside:
            save_file(
                {name: value.detach().clone().contiguous() for name, value in tensors.items()},
                beside,
                metadata={"key": self.key, "progress": json.dumps(asdict(progress))},
            )

    def resume(
        self, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer
    ) -> tuple[Progress, dict[str, Tensor]]:
        """Put everything where it was; a new `Progress` and no best weights where there is nothing of this run."""
        if not self.path.exists():
            return Progress(), {}
        with safe_open(self.path, framework="pt") as stored:
            metadata = stored.metadata()
            if metadata["key"] != self.key:
                return Progress(), {}
            parts: dict[str, dict[str, Tensor]] = {}
            for name in stored.keys():  # noqa: SIM118 - it is no dictionary
                kind, _, rest = name.partition("/")
                parts.setdefault(kind, {})[rest] = stored.get_tensor(name)
        for name, module in modules.items():
            module.load_state_dict(parts[name])
        state: dict[int, dict[str, Any]] = {}
        for name, value in parts["optimizer"].items():
            number, _, moment = name.partition("/")
            state.setdefault(int(number), {})[moment] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        torch.set_rng_state(parts["generator"][""])
        return Progress(**json.loads(metadata["progress"])), parts["best"]

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
