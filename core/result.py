"""What a verb hands back, and what it estimates before it starts."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from core.settings import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A verb's account of itself: printed as one JSON object by `--json`, as text otherwise.

    `metrics` maps a split (valid, test) to metric values; retrieval nests them under `masked` and `unmasked`.
    `details` is whatever else the verb wants to show; values are JSON-serialisable. A number that JSON does
    not have (NaN, infinity) is null in the object.
    """

    verb: str
    workspace: Workspace | None = None
    recipe: str | None = None
    seed: int | None = None
    skipped: bool = False
    seconds: float = 0.0
    artifacts: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        place = self.workspace
        return {
            "verb": self.verb,
            "dataset": place.dataset if place else None,
            "order": place.order if place else None,
            "as_of": place.as_of if place else None,
            "recipe": self.recipe,
            "seed": self.seed,
            "skipped": self.skipped,
            "seconds": round(self.seconds, 3),
            "artifacts": self.artifacts,
            "metrics": plain(self.metrics),
            "details": plain(self.details),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a long verb would take, and what the figure rests on; shown by `--dry-run`."""

    seconds: float
    memory_mib: float
    disk_mib: float
    basis: str

    def as_json(self) -> dict[str, Any]:
        return plain(asdict(self))


def plain(value: Any) -> Any:
    """`value` without numbers that JSON does not have: None takes the place of NaN and infinities."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
