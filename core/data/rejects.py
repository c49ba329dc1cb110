"""Lines of a source that cannot be used as they are: counted by kind, and kept with file and line number."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from core import storage
from core.data import events as rules
from core.errors import UsageError

KINDS = {
    "truncated": "the compressed file ends early, so nobody knows how much is lost",
    "not_an_object": "neither JSON nor a Python literal, or no object",
    "ragged": "more or fewer fields than the header",
    "bad_quote": "a quotation mark within a quoted field",
    "missing_field": "no user, item or timestamp",
    "bad_id": "an empty id, one with control characters, or one of more than 256 characters",
    "bad_time": "a timestamp that is no number or date",
    "no_date": "a placeholder such as 1970-01-01 where the source had no date",
    "negative_time": "before 1970",
    "future_time": "later than now, or not in seconds",
    "duplicate": "the same user, item and time as an earlier line",
    "no_metadata": "an item whose title, brand and categories are unknown; kept",
}
KEPT = frozenset({"no_metadata"})
EXCUSED = {"no_date": 0.1}  # lines that say themselves that they are no events; up to this share of all
_EXCERPT = 200
_SAMPLES = 2


@dataclass(slots=True)
class Rejects:
    """What was noticed while a source was read. `lines` counts the lines of interactions that were looked at.

    `others` counts those of other files by name: each file is judged by its own lines.
    """

    lines: int = 0
    rows: list[tuple[str, int, str, str]] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)
    _seen: set[tuple[str, int, str]] = field(default_factory=set)

    def add(self, file: str, line: int, kind: str, text: object) -> None:
        """One line, by its 1-based number (of a table: its row); once, though its file may serve two tables."""
        assert kind in KINDS, kind
        if (place := (file, int(line), kind)) in self._seen:
            return
        self._seen.add(place)
        excerpt = "".join(letter if letter.isprintable() else " " for letter in str(text)[:_EXCERPT])
        self.rows.append((file, int(line), kind, excerpt))

    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        found = Counter(kind for _, _, kind, _ in self.rows)
        return {kind: found[kind] for kind in KINDS if found[kind]}

    def told(self) -> dict[str, Any]:
        """How many of each kind, with a few samples."""
        found: dict[str, Any] = {}
        for file, line, kind, text in self.rows:
            one = found.setdefault(kind, {"count": 0, "samples": []})
            one["count"] += 1
            if one["count"] <= _SAMPLES:
                one["samples"].append(f"{file}, line {line}: {text[:80]}")
        return found

    def write(self, path: Path) -> None:
        """JSON lines by file and line."""
        names = ("file", "line", "kind", "text")
        lines = [json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in sorted(self.rows)]
        with storage.atomic_path(path) as beside:
            beside.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def screen(events: pl.DataFrame, rejects: Rejects, *, now: float | None = None) -> pl.DataFrame:
    """The usable rows of `events` (file, line, user, item, timestamp in seconds, ...), in their order.

    Args:
        now: Unix seconds; later events are left out.
    """
    for name in ("user", "item"):
        events = screen_ids(events, name, rejects, _told_event)
    events = _without(events, pl.col("timestamp").is_null(), "missing_field", rejects, _told_event)
    wrong = rules.bad_times(pl.col("timestamp"), now=time.time() if now is None else now)
    for kind, expression in wrong.items():
        events = _without(events, expression, kind, rejects, _told_event)
    repeated = ~pl.struct("user", "item", "timestamp").is_first_distinct()
    return _without(events, repeated, "duplicate", rejects, _told_event)


def screen_ids(
    table: pl.DataFrame, name: str, rejects: Rejects, told: Callable[[dict[str, Any]], object]
) -> pl.DataFrame:
    """`table` (file, line, ...) with the column `name` as ids; rows whose id is none are left out."""
    distinct = table[name].unique(maintain_order=True)
    cleaned, kinds = [], []
    for value in distinct.to_list():
        try:
            cleaned.append(rules.id_of(value))
            kinds.append(None)
        except rules.NoEventError as error:
            cleaned.append(None)
            kinds.append(error.kind)
    found = pl.DataFrame(
        {name: distinct, "_id": cleaned, "_kind": kinds}, schema_overrides={"_id": pl.String, "_kind": pl.String}
    )
    joined = table.join(found, on=name, how="left", nulls_equal=True, maintain_order="left")
    for kind in ("missing_field", "bad_id"):
        joined = _without(joined, (pl.col("_kind") == kind).fill_null(value=False), kind, rejects, told)
    return joined.with_columns(pl.col("_id").alias(name)).drop("_id", "_kind")


def _told_event(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("user", "item", "timestamp")}


def _without(
    table: pl.DataFrame, wrong: pl.Expr, kind: str, rejects: Rejects, told: Callable[[dict[str, Any]], object]
) -> pl.DataFrame:
    for row in table.filter(wrong).iter_rows(named=True):
        rejects.add(row["file"], row["line"], kind, told(row))
    return table.filter(~wrong)


def judge(rejects: Rejects, limit: float, place: Path, refused: Path) -> None:
    """Write the rejects to `place`; if too much was dropped, write them to `refused` instead and stop.

    Raises:
        UsageError: if more than the share `limit` of the lines of a file was dropped, or a file ends early and `limit`
            is not 1.
    """
    torn = "truncated" in rejects.counts() and limit < 1
    bad = None if torn else _too_many(rejects, limit)
    rejects.write(refused if torn or bad else place)
    if torn:
        where = rejects.told()["truncated"]["samples"][0]
        raise UsageError(f"a file ends early ({where}; see {refused}); get it again, or take the rest: --max-rejects 1")
    if bad:
        file, dropped, lines, kinds = bad
        most = max(kinds, key=lambda kind: kinds[kind])
        raise UsageError(
            f"{dropped:,} of {lines:,} lines ({dropped / lines:.1%}){file} cannot be used: {_listed(kinds)} "
            f"({KINDS[most]}, such as {rejects.told()[most]['samples'][0]}); "
            f"--max-rejects allows {limit:.1%}; see {refused}"
        )


def share(rejects: Rejects) -> float:
    """The largest share of its lines that a file lost; of one that ends early nobody knows it, and it is all."""
    if "truncated" in rejects.counts():
        return 1.0
    return max((dropped / lines for _, dropped, _, lines, _ in _losses(rejects)), default=0.0)


def judge_again(lost: float, limit: float, place: Path) -> None:
    """Raises UsageError if what was taken under another limit is too much for this one."""
    if lost > limit:
        raise UsageError(
            f"it was prepared under another limit: {lost:.1%} of the lines of a file could not be used, "
            f"and --max-rejects allows {limit:.1%}; see {place}"
        )


def _too_many(rejects: Rejects, limit: float) -> tuple[str, int, int, dict[str, int]] | None:
    """The first file that lost too much: its name, what it lost, its lines and the kinds."""
    for file, dropped, excused, lines, found in _losses(rejects):
        if dropped > limit * lines:
            return f" of {file}" if file else "", dropped + excused, lines, {k: found[k] for k in KINDS if found[k]}
    return None


def _losses(rejects: Rejects) -> Iterator[tuple[str, int, int, int, Counter[str]]]:
    """Of each file its name, how many lines were dropped, how many more are excused, its lines and the kinds."""
    kinds: dict[str, Counter[str]] = {}
    for file, _, kind, _ in rejects.rows:
        kinds.setdefault(file if file in rejects.others else "", Counter())[kind] += 1
    for file, found in kinds.items():
        lines = max(rejects.others.get(file, rejects.lines), 1)
        excused = sum(found[kind] for kind, share in EXCUSED.items() if found[kind] <= share * lines)
        yield file, sum(number for kind, number in found.items() if kind not in KEPT) - excused, excused, lines, found


def _listed(kinds: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {kind}" for kind, number in kinds.items())
