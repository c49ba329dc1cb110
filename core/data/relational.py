"""Raw interactions to the prepared interactions and rows, on an engine: `python -m core.data.relational JOB.json`.

The main process calls `run` for DuckDB; the `spark` environment runs this file as a program.
"""

import json
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.expr.types import Table

from core import schemas, storage
from core.contracts import DAY, SPLITS
from core.data import protocol, vocabulary
from core.data.engines import DuckDb, Engine, Spark
from core.data.protocol import HELD_OUT, Protocol
from core.errors import LlmcfError, UsageError, as_json
from core.torchrun import end_with_parent

_EPOCH = date(1970, 1, 1).toordinal()
_ENGINES = {"duckdb": DuckDb, "spark": Spark}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to read (Parquet of `dataset.INTERACTIONS` with `index`), what to do, and the folder to fill."""

    dataset: str
    raw: str
    folder: str
    engine: str
    protocol: Protocol

    @classmethod
    def load(cls, path: Path) -> "Job":
        fields = storage.read_json(path)
        return cls(**fields | {"protocol": Protocol(**fields["protocol"])})

    def save(self, path: Path) -> None:
        storage.write_json(path, asdict(self))


def run(job: Job) -> dict[str, Any]:
    """Write interactions.parquet and rows.parquet into the job's folder; return what was counted.

    The vocabulary grows once it is known that nothing is refused; if it has grown otherwise meanwhile, all starts over.
    Negatives come from what was taken before the protocol's end. `took_everything` names, by their own ids, users to
    whom that leaves none: their rows have no negatives, and all others keep their numbers.

    Raises:
        UsageError: if nothing is left before the protocol's end, or a split would be empty.
    """
    while (made := _made(job)) is None:
        pass
    return made


def _made(job: Job) -> dict[str, Any] | None:
    """The same; None if somebody else has grown the vocabulary meanwhile."""
    rules = job.protocol
    with storage.scratch_folder(Path(job.folder) / ".scratch") as scratch:
        engine = _ENGINES[job.engine](scratch)
        happened = engine.stage("events", protocol.events(engine.read("raw", pq.read_table(job.raw)), rules.end))
        if not _integer(happened.count()):
            end = "" if rules.end is None else f" before --as-of {datetime.fromtimestamp(rules.end, UTC).date()}"
            raise UsageError(f"{job.dataset} has no interaction{end}")
        users, items = (_appeared(job.dataset, happened, kind) for kind in ("user", "item"))
        on_sale = engine.read("items", items.drop(["first_day"]))
        placed = protocol.sequences(happened, engine.read("users", users.select(["raw_id", "user"])), on_sale, rules)
        placed = engine.stage("placed", _with_splits(placed, rules))
        everything = _check(placed, len(items), rules)
        if not all(_given(job.dataset, kind, table) for kind, table in (("user", users), ("item", items))):
            return None
        calendar = engine.read("calendar", _calendar(placed, items["first_day"].to_numpy()))
        drawn = _negatives(engine, protocol.requests(placed, calendar, len(items), rules), placed, on_sale, rules.seed)
        count = _integer(placed.count())
        made = {"interactions": placed, "rows": protocol.rows(placed, drawn, count, rules)}
        for name, schema in (("interactions", schemas.INTERACTIONS), ("rows", schemas.ROWS)):
            typed = made[name].select(schema.names).cast({field.name: _TYPES[field.type] for field in schema})
            order = ["row"] if name == "rows" else ["user", "position"]
            engine.write(typed.order_by(order), Path(job.folder) / f"{name}.parquet")
    names = dict(zip(users["user"].to_pylist(), users["raw_id"].to_pylist(), strict=True))
    return {
        "users": len(users),
        "items": len(items),
        "interactions": count,
        "took_everything": [names[user] for user in everything],
    }


_TYPES = {pa.string(): "string", pa.int64(): "int64", pa.int32(): "int32", pa.int8(): "int8", pa.float32(): "float32"}


def _appeared(dataset: str, happened: Table, kind: str) -> pa.Table:
    """`raw_id`, the vocabulary row, `sale` and `first_day` of everybody who appeared, in that order."""
    found = protocol.appearances(happened, kind).to_pyarrow()
    rows = vocabulary.numbered(dataset, f"{kind}s", found["raw_id"].to_pylist())
    return pa.table(
        {
            "raw_id": found["raw_id"].cast(pa.string()),
            kind: np.array([rows[raw_id] for raw_id in found["raw_id"].to_pylist()], dtype=np.int64),
            "sale": np.arange(found.num_rows),
            "first_day": found["timestamp"].to_numpy() // DAY,
        }
    )


def _given(dataset: str, kind: str, appeared: pa.Table) -> bool:
    """Whether the vocabulary now gives everybody the rows that `_appeared` has assumed."""
    raw_ids = appeared["raw_id"].to_pylist()
    rows = vocabulary.grow(dataset, f"{kind}s", raw_ids)
    return [rows[raw_id] for raw_id in raw_ids] == appeared[kind].to_pylist()


def _with_splits(placed: Table, rules: Protocol) -> Table:
    if rules.order != "global-time":
        return protocol.with_splits(placed, None)
    days = placed.group_by("day").agg(count=placed.count()).order_by("day").to_pyarrow()
    return protocol.with_splits(placed, protocol.date_cuts(days["day"].to_numpy(), days["count"].to_numpy()))


def _negatives(engine: Engine, asked: Table, placed: Table, on_sale: Table, seed: int) -> Table:
    """`number`, `block` and `item` of all requests that an item is left for."""
    drawn = []
    for turn in range(protocol.ROUNDS):
        drawn.append(engine.stage(f"drawn{turn}", protocol.probed(asked, placed, on_sale, seed, turn)))
        asked = engine.stage(f"left{turn}", asked.anti_join(drawn[-1], ["number", "block"]))
    return ibis.union(*drawn, engine.stage("rest", protocol.counted_off(asked, placed, on_sale, seed)))


def _calendar(placed: Table, first_day: np.ndarray) -> pa.Table:
    """For each day how many items had appeared before it; `first_day` ascends."""
    day = np.arange(first_day[0], _integer(placed.day.max()) + 1)
    on_sale = np.searchsorted(first_day, day)
    return pa.table({"day": day, "open": on_sale, "span": [protocol.span(int(count)) for count in on_sale]})


def _check(placed: Table, catalogue: int, rules: Protocol) -> list[int]:
    """The users who have taken the whole catalogue.

    Raises:
        UsageError: if a split has no rows, or training no negatives.
    """
    found = placed.group_by("split").agg(count=placed.count()).to_pyarrow()
    counts = dict(zip(found["split"].to_pylist(), found["count"].to_pylist(), strict=True))
    for split in SPLITS:
        if split not in counts:
            raise UsageError(_no_rows(split, placed, rules))
    taken = placed.group_by("user").agg(taken=placed["item"].nunique())
    everything = taken.filter(taken["taken"] == catalogue)["user"].to_pyarrow().to_pylist()
    training = placed.filter(placed["split"] == SPLITS[0])
    if not _integer(training.filter(training["user"].notin(everything)).count() if everything else training.count()):
        raise UsageError(f"everybody has every item there is ({catalogue}): no negative is left to train with")
    return sorted(everything)


def _no_rows(split: str, placed: Table, rules: Protocol) -> str:
    days = placed.group_by("day").agg(count=placed.count()).to_pyarrow()
    day, count = (days[name].to_numpy() for name in ("day", "count"))
    share, fullest = count.max() / count.sum(), date.fromordinal(_EPOCH + int(day[count.argmax()]))
    if rules.order == "global-time":
        return (
            f"--order global-time leaves no rows for the {split} split: it cuts between days after 80 % and 90 % of "
            f"the interactions, and {share:.0%} of them are of {fullest} ({len(day)} days in all); take --order "
            "shuffled-ties, which holds out each user's last two, or leave out what was written on that day"
        )
    return (
        f"too few interactions for a {split} split: no user has {HELD_OUT} of them or more; take more data or a later "
        "--as-of"
    )


def _integer(value: Any) -> int:
    return int(value.to_pyarrow().as_py())


def main() -> None:
    """Run one job; the last line of stdout is its account, or the error for the user. It ends with its parent."""
    end_with_parent()
    try:
        account = {"done": run(Job.load(Path(sys.argv[1])))}
    except LlmcfError as error:
        account = {"error": as_json(error)}
    print(json.dumps(account))


if __name__ == "__main__":
    main()
