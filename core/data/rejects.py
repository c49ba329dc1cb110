"""Lines of a source that cannot be used as they are: counted by kind, and kept with file and line number."""

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from core import storage
from core.errors import UsageError

KINDS = {
    "truncated": "the compressed file ends early, so nobody knows how much is lost",
    "not_an_object": "neither JSON nor a Python literal, or no object",
    "ragged": "more or fewer fields than the header",
    "missing_field": "no user, item or timestamp",
    "bad_id": "an empty id, or one with a NUL byte",
    "bad_time": "a timestamp that is no number or date",
    "negative_time": "before 1970",
    "future_time": "later than now, or not in seconds",
    "duplicate": "the same user, item and time as an earlier line",
    "no_metadata": "an item whose title, brand and categories are unknown; kept",
}
KEPT = frozenset({"no_metadata"})
_EXCERPT = 200
_SKEW = 86_400  # seconds by which a clock may be ahead


@dataclass(slots=True)
class Rejects:
    """What was noticed while a source was read. `lines` counts the lines of interactions that were looked at."""

    lines: int = 0
    rows: list[tuple[str, int, str, str]] = field(default_factory=list)

    def add(self, file: str, line: int, kind: str, text: object) -> None:
        """One line, by its 1-based number (of a table: its row)."""
        assert kind in KINDS, kind
        excerpt = "".join(letter if letter.isprintable() else " " for letter in str(text)[:_EXCERPT])
        self.rows.append((file, int(line), kind, excerpt))

    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        found = Counter(kind for _, _, kind, _ in self.rows)
        return {kind: found[kind] for kind in KINDS if found[kind]}

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
    latest = int((time.time() if now is None else now) + _SKEW)
    bad = {
        "missing_field": pl.col("user").is_null() | pl.col("item").is_null() | pl.col("timestamp").is_null(),
        "bad_id": pl.any_horizontal(
            pl.col("user", "item").str.contains("\0", literal=True) | (pl.col("user", "item") == "")
        ),
        "negative_time": pl.col("timestamp") < 0,
        "future_time": pl.col("timestamp") > latest,
    }
    for kind, wrong in bad.items():
        events = _without(events, wrong.fill_null(value=False), kind, rejects)
    return _without(events, ~pl.struct("user", "item", "timestamp").is_first_distinct(), "duplicate", rejects)


def _without(events: pl.DataFrame, wrong: pl.Expr, kind: str, rejects: Rejects) -> pl.DataFrame:
    for row in events.filter(wrong).iter_rows(named=True):
        rejects.add(row["file"], row["line"], kind, {name: row[name] for name in ("user", "item", "timestamp")})
    return events.filter(~wrong)


def judge(rejects: Rejects, limit: float, place: Path, refused: Path) -> None:
    """Write the rejects to `place`; if too much was dropped, write them to `refused` instead and stop.

    Raises:
        UsageError: if more than the share `limit` of the lines was dropped, or a file ends early and `limit` is not 1.
    """
    found, lines = rejects.counts(), max(rejects.lines, 1)
    dropped = sum(number for kind, number in found.items() if kind not in KEPT)
    told = ", ".join(f"{number:,} {kind}" for kind, number in found.items())
    torn = "truncated" in found and limit < 1
    if dropped <= limit * lines and not torn:
        rejects.write(place)
        return
    rejects.write(refused)
    if torn:
        raise UsageError(f"a file ends early ({told}; see {refused}); get it again, or take the rest: --max-rejects 1")
    raise UsageError(
        f"{dropped:,} of {lines:,} lines ({dropped / lines:.1%}) cannot be used: {told}; "
        f"--max-rejects allows {limit:.1%}; see {refused}"
    )
