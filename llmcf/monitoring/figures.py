"""What a part of the monitoring found: figures, what could not be measured and why, and what its picture shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of a day.

    Args:
        name: what was measured; `of` which thing it was measured of, "" where there is one only.
        value: NaN where nothing can be said.
        before: the same of the reference; None where there is none.
        chance: what the value may reach by chance alone.
    """

    name: str
    of: str = ""
    value: float
    before: float | None = None
    chance: float = 0.0

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Figure":
        """A figure of `as_json` as a day's line has it, where NaN is null."""
        return cls(**{**told, "value": float("nan") if told.get("value") is None else told["value"]})

    def as_json(self) -> dict[str, Any]:
        told = {"name": self.name, "of": self.of, "value": self.value, "before": self.before, "chance": self.chance}
        return {key: value for key, value in told.items() if value not in ("", None)}


@dataclass(slots=True, kw_only=True)
class Part:
    """What one part found.

    Args:
        missing: what was not measured and why, in sentences without an end.
        drawn: what the part's pictures show.
        facts: what it rests on, in words.
    """

    name: str
    figures: list[Figure] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    drawn: dict[str, Any] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)

    def add(self, name: str, value: float, *, of: str = "", before: float | None = None, chance: float = 0.0) -> None:
        self.figures.append(Figure(name=name, of=of, value=float(value), before=before, chance=chance))
