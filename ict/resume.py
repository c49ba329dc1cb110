"""Where a training run stands after an epoch, on disk: a killed run goes on from there and ends as if nothing happened.

A safetensors file holds the weights, the best weights, Adam's moments and the states of the random generators;
its metadata say for which step it was made, and what was measured so far.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from core import storage


def untimed(epochs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Lines an epoch without the seconds that it took: the same training leaves the same bytes."""
    return [{name: value for name, value in line.items() if name != "seconds"} for line in epochs]


class Peers(Protocol):
    """The processes of a run, of which this is number `rank` of `size`."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def minimum(self, value: int) -> int:
        """The smallest value that any of them has; all call."""
        ...


@dataclass(frozen=True, slots=True)
class Alone:
    """One process."""

    rank: int = 0
    size: int = 1

    def minimum(self, value: int) -> int:
        return value


@dataclass(slots=True)
class Progress:
    """What was measured: the loss of every step, a line an epoch, and which epoch was best on validation."""

    losses: list[float] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)
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
    """Two files of each process of a run, of its last two epochs: one that is killed may be an epoch behind the others.

    `key` names all that the run depends on: what another run has left is not read.
    """

    folder: Path
    key: str
    group: Peers = field(default_factory=Alone)

    def save(
        self,
        progress: Progress,
        live: dict[str, dict[str, Tensor]],
        best: dict[str, Tensor],
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator | None = None,
    ) -> None:
        """Replace the older file; a kill leaves it.

        Args:
            live: what changes in training, in parts of any name.
            generator: that training draws from beside the default ones.
        """
        parts = {"best": best, **live}
        tensors = {f"{part}/{name}": value for part, state in parts.items() for name, value in state.items()}
        for number, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{name}": value for name, value in moments.items()}
        for name, source in _generators(generator).items():
            tensors[f"generator/{name}"] = source.get_state()
        with storage.atomic_path(self._file(progress.epoch)) as beside:
            save_file(
                {name: value.detach().clone().contiguous() for name, value in tensors.items()},
                beside,
                metadata={"key": self.key, "progress": json.dumps(asdict(progress))},
            )

    def resume(
        self,
        live: dict[str, dict[str, Tensor]],
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator | None = None,
    ) -> tuple[Progress, dict[str, Tensor]]:
        """Put everything where it was after the last epoch that all processes have saved.

        A new `Progress` and no best weights where there is nothing of this run.
        """
        found = {one.epoch: one for one in map(self._progress, (0, 1)) if one is not None}
        epoch = self.group.minimum(max(found, default=0))
        if not epoch:
            return Progress(), {}
        parts: dict[str, dict[str, Tensor]] = {}
        for name, value in load_file(self._file(epoch)).items():
            kind, _, rest = name.partition("/")
            parts.setdefault(kind, {})[rest] = value
        for name, tensors in live.items():
            put(tensors, parts.get(name, {}))
        state: dict[int, dict[str, Any]] = {}
        for name, value in parts["optimizer"].items():
            number, _, moment = name.partition("/")
            state.setdefault(int(number), {})[moment] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        for name, source in _generators(generator).items():
            source.set_state(parts["generator"][name])
        return found[epoch], parts["best"]

    def _file(self, epoch: int) -> Path:
        return self.folder / f"{epoch % 2}.{self.group.rank}-of-{self.group.size}.safetensors"

    def _progress(self, epoch: int) -> Progress | None:
        """What a file says of itself, if it is there and of this run."""
        path = self._file(epoch)
        if not path.exists():
            return None
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata()
        return Progress(**json.loads(metadata["progress"])) if metadata["key"] == self.key else None


def _generators(own: torch.Generator | None) -> dict[str, torch.Generator]:
    """All that training draws from: the CPU's, that of the GPU in use, and one of its own."""
    found = {"cpu": torch.default_generator}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.default_generators[torch.cuda.current_device()]
    return found if own is None else found | {"own": own}


@torch.no_grad()
def put(live: dict[str, Tensor], stored: dict[str, Tensor]) -> None:
    """Fill tensors with what is stored under their names."""
    for name, value in live.items():
        value.copy_(stored[name])
