"""A month of metrics by day: the wall time of `llmcf backfill metrics`, and of the same once more without news.

    .venv/bin/python -m benchmarks.month [--dataset amazon-beauty --order global-time --to 2014-07-23 --days 31]

Asks for a prepared workspace that holds the days (the last ones of the data if not named) and for a release that was
trained on days before them alone; where one is not there it says by which verbs it is made. Days that are measured
already are measured again, to the same files. Writes benchmarks/results/month.{json,md}.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from benchmarks import measured
from core.data import tables
from core.errors import LlmcfError, Missing
from core.markdown import table
from core.progress import say
from core.settings import Workspace
from llmcf.daily import figures, partitions, places
from llmcf.daily.choosing import Choosing, date_of, number_of
from llmcf.workspaces import days_of

AT_MOST_S = 20 * 60  # what a month on Beauty may take
_SCORED = (0, 1)  # exit codes of a run that is done: 1 where there were days on which nothing was taken
_LLMCF = str(Path(sys.executable).with_name("llmcf"))
_MAKING = ("data prepare", "features build", "features apply", "features join")
_MAKING += ("rank train --framework none", "retrieve train --framework none", "export --framework none --no-promote")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What was measured: days with figures of those asked for, what they rest on, seconds and MiB.

    `again` is the same command where nothing has changed.
    """

    dataset: str
    order: str
    first: str
    last: str
    days: int
    scored: int
    releases: tuple[int, ...]
    rows: int
    requests: int
    workers: int
    seconds: float
    peak_mib: int
    again: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="amazon-beauty")
    parser.add_argument("--order", default="global-time")
    parser.add_argument("--to", default="", help="the last day (default: the last whole one that is prepared)")
    parser.add_argument("--days", type=int, default=31, help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that score (default: %(default)s)")
    given = parser.parse_args()
    try:
        last = number_of(given.to) if given.to else newest(given.dataset, given.order)
        account = run(given.dataset, given.order, last - given.days + 1, last, given.workers)
    except LlmcfError as error:
        sys.exit(f"month: {error}")
    command = f"python -m benchmarks.month --dataset {account.dataset} --order {account.order} --to {account.last} "
    command += f"--days {account.days} --workers {account.workers}"
    measured.write("month", {"command": command, **asdict(account)}, page(account, command))
    say((measured.RESULTS / "month.md").read_text(encoding="utf-8"))


def newest(dataset: str, order: str) -> int:
    """The last day on which something was taken of those that a prepared workspace holds whole.

    Raises:
        Missing: if none is prepared.
    """
    there = [(end, ws.as_of, ws) for ws in days_of(dataset, order) if (end := places.held_until(ws)) is not None]
    if not there:
        raise Missing(
            f"no day of {dataset}, {order}, is prepared", tables.remedy(Workspace(dataset, order), _MAKING[0])
        )
    end, _, ws = max(there)
    return min(end - 1, int(tables.interactions(ws)["day"].to_numpy().max()))


def run(dataset: str, order: str, first: int, last: int, workers: int) -> Account:
    """Measure the days from `first` to `last`, both counted, and once more.

    Raises:
        LlmcfError: if no release may be asked about the first day, or the verb leaves a day without figures.
    """
    check_release(dataset, order, first)
    ws = places.holding(dataset, order, last, None)
    days = {str(date_of(day)) for day in tables.interactions(ws)["day"].to_pylist() if first <= day <= last}
    words = [_LLMCF, "backfill", "metrics", "--dataset", dataset, "--order", order]
    words += ["--from", str(date_of(first)), "--to", str(date_of(last)), "--workers", str(workers)]
    spent = measured.run([*words, "--again"], done=_SCORED)
    again = measured.run(words, done=_SCORED)
    lines = partitions.read(dataset, order, date_of(first), date_of(last))
    lines = lines.filter((pc.field("segment") == "all") & (pc.field("metric") == figures.NAMES[0]))
    scored = newest_of_days(lines.to_pylist())
    if lost := sorted(days - {str(line["day"]) for line in scored}):
        raise LlmcfError(f"{' '.join(words)} left {', '.join(lost)} without figures")
    return Account(
        dataset=dataset,
        order=order,
        first=str(date_of(first)),
        last=str(date_of(last)),
        days=last - first + 1,
        scored=len(scored),
        releases=tuple(sorted({line["release"] for line in scored})),
        rows=sum(line["rows"] for line in scored),
        requests=sum(line["requests"] for line in scored),
        workers=workers,
        seconds=round(spent.seconds, 1),
        peak_mib=spent.peak_mib,
        again=round(again.seconds, 1),
    )


def check_release(dataset: str, order: str, first: int) -> None:
    """Raises LlmcfError, with the verbs that make one, if every release knows the first day."""
    if Choosing.of(dataset, order).choose(first).there:
        return
    ws = Workspace(dataset, order, str(date_of(first)))
    verbs = " && ".join(tables.remedy(ws, verb) for verb in _MAKING)
    raise LlmcfError(
        f"no release of {dataset}, {order}, was trained on days before {date_of(first)} alone; make one: {verbs}"
    )


def newest_of_days(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each day the line of the release that knew the latest days; days that are missing have none."""
    found: dict[date, dict[str, Any]] = {}
    for line in lines:
        before = found.get(line["day"])
        if line["missing"] is None and (before is None or _known(line) > _known(before)):
            found[line["day"]] = line
    return list(found.values())


def _known(line: dict[str, Any]) -> tuple[date, int]:
    return line["known_until"], line["release"]


def page(account: Account, command: str) -> str:
    """What the account amounts to."""
    a_day = account.seconds / account.scored if account.scored else 0.0
    seconds = [
        ("the month", account.seconds),
        ("a day of it", a_day),
        ("once more, where nothing is new", account.again),
        ("a month on Beauty may take", AT_MOST_S),
    ]
    releases = ", ".join(map(str, account.releases)) or "none"
    return "\n".join(
        [
            "# A month of metrics by day",
            "",
            f"{account.dataset}, {account.order}, {account.first} to {account.last}: {account.days} days, "
            f"{account.scored} of them with purchases, {account.rows:,} rows and {account.requests:,} requests, asked "
            f"of release {releases} with {account.workers} processes; at most {account.peak_mib:,} MiB. "
            f"{measured.sentence()}. `{command}`",
            "",
            *table(["`llmcf backfill metrics`", "seconds"], [[what, f"{one:.1f}"] for what, one in seconds]),
            "",
        ]
    )


if __name__ == "__main__":
    main()
