"""What a source was found to hold, told to the person who gave it: counts, samples, warnings, the span of time."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from core.contracts import DAY
from core.data.rejects import EXCUSED, KINDS, Rejects
from core.errors import UsageError

SAMPLES = 2
_NEARLY_ALL = 0.9  # of the items or users: so many without metadata are no accident
_OLD = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp())


@dataclass(slots=True)
class Unread:
    """How many values of a field were not read, by kind, each with a few samples."""

    counts: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, value: object, count: int = 1) -> None:
        self.counts[kind] += count
        kept = self.samples.setdefault(kind, [])
        if len(kept) < SAMPLES:
            kept.append(str(value)[:60])

    def as_json(self) -> dict[str, Any]:
        return {kind: {"count": count, "samples": self.samples[kind]} for kind, count in self.counts.most_common()}


@dataclass(slots=True)
class Notes:
    """What a reader of files has to say. `rows` counts what was read of each file; `unread` is by table and field."""

    rows: dict[str, int] = field(default_factory=dict)
    unread: dict[str, Unread] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def of(self, field_name: str) -> Unread:
        return self.unread.setdefault(field_name, Unread())


def account(interactions: pa.Table, known: dict[str, pa.Table], rejects: Rejects, notes: Notes) -> dict[str, Any]:
    """The whole account as JSON; `known` holds the metadata tables `items` and `users` (columns `raw_id`, ...)."""
    first, last = _edges(interactions)
    met = {kind: _unmet(interactions[kind[:-1]], table) for kind, table in known.items() if table.num_rows}
    warnings = [*notes.warnings, *_unmet_warnings(met, known), *_old(interactions)]
    for kind in EXCUSED:
        if told := rejects.told().get(kind):
            warnings.append(f"{told['count']:,} lines have {KINDS[kind]}, such as {'; '.join(told['samples'])}")
    for name, one in notes.unread.items():
        told = ", ".join(f"{count:,} {kind} ({_few(one.samples[kind])})" for kind, count in one.counts.most_common())
        warnings.append(f"{name} not read: {told}")
    return {
        "rows": notes.rows or {"interactions": interactions.num_rows},
        "rejected": rejects.told(),
        "without_metadata": met,
        "not_read": {name: one.as_json() for name, one in notes.unread.items()},
        "first_day": str(_day(first)),
        "last_day": str(_day(last)),
        "warnings": warnings,
    }


def lines(found: dict[str, Any]) -> Iterable[str]:
    """The account for people."""
    rows = ", ".join(f"{name} {count:,} rows" for name, count in found["rows"].items())
    yield f"read: {rows}; interactions from {found['first_day']} to {found['last_day']}"
    for kind, one in found["rejected"].items():
        yield f"rejected, {kind}: {one['count']:,} ({'; '.join(one['samples'])})"
    for kind, one in found["without_metadata"].items():
        if one["count"]:
            yield f"without metadata: {one['count']:,} of {one['of']:,} {kind}, such as {_few(one['samples'])}"
    for warning in found["warnings"]:
        yield f"warning: {warning}"


def check_span(interactions: pa.Table) -> None:
    """Raises UsageError for times that only a wrong unit or missing dates explain."""
    if not interactions.num_rows:
        return
    first, last = _edges(interactions)
    hint = "look at `unit` and the column of times in the description"
    if last < _OLD:
        raise UsageError(f"every interaction lies between {_day(first)} and {_day(last)}, before 1990; {hint}")
    if first // DAY == last // DAY:
        raise UsageError(
            f"all {interactions.num_rows:,} interactions are of one day, {_day(first)}, and a row may only see earlier "
            f"days; {hint}, or take data of several days"
        )


def _unmet(taken: pa.ChunkedArray, known: pa.Table) -> dict[str, Any]:
    distinct = taken.unique()
    there = set(known["raw_id"].to_pylist())
    missing = [raw_id for raw_id in distinct.to_pylist() if raw_id not in there]
    return {"count": len(missing), "of": len(distinct), "samples": missing[:SAMPLES]}


def _edges(interactions: pa.Table) -> tuple[int, int]:
    times = interactions["timestamp"].to_numpy()
    return (int(times.min()), int(times.max())) if len(times) else (0, 0)


def _unmet_warnings(met: dict[str, dict[str, Any]], known: dict[str, pa.Table]) -> Iterable[str]:
    for kind, one in met.items():
        if one["of"] and one["count"] >= _NEARLY_ALL * one["of"]:
            there = known[kind]["raw_id"][:SAMPLES].to_pylist()
            yield (
                f"{one['count']:,} of {one['of']:,} {kind} have no line in the table of {kind}: the interactions have "
                f"ids like {_few(one['samples'])}, the table has {_few(there)}; are both spelt alike?"
            )


def _old(interactions: pa.Table) -> Iterable[str]:
    times = interactions["timestamp"].to_numpy()
    if old := int(np.count_nonzero(times < _OLD)):
        yield f"{old:,} interactions lie before 1990, the first on {_day(int(times.min()))}"


def _few(samples: Iterable[object]) -> str:
    return ", ".join(repr(one) for one in samples)


def _day(seconds: int) -> date:
    return datetime.fromtimestamp(seconds, UTC).date()
