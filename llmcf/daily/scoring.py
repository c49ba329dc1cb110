"""Asking a release about its days, each of which becomes a file as soon as it is measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from core import steps, storage
from core.contracts import FIRST_ID
from core.data import tables
from core.settings import Workspace
from llmcf.backfill.workers import each
from llmcf.daily import choosing, figures, partitions, rows
from llmcf.daily.choosing import Known
from llmcf.daily.figures import World
from llmcf.daily.partitions import Made
from llmcf.gates import answering, held_out
from llmcf.gates.answering import Answering
from llmcf.serving import releases, verdicts
from llmcf.serving.manifest import Release

_REQUEST = ("copies", "loading", "newcomers", "question", "recommender", "triton_client")
_SEARCH = ("candidates", "item_space", "items", "text_map", "transition_graph")
CODE = (
    *(f"core/{name}.py" for name in ("data/asof", "data/sampling", "metrics", "segments", "uncertainty")),
    *(f"ict/{name}.py" for name in ("exact", "filters", "nearest", "replica", "shown")),
    *(f"llmcf/daily/{name}.py" for name in ("figures", "rows", "scoring")),
    *(f"llmcf/gates/{name}.py" for name in ("answering", "figures", "held_out")),
    *(f"llmcf/serving/{name}.py" for name in _REQUEST),
    *(f"retrieval_stage/{name}.py" for name in _SEARCH),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A day to score: its rows, and what its file will say that it was made of."""

    day: int
    rows: pa.Table
    made: Made


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Some days of one release, for one process; `name` is told of."""

    name: str
    ws: Workspace
    known: Known
    days: Sequence[Scored]


@dataclass(frozen=True, kw_only=True)
class Keys:
    """What figures of one release rest on, beside a day's rows: the release, the items' facts, the code."""

    ws: Workspace
    known: Known

    @cached_property
    def _release(self) -> Release:
        return releases.require(self.ws.dataset, self.known.number)

    @cached_property
    def _items(self) -> pa.Table:
        return tables.items(self.ws)

    def made(self, table: pa.Table) -> Made:
        """What the file of those rows is made of."""
        digest, item_N = rows.digest(table), np.unique(table["item"].to_numpy())
        new_N = item_N[item_N >= self._release.items_end]
        facts = self._items.take(item_N - FIRST_ID).select(["categories", "brand_id", "category_ids"]).to_pylist()
        texts = answering.texts_of(self._release, self.ws, new_N) if len(new_N) else None
        told = None if texts is None else storage.digest(texts.tolist())
        config = [digest, verdicts.digest(self._release), facts, told, figures.DRAWS, figures.LEVEL]
        step = steps.Step(folder=self.ws.root, config=config, code=CODE)
        known, source = self.known, self._release.source
        return Made(release=known.number, until=known.until, rows=digest, key=step.key, source=source)


def score(job: Job, workers: int = 1) -> Iterator[int]:
    """Write a file of each day; yields the days as they are done.

    Raises:
        LlmcfError: if the release's collections hold days that it must not know, or cannot be asked.
    """
    if workers == 1 or len(job.days) == 1:
        yield from _one_by_one(job)
        return
    parts = np.array_split(np.arange(len(job.days)), min(workers, len(job.days)))
    jobs = [
        Job(name=f"{job.name}, part {n}", ws=job.ws, known=job.known, days=[job.days[at] for at in part])
        for n, part in enumerate(parts, start=1)
    ]
    for _, days in each(_days, jobs, len(jobs)):
        yield from days


def _days(job: Job) -> list[int]:
    return list(_one_by_one(job))


def _one_by_one(job: Job) -> Iterator[int]:
    ws, known = job.ws, job.known
    asked = Answering(releases.require(ws.dataset, known.number), ws)
    choosing.check_holds(asked, known)
    taken, world = tables.interactions(ws), _world(ws, asked, known)
    for one in job.days:
        choosing.check_earlier(known, one.day)
        told = answering.ask(asked, held_out.of_rows(one.rows, taken))
        assert np.array_equal(told.label_N, one.rows["label"].to_numpy()), "answers come in the order of the rows"
        place = partitions.folder(ws.dataset, ws.order, one.day)
        partitions.write(place, figures.measure(one.rows, told, world), one.made)
        yield one.day


def _world(ws: Workspace, asked: Answering, known: Known) -> World:
    taken, items = tables.interactions(ws), tables.items(ws)
    firsts = {}
    for column, table in (("user", tables.users(ws)), ("item", items)):
        firsts[column] = np.full(table.num_rows + FIRST_ID, np.iinfo(np.int64).max)
        np.minimum.at(firsts[column], taken[column].to_numpy(), taken["day"].to_numpy().astype(np.int64))
    return World(
        categories=dict(zip(items["item"].to_pylist(), items["categories"].to_pylist(), strict=True)),
        first_of_user=firsts["user"],
        first_of_item=firsts["item"],
        until=known.until,
        searched=len(asked.items),
    )
