"""`llmcf compare`: what differs between two runs, releases or days: configuration, data, figures, and for whom."""

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import LlmcfError, UsageError
from core.result import Result
from llmcf.compare import page, paired, sides
from llmcf.compare.paired import Pair
from llmcf.compare.sides import Side
from llmcf.lineage.home import Place

MOST_DRAWS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two sides, what differs, and their pairs of runs.

    Args:
        config: by dotted field, the values of both, of fields that differ; None where a side has no such field.
        data: the same of counts and digests, equal ones too.
        measured: by run and split, each metric of both as the runs measured it on their own rows.
        pairs: by run, both on the rows that both have scored.
    """

    first: Side
    second: Side
    config: Mapping[str, tuple[Any, Any]]
    data: Mapping[str, tuple[Any, Any]]
    measured: Mapping[str, tuple[Any, Any]]
    pairs: Mapping[str, Pair]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "first": self.first.name,
            "second": self.second.name,
            "kind": self.first.kind,
            "config": _beside(self.config),
            "data": _beside(self.data),
            "measured": _beside(self.measured),
            "runs": {title: one.as_json() for title, one in self.pairs.items()},
            "notes": list(self.notes),
        }


def compare(
    first: str, second: str, *, place: Place = (None, None, None), draws: int = paired.DRAWS, seed: int = 0
) -> Result:
    """Compare two runs, releases or days, and write runs()/compare-<both>/report.html and its picture.

    Args:
        first, second: names of runs, `release:2`, or days (2026-01-31, latest).
        place: data set, order and day that are meant, each None for any.
        draws: of the bootstrap over users that each interval rests on.

    Raises:
        UsageError: for names that nothing has, or things that cannot be compared, such as runs without a common row.
        Missing: if something is not there, or runs scored rows that are gone.
    """
    if not 2 <= draws <= MOST_DRAWS:
        raise UsageError(f"--draws {draws} is not between 2 and {MOST_DRAWS:,}")
    start = time.monotonic()
    found = of(*sides.pair(first, second, place), draws=draws, seed=seed)
    names = zip(("--dataset", "--order", "--as-of"), place, strict=True)
    options = [word for option, value in names if value is not None for word in (option, value)]
    options += ["--draws", str(draws)] if draws != paired.DRAWS else []
    folder = page.write(found, shlex.join(["llmcf", "compare", first, second, *options]))
    return Result(
        verb="compare",
        workspace=found.second.ws,
        seed=seed,
        seconds=time.monotonic() - start,
        artifacts={"report": str(folder / "report.html")},
        details={**found.as_json(), "text": page.text(found)},
    )


def of(first: Side, second: Side, *, draws: int = paired.DRAWS, seed: int = 0) -> Comparison:
    """What differs between two sides of a kind.

    Raises:
        UsageError, Missing: if two runs cannot be held against each other; of releases and days that becomes a note.
    """
    pairs, notes = {}, [*first.notes, *second.notes]
    for title in [title for title in first.runs if title in second.runs]:
        try:
            pairs[title] = paired.compare(first.runs[title], second.runs[title], draws=draws, seed=seed)
        except LlmcfError as error:
            if first.kind not in ("day", "release"):
                raise
            notes.append(f"{title}: no test, {error}")
    for title, one in pairs.items():
        if not one.same_rows:
            of_first, of_second, common = one.counts
            notes.append(
                f"{title}: other test rows, {of_first:,} and {of_second:,}; the test is on the {common:,} of both"
            )
    for side, other in ((first, second), (second, first)):
        if alone := [title for title in side.measured if title not in other.measured]:
            notes.append(f"only {side.name} has {', '.join(alone)}")
    shared = [title for title in first.measured if title in second.measured]
    measured = [figures({title: side.measured[title] for title in shared}) for side in (first, second)]
    return Comparison(
        first=first,
        second=second,
        config=differences(first.config, second.config),
        data=_joined(first.data(), second.data()),
        measured=_joined(*measured),
        pairs=pairs,
        notes=tuple(notes),
    )


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """By dotted field, the two values of what differs; None where a side has no such field."""
    return {name: two for name, two in _joined(flat(first), flat(second)).items() if two[0] != two[1]}


def flat(value: Mapping[str, Any], start: str = "") -> dict[str, Any]:
    """Nested values by dotted names; an empty mapping is a value."""
    found: dict[str, Any] = {}
    for name, one in value.items():
        if isinstance(one, Mapping) and one:
            found |= flat(one, f"{start}{name}.")
        else:
            found[f"{start}{name}"] = one
    return found


def figures(measured: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among nested metrics, by dotted name."""
    return {name: value for name, value in flat(measured).items() if isinstance(value, int | float)}


def _joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        name: (first.get(name), second.get(name)) for name in [*first, *(name for name in second if name not in first)]
    }


def _beside(values: Mapping[str, tuple[Any, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {"first": first, "second": second} for name, (first, second) in values.items()}
