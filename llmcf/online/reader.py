"""What a request knows: the newest state of a user and of items, from Feast's online store.

Feast's registry says which views and fields a request reads (`user_request`, `item_request`) and for how long a state
counts; the rows are read past Feast's response building (llmcf/online/rows.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core import storage
from core.contracts import DAY, DENSE, PAD
from core.data import datasets, tables
from core.errors import Missing
from core.progress import say
from core.settings import Workspace
from core.storage import Stamp
from llmcf.feature_store import registry
from llmcf.feature_store.opening import open_store
from llmcf.online import session, staleness
from llmcf.online.clock import now_for
from llmcf.online.columns import Columns
from llmcf.online.rows import Rows, open_rows
from llmcf.online.table import Read, Table
from llmcf.online.views import OnDemand, View, on_demand, views

if TYPE_CHECKING:
    from feast import FeatureStore

USER, ITEM = "user_request", "item_request"  # feature services
LEADS = {USER: "user_history", ITEM: "item_attributes"}  # without this view's row nothing is known
RANKING = "ranking"  # the service whose on-demand view the training join ran
# Views whose rows are the same for as long as a release is applied: they come from files that are copied then, and a
# push brings states of users alone. Those are not kept, however briefly: every process then reads a push at once, and
# what they cost is one query.
IMMUTABLE = frozenset({"item_attributes", "item_popularity", "item_neighbours"})
CACHED_ROWS = 65_536  # a view; about 1 kB each
_AT_ONCE = 4096  # items that are read in one go


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """One release as it is open here; `materialized` is what materialized.json said when `stamp` was taken.

    `applied` is applied.json's stamp: a release that is applied again is another store, even under the same name.
    """

    stamp: Stamp
    applied: Stamp | None
    materialized: Mapping[str, Any]
    tables: Mapping[str, Table]
    items: Columns
    on_demand: OnDemand


class OnlineFeatures:
    """Reads by id (vocabulary row), not raw id. Opening takes seconds, a read of one user less than a millisecond.

    A release that is applied and materialized later is opened by the first read after it; until then the old one
    answers. `now` fixes the clock that TTLs are held against, see llmcf/online/clock.py. `stale` counts, a view, the
    rows that were too old to use since this reader was made; Prometheus' llmcf_online_rows_total counts all, and
    llmcf/online/staleness.py tells a thread of those that it has read.

    Raises:
        LlmcfError: if the online store was never filled or does not answer.
    """

    def __init__(self, ws: Workspace, now: datetime | None = None, *, cached_rows: int = CACHED_ROWS) -> None:
        self._ws, self._now, self._cached_rows = ws, now, cached_rows
        self._marker = ws.path("feast", registry.MATERIALIZED)
        self._popular: tuple[Stamp | None, list[int]] = (None, [])
        self._lock = Lock()
        folder = registry.serving(ws)
        self._opened = self._open(storage.stamp(folder / registry.MATERIALIZED), folder)
        self.stale: Counter[str] = Counter()
        self._live = datasets.find(ws.dataset).live
        self._clock(self._opened)

    def user(self, user: int) -> dict[str, Any] | None:
        """The fields of `user_request`: `history` (padded left), `activity`, `profile`, `age` ...; None if unknown."""
        return self.read(USER, [user]).rows[0]

    def items(self, items: Sequence[int]) -> list[dict[str, Any] | None]:
        """For each id the fields of `item_request`: `title`, `brand_id`, `popularity` ...; None if unknown."""
        return self.read(ITEM, items).rows

    def session(self, items: Sequence[int]) -> dict[str, Any]:
        """The fields of `user_request`'s history for somebody nobody knows who took these items today, oldest first."""
        return session.state(items, self.items(items), self.today())

    def read(self, service: str, ids: Sequence[int]) -> Read:
        """The same with the number of stale rows a view."""
        opened = self._current()
        found = opened.tables[service].read(ids, self._clock(opened))
        if found.stale:
            self._report(found.stale)
        return found

    def today(self) -> int:
        """The reader's day, counted from 1970-01-01: an archive's stopped with its data."""
        return int(self._clock(self._opened)) // DAY

    def dense(self, user: Mapping[str, Any], items: Sequence[int], day: int) -> NDArray[np.float32]:
        """The as-of features of candidates in the order of `contracts.DENSE`, (C, J); 0 where nothing is known.

        Args:
            user: what `user` gave.
            day: of the request, counted from 1970-01-01.
        """
        opened = self._current()
        found = opened.items.at(items, self._clock(opened))
        if found.stale:
            self._report(found.stale)
        known = _of_all(user, len(items)) | found.values | {"day": np.full(len(items), float(day))}
        nothing_C, no_list_CX = np.full(len(items), np.nan), np.zeros((len(items), 1))
        asked = {name: known.get(name, nothing_C) for name in opened.on_demand.scalars}
        asked |= {name: known.get(name, no_list_CX) for name in opened.on_demand.lists}
        known |= opened.on_demand.features(asked)
        columns = [known.get(name, nothing_C) for name in DENSE]
        return np.nan_to_num(np.stack(columns, axis=1).astype(np.float32))

    def prepare(self, items: Sequence[int]) -> None:
        """Read at once what the first requests for these items would read."""
        for start in range(0, len(items), _AT_ONCE):
            self._opened.items.load(items[start : start + _AT_ONCE])

    def forget(self) -> None:
        """Drop the rows that are kept, as if this process had just opened the store."""
        for kept in (*self._opened.tables.values(), self._opened.items):
            kept.forget()

    def popular(self, count: int) -> list[int]:
        """The items most taken lately, most first: what a stranger is shown. Sorted once a release."""
        path = registry.serving(self._ws) / "data" / "item_popularity.parquet"
        stamp = storage.stamp(path)
        if stamp is not None and stamp != self._popular[0]:
            self._popular = stamp, most_taken_lately(path)
        return self._popular[1][:count]

    def _clock(self, opened: _Opened) -> float:
        return now_for(opened.materialized, self._now, live=self._live)

    def _report(self, stale: Mapping[str, int]) -> None:
        staleness.note(stale)
        with self._lock:
            new = [view for view in stale if not self.stale[view]]
            self.stale.update(stale)
        for view in new:
            say(f"online features: rows of {view} are older than its TTL and read as missing; counted from here on")

    def _current(self) -> _Opened:
        """What is materialized now; an absent marker means that a release is being replaced."""
        stamp = storage.stamp(self._marker)
        if stamp and stamp != self._opened.stamp:
            with self._lock:
                if stamp != self._opened.stamp:
                    self._opened = self._open(stamp, self._ws.path("feast"), self._opened)
        return self._opened

    def _open(self, stamp: Stamp | None, folder: Path, before: _Opened | None = None) -> _Opened:
        materialized = registry.materialized(self._ws, folder)
        if stamp is None:
            raise Missing("the online store was filled only now", tables.remedy(self._ws, "features materialize"))
        applied = storage.stamp(folder / registry.APPLIED)
        if before and before.applied == applied:
            return replace(before, stamp=stamp, materialized=materialized)
        store = open_store(folder)
        rows = {service: self._rows(store, service, folder, materialized["release"]) for service in LEADS}
        return _Opened(
            stamp=stamp,
            applied=applied,
            materialized=materialized,
            tables={service: self._table(service, *rows[service]) for service in LEADS},
            items=Columns(*rows[ITEM], lead=LEADS[ITEM]),
            on_demand=on_demand(store, RANKING),
        )

    def _rows(
        self, store: "FeatureStore", service: str, folder: Path, release: Mapping[str, Any]
    ) -> tuple[Rows, tuple[View, ...]]:
        found = views(store, service)
        rows = open_rows(self._ws, folder, release, found[0].key)
        rows.read([(view, [PAD]) for view in found])  # what is loaded at the first read had better be loaded now
        return rows, found

    def _table(self, service: str, rows: Rows, found: Sequence[View]) -> Table:
        return Table(rows, found, lead=LEADS[service], immutable=IMMUTABLE, kept=self._cached_rows)


def _of_all(user: Mapping[str, Any], count: int) -> dict[str, NDArray]:
    """The numbers of a user's state as those of `count` rows: (count,) or (count, X)."""
    numbers = {name: np.asarray(value) for name, value in user.items() if isinstance(value, int | float | list)}
    return {name: np.broadcast_to(value, (count, *value.shape)) for name, value in numbers.items()}


def most_taken_lately(path: Path) -> list[int]:
    """The items of a table of dated `item_popularity` states by what is newest of each: takings of the last 30 days,
    equals by all takings, then by id. `retrieval_stage.controls.popular_lately` measures the same order."""
    states = storage.parquet(path).sort_by("event_timestamp")
    newest = states.group_by("item", use_threads=False).aggregate([("popularity_30d", "last"), ("popularity", "last")])
    keys = [("popularity_30d_last", "descending"), ("popularity_last", "descending"), ("item", "ascending")]
    return newest.sort_by(keys)["item"].to_pylist()
