"""How far the writing of a job is: shards or parts, who has them, how fast it goes, how long it will take."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core import leases, steps, storage
from core.data import tables
from core.errors import Missing, UsageError
from core.result import Result
from core.settings import Workspace
from llm.texts import worklog
from llm.texts.cache import TextCache
from llm.texts.queue import SHARDS, Part, lease_path, shard_of
from llm.texts.worklog import Note

_SUFFIX = ".prom"  # the textfile collector reads no other file


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A shard of the queue, by its number, or a part `i/N`.

    Args:
        owner: `host:pid` of whoever holds it, dead or alive; None if nobody does.
        heartbeat: seconds since the owner's last sign of life.
    """

    name: str
    asked: int
    written: int
    owner: str | None
    heartbeat: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The state of a job; `workers` are those that write now, `seconds_left` None where nobody does."""

    asked: int
    written: int
    shares: list[Share]
    workers: list[Note]
    table: bool

    @property
    def tokens_per_second(self) -> float:
        return sum(worker.rate(worker.tokens) for worker in self.workers)

    @property
    def seconds_left(self) -> float | None:
        """All that is left at the pace of all, and no less than the slowest part that is being written takes."""
        if self.written == self.asked:
            return 0.0
        pace = sum(worker.rate(worker.texts) for worker in self.workers)
        if not pace:
            return None
        paces: defaultdict[str, float] = defaultdict(float)
        for worker in self.workers:
            paces[worker.part] += worker.rate(worker.texts)
        left = {share.name: share.asked - share.written for share in self.shares}
        parts = [left[part] / own for part, own in paces.items() if own and part in left]
        return max((self.asked - self.written) / pace, *parts, 0.0)


def status(ws: Workspace, folder: Path, verb: str, *, metrics: Path | None = None) -> Result:
    """Say how far the texts of `folder` are.

    Args:
        metrics: where to write the same as Prometheus text.

    Raises:
        Missing: if no run has begun.
        UsageError: for a file that no collector would read.
    """
    if metrics and (metrics.suffix != _SUFFIX or not metrics.parent.is_dir()):
        raise UsageError(f"--metrics {str(metrics)!r} is no file that ends in {_SUFFIX}, in a folder that is there")
    found = read(ws, folder, verb)
    if metrics:
        with storage.atomic_path(metrics) as beside:
            beside.write_bytes(as_metrics(found, ws, verb))
    return Result(
        verb=f"{verb.split()[0]} status",
        workspace=ws,
        artifacts={"metrics": str(metrics)} if metrics else {},
        details={
            "asked": found.asked,
            "written": found.written,
            "table": "there" if found.table else "not yet",
            "tokens_per_second": round(found.tokens_per_second, 1),
            "seconds_left": None if found.seconds_left is None else round(found.seconds_left, 1),
            "workers": [
                {"owner": one.owner, "part": one.part or None, "engine": one.engine, "texts": one.texts}
                | {"tokens_per_second": round(one.rate(one.tokens), 1), "heartbeat": round(one.age, 1)}
                for one in found.workers
            ],
            "shards": [asdict(share) for share in found.shares],
            "text": "\n".join(_lines(found)),
        },
    )


def read(ws: Workspace, folder: Path, verb: str) -> Status:
    """See `status`; of several runs the newest, with all that write the same texts."""
    known = worklog.notes(worklog.place(folder))
    table = steps.Step(folder=folder, config=None).stamp() is not None
    if not known:
        if not table:
            raise Missing(f"nothing was asked for {folder}", tables.remedy(ws, verb))
        count = storage.parquet(folder / "texts.parquet", ["prompt_hash"]).num_rows
        return Status(asked=count, written=count, shares=[], workers=[], table=True)
    cache, newest = known[0]
    same = [note for where, note in known if (where, note.names) == (cache, newest.names)]
    names = worklog.asked(cache, newest)
    texts = TextCache(storage.read_json(cache / "key.json"))
    missing = {name for name in names if texts.get(name) is None}
    shares = _parts(same, names, missing) if newest.part else _shards(cache, names, missing)
    return Status(
        asked=len(names),
        written=len(names) - len(missing),
        shares=shares,
        workers=[note for note in same if note.alive],
        table=table,
    )


def _shards(cache: Path, names: Sequence[str], missing: set[str]) -> list[Share]:
    """The shards of the queue that have anything to write."""
    of: dict[int, list[str]] = {}
    for name in names:
        of.setdefault(shard_of(name), []).append(name)
    found = []
    for shard in sorted(of):
        left = sum(name in missing for name in of[shard])
        owner = leases.owner(lease_path(cache, shard))
        found.append(
            Share(
                name=f"{shard:0{len(str(SHARDS - 1))}}",
                asked=len(of[shard]),
                written=len(of[shard]) - left,
                owner=f"{owner.host}:{owner.pid}" if owner else None,
                heartbeat=round(owner.age, 1) if owner else None,
            )
        )
    return found


def _parts(same: Sequence[Note], names: Sequence[str], missing: set[str]) -> list[Share]:
    """All parts of the newest run's count, with the newest worker of each."""
    count = int(same[0].part.split("/")[1])
    newest = {note.part: note for note in reversed(same)}
    found = []
    for part in (Part(index, count) for index in range(count)):
        own = [name for name in names if part.has(name)]
        left, note = sum(name in missing for name in own), newest.get(str(part))
        writing = note if note and note.state == worklog.WRITING else None
        found.append(
            Share(
                name=str(part),
                asked=len(own),
                written=len(own) - left,
                owner=writing.owner if writing else None,
                heartbeat=round(writing.age, 1) if writing else None,
            )
        )
    return found


