"""`llmcf backfill metrics`: what the releases of each day were worth on what then happened, a Parquet file a day.

Each day is asked of the newest release that was trained on strictly earlier days, through the request path, with the
features of each row's moment. What is there, made of the same, is not made again; a run that was killed goes on after
the last file that is whole.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.contracts import SEED
from core.data import tables
from core.errors import LlmcfError, UsageError
from core.markdown import table
from core.progress import say
from core.result import Result
from core.settings import Workspace
from llmcf.daily import figures, partitions, places, rows, scoring
from llmcf.daily.choosing import Choosing, Known, check_earlier, date_of, number_of
from llmcf.daily.scoring import Job, Keys, Scored

MOST_DAYS = 3660
MOST_WORKERS = 64


@dataclass(slots=True, kw_only=True)
class _Account:
    """What becomes of each day: by which release it is scored or was before, or why it is not.

    Args:
        outdated: scored by a release that is gone, on rows that have changed since.
        lost: days whose release was removed, by release; those that never had one are of None.
        empty: days on which nothing was taken.
    """

    waiting: dict[Known, list[Scored]] = field(default_factory=dict)
    lost: dict[Known | None, list[int]] = field(default_factory=dict)
    scored: dict[int, int] = field(default_factory=dict)
    current: dict[int, int] = field(default_factory=dict)
    outdated: dict[int, int] = field(default_factory=dict)
    missing: dict[int, str] = field(default_factory=dict)
    empty: list[int] = field(default_factory=list)
    rebuilt: dict[int, int] = field(default_factory=dict)


def backfill(
    dataset: str,
    order: str,
    *,
    first: str,
    last: str,
    as_of: str | None = None,
    release: int | None = None,
    rebuild: bool = False,
    workers: int = 1,
    again: bool = False,
    seed: int = SEED,
) -> Result:
    """Fill the partitions of the days from `first` to `last`, both counted.

    Args:
        as_of: of the workspace whose rows are read; the newest that holds all the days if not given.
        release: asks this one alone, whatever is newer.
        rebuild: makes a removed release anew where a day was its own.
        workers: processes that score at a time.
        again: also scores what is there already.
        seed: of the negatives.

    Raises:
        UsageError: for what is no day, a day that is not over in the workspace, or one that `release` may know.
        Missing: if the data are not prepared, or Milvus lost what a release names.
        LlmcfError: if a release's collections tell of later days than it says, or a verb of a rebuild fails.
    """
    start, days = time.monotonic(), _days(first, last)
    if not 1 <= workers <= MOST_WORKERS:
        raise UsageError(f"--workers {workers} is not between 1 and {MOST_WORKERS}")
    if rebuild and release is not None:
        raise UsageError("--rebuild is for the releases that days had, and --release for another one; give one of them")
    ws = places.holding(dataset, order, days[-1], as_of)
    choosing = Choosing.of(dataset, order)
    if release is not None:
        choosing = choosing.only(release, dataset, order)
        check_earlier(choosing.there[0], days[0])
    by_day = rows.by_day(np.array(days), tables.interactions(ws), tables.items(ws), seed=seed)
    account = _sorted(ws, by_day, choosing, again=again, rebuild=rebuild)
    account.empty += [day for day in days if day not in by_day]
    for known, waiting in account.waiting.items():
        _score(ws, known, waiting, account, workers)
    for known, lost in account.lost.items():
        if known is not None and rebuild:
            anew = _rebuilt(ws, known, account)
            keys = Keys(ws=ws, known=anew)
            made = [Scored(day=day, rows=by_day[day], made=keys.made(by_day[day])) for day in lost]
            _score(ws, anew, made, account, workers)
        else:
            _miss(ws, known, lost, account)
    return _result(ws, days, account, time.monotonic() - start)


def require_rows(result: Result) -> None:
    """Raises LlmcfError if there were days on which nobody took anything: they have no figures."""
    if days := result.details["empty"]:
        raise LlmcfError(
            f"nothing was taken on {', '.join(days)}, as far as {result.details['read']} says, so it has no figures; "
            "every other day is done. If events are late, prepare the data anew and repeat this"
        )


def _days(first: str, last: str) -> list[int]:
    found = []
    for option, text in (("--from", first), ("--to", last)):
        try:
            found.append(number_of(text))
        except ValueError:
            raise UsageError(f"{option} {text!r} is not a date like 2026-01-31") from None
    if found[0] > found[1]:
        raise UsageError(f"--from {first} is after --to {last}")
    if found[1] - found[0] >= MOST_DAYS:
        raise UsageError(f"--from {first} --to {last} are more than {MOST_DAYS:,} days")
    return list(range(found[0], found[1] + 1))


def _sorted(ws: Workspace, by_day: dict[int, pa.Table], choosing: Choosing, *, again: bool, rebuild: bool) -> _Account:
    """Whose each day is, and whether its figures are there."""
    account, keys = _Account(), {known: Keys(ws=ws, known=known) for known in choosing.there}
    for day, of_day in by_day.items():
        written = {one.known: one for one in partitions.made(partitions.folder(ws.dataset, ws.order, day))}
        choice = choosing.choose(day, written)
        known, before = choice.known, written.get(choice.known) if choice.known else None
        if known is not None and choice.there:
            made = keys[known].made(of_day)
            if made == before and not again:
                account.current[day] = known.number
            else:
                account.waiting.setdefault(known, []).append(Scored(day=day, rows=of_day, made=made))
        elif known is not None and before is not None and before.rows == rows.digest(of_day):
            account.current[day] = known.number
        elif known is not None and before is not None and not (rebuild and known in choosing.removed):
            account.outdated[day] = known.number
        else:
            account.lost.setdefault(known, []).append(day)
    return account


def _score(ws: Workspace, known: Known, days: Sequence[Scored], account: _Account, workers: int) -> None:
    job = Job(name=f"release {known.number}", ws=ws, known=known, days=days)
    for day in scoring.score(job, workers):
        account.scored[day] = known.number
        say(f"{date_of(day)}: measured by release {known.number}")


def _miss(ws: Workspace, known: Known | None, days: Sequence[int], account: _Account) -> None:
    for day in days:
        if known is None:
            why = f"no release of {ws.dataset} was trained on days before {date_of(day)} alone"
        else:
            why = f"release {known.number}, of days before {date_of(known.until)}, was removed; --rebuild makes it anew"
        partitions.write_missing(partitions.folder(ws.dataset, ws.order, day), why)
        account.missing[day] = why


def _rebuilt(ws: Workspace, known: Known, account: _Account) -> Known:
    from llmcf.daily import rebuilding

    anew = rebuilding.rebuild(ws.dataset, known)
    account.rebuilt[known.number] = anew.number
    return anew


def _result(ws: Workspace, days: Sequence[int], account: _Account, seconds: float) -> Result:
    named = {
        name: {str(date_of(day)): what for day, what in sorted(getattr(account, name).items())}
        for name in ("scored", "current", "outdated", "missing")
    }
    return Result(
        verb="backfill metrics",
        workspace=ws,
        seconds=seconds,
        skipped=not account.scored,
        artifacts={"metrics": str(partitions.root(ws.dataset, ws.order))},
        details={
            "read": str(ws.root),
            "days": len(days),
            **named,
            "empty": [str(date_of(day)) for day in account.empty],
            "rebuilt": {str(number): anew for number, anew in account.rebuilt.items()},
            "text": _text(ws, days),
        },
    )


def _text(ws: Workspace, days: Sequence[int]) -> str:
    """A line a day: of all rows, by the release that knew the latest days."""
    found = partitions.read(ws.dataset, ws.order, date_of(days[0]), date_of(days[-1]))
    shown: dict[date, dict[Known, dict[str, Any]]] = {}
    for one in found.filter(pc.field("dimension") == "all").to_pylist():
        of_day = shown.setdefault(one["day"], {})
        if one["release"] is not None:
            known = Known(number_of(str(one["known_until"])), one["release"])
            of_day.setdefault(known, {})[one["metric"]] = one["value"]
    lines = []
    for day, by_release in sorted(shown.items()):
        newest = max(by_release, default=None)
        values = by_release[newest] if newest else {}
        told = (f"{values[name]:.4f}" if values.get(name) is not None else "" for name in figures.NAMES)
        lines.append([str(day), str(newest.number) if newest else "none", *told])
    return "\n".join(table(["day", "release", *figures.NAMES], lines))