def _lines(found: Status) -> Iterator[str]:
    """What people read: the shares under way or left, not those that are done."""
    done = sum(share.written == share.asked for share in found.shares)
    yield f"  shards: {done} of {len(found.shares)} done"
    for share in found.shares:
        if share.written < share.asked:
            whose = f"{share.owner}, seen {share.heartbeat:.0f} s ago" if share.owner else "nobody's"
            yield f"    {share.name}: {share.written:,} of {share.asked:,}, {whose}"
    for worker in found.workers:
        what = f"part {worker.part}" if worker.part else "the queue"
        yield (
            f"  worker {worker.owner}: {what}, {worker.texts:,} texts, {worker.rate(worker.tokens):.0f} tokens a "
            f"second, seen {worker.age:.0f} s ago"
        )


def as_metrics(found: Status, ws: Workspace, verb: str) -> bytes:
    """The state as Prometheus text."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    where = {"verb": verb, "dataset": ws.dataset, "order": ws.order, "as_of": ws.as_of}

    def gauge(name: str, text: str, *more: str) -> Gauge:
        return Gauge(f"llmcf_texts_{name}", text, [*where, *more], registry=registry)

    totals: dict[str, tuple[str, float | None]] = {
        "asked": ("Texts that the newest run asks for.", found.asked),
        "written": ("Texts of these that are there.", found.written),
        "workers": ("Workers that write now.", len(found.workers)),
        "tokens_per_second": ("New tokens a second of all workers.", found.tokens_per_second),
        "seconds_left": ("Until all is written, at this pace; absent where nobody writes.", found.seconds_left),
    }
    for name, (text, value) in totals.items():
        if value is not None:
            gauge(name, text).labels(**where).set(value)
    asked = gauge("shard_asked", "Texts of a shard or part.", "shard")
    written = gauge("shard_written", "Texts of a shard or part that are there.", "shard")
    age = gauge("shard_heartbeat_seconds", "Since the holder's last sign of life.", "shard", "owner")
    for share in found.shares:
        asked.labels(**where, shard=share.name).set(share.asked)
        written.labels(**where, shard=share.name).set(share.written)
        if share.owner is not None and share.heartbeat is not None:
            age.labels(**where, shard=share.name, owner=share.owner).set(share.heartbeat)
    return generate_latest(registry)
