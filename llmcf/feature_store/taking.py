"""Taking in what is new: the ledgers, the vocabulary, the timelines, and the states that requests read.

One piece of code for `llmcf features push`, which makes a `Taker` for each push, and for the service's writer, which
keeps one: what a push reads of the workspace is then read again only after another process has changed it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from core import storage
from core.data import added, tables, vocabulary
from core.data.added import Item
from core.data.events import Event
from core.data.histories import Attributes
from core.settings import Workspace
from core.storage import Stamp
from llmcf.feature_store import filled, ledger, newer, registry
from llmcf.feature_store.ledger import Tally
from llmcf.feature_store.pushes import Account, Timelines

USER_STATES, ITEM_STATES = "interactions", "item_attributes"  # Feast's push source, a view
Write = Callable[[Path, str, pa.Table], None]  # (folder with a feature store, one of the two, rows)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a push: the account, and how many users and items were never seen before."""

    account: Account
    new_users: int
    new_items: int


@dataclass(slots=True)
class Known:
    """A workspace with what was pushed to it, as it was when the files had these stamps."""

    stamps: tuple[Stamp | None, ...]
    timelines: Timelines
    rows: dict[str, dict[str, int]]  # by kind of vocabulary and raw id
    tally: Tally
    added: str | None  # digest of the added items
    offered: frozenset[str]  # raw ids of the prepared catalogue

    @classmethod
    def read(cls, ws: Workspace) -> "Known":
        """Raises LlmcfError if the data is not prepared."""
        stamps, counting, prepared = _stamps(ws), ledger.events(ws), tables.items(ws)
        rows = {kind: vocabulary.rows(ws.dataset, kind) for kind in ("users", "items")}
        attributes, offered = Attributes.of(prepared), newer.offered(prepared)
        timelines = Timelines(tables.interactions(ws), attributes, rows["users"], rows["items"])
        timelines.replay(counting)
        known = cls(stamps, timelines, rows, Tally(counting), added.digest(ws), offered)
        known.describe(ws, newer.items(ws, offered))
        return known

    def contents(self, ws: Workspace) -> dict[str, Any]:
        """What the online store should hold."""
        return filled.contents(ws, self.tally, self.added)

    def describe(self, ws: Workspace, new: Sequence[Item]) -> None:
        """Let histories know the brands and categories of added items, which have rows."""
        item_N = np.array([self.rows["items"][one.raw_id] for one in new], dtype=np.int64)
        self.timelines.attributes = self.timelines.attributes.beside(item_N, *newer.labels(ws, new))

    def grow(self, ws: Workspace, kind: str, raw_ids: Sequence[str]) -> int:
        """Give rows to those that have none; how many."""
        known = self.rows[kind]
        before = len(known)
        if not known.keys() >= set(raw_ids):
            known.update(vocabulary.grow(ws.dataset, kind, raw_ids))
        return len(known) - before


class Taker:
    """Takes events, items and users into one workspace. For one thread; processes wait for each other.

    Args:
        write: brings rows online.
    """

    def __init__(self, ws: Workspace, write: Write) -> None:
        self._ws, self._write = ws, write
        self._known: Known | None = None

    def take(self, events: Sequence[Event], *, now: float, then: Callable[[Known], None] = lambda _: None) -> Taken:
        """Take in what can be taken; see `jobs.push`, whose words hold here as well.

        Args:
            then: is called before the events are noted as online, with the locks held.

        Raises:
            Missing: if no feature store is there that fits; then nothing is taken.
        """
        with self._changing() as (known, folders):
            account = known.timelines.judge(events, now=now)
            taken = self._keep(known, account)
            self._bring(folders, known.timelines.states(known.timelines.ids(events)))
            then(known)
        return taken

    def add(self, items: Sequence[Item]) -> None:
        """Give new items rows of the vocabulary and bring what is known of them online; safe to repeat.

        An item that the prepared catalogue offers is left as it is.

        Raises:
            Missing: as of `take`.
        """
        with self._changing() as (known, folders):
            known.grow(self._ws, "items", [one.raw_id for one in items])
            added.add(self._ws, items)
            known.added = added.digest(self._ws)
            wanted = {one.raw_id for one in items}
            if new := [one for one in newer.items(self._ws, known.offered) if one.raw_id in wanted]:
                known.describe(self._ws, new)
                table = newer.attributes(self._ws, new, known.rows["items"])
                for folder in folders:
                    self._write(folder, ITEM_STATES, table)

    def enrol(self, users: Sequence[str]) -> None:
        """Give new users rows of the vocabulary."""
        with self._changing() as (known, _):
            known.grow(self._ws, "users", users)

    def catch_up(self) -> bool:
        """Bring online what other workspaces took since this one's store was filled and counts here, too: newest states
        of users, and added items. Safe to repeat; whether there was any.

        Raises:
            Missing: as of `take`.
        """
        if not filled.behind(self._ws):
            return False
        with self._changing() as (known, folders):
            online = registry.online(self._ws) or {}
            counting = ledger.events(self._ws)
            held = counting[: online.get("events", 0)]
            missed = counting[len(held) :] if ledger.Tally(held).digest == online.get("ledger") else counting
            self._bring(folders, known.timelines.states(known.timelines.ids(missed)))
            new = newer.items(self._ws, known.offered)
            if new and known.added != online.get("added"):
                table = newer.attributes(self._ws, new, known.rows["items"])
                for folder in folders:
                    self._write(folder, ITEM_STATES, table)
            own = registry.marker(self._ws, registry.MATERIALIZED)
            wanted = known.contents(self._ws)
            if (
                own and registry.UNTIL in own and own["release"] == wanted["release"]
            ):  # else it is what feast/ replaces that answers
                filled.mark(self._ws, wanted, known.tally, until=own[registry.UNTIL])
        return True

    @contextmanager
    def _changing(self) -> Iterator[tuple[Known, list[Path]]]:
        """What is known and where rows go, alone; afterwards what was online before is noted as online again."""
        with registry.locked(self._ws), ledger.locked(self._ws):
            folders = registry.take_pushes(self._ws)
            known, self._known = self._current(), None  # what fails half way is read anew by the next
            until = filled.until(self._ws, known.contents(self._ws))
            yield known, folders
            wanted = known.contents(self._ws)
            if until is not None and filled.until(self._ws, wanted) is None:
                filled.mark(self._ws, wanted, known.tally, until=until)
            known.stamps = (*known.stamps[:_PREPARED], *_stamps(self._ws)[_PREPARED:])  # nobody else changed the others
            self._known = known

    def _current(self) -> Known:
        if self._known is None or self._known.stamps != _stamps(self._ws):
            self._known = Known.read(self._ws)
        return self._known

    def _keep(self, known: Known, account: Account) -> Taken:
        new_users = known.grow(self._ws, "users", [event.user for event in account.accepted])
        new_items = known.grow(self._ws, "items", [event.item for event in account.accepted])
        ledger.add(self._ws, account.accepted)
        account.out_of_order = known.timelines.insert(account.accepted)
        known.tally.add(account.accepted)
        return Taken(account, new_users, new_items)

    def _bring(self, folders: Sequence[Path], states: pa.Table) -> None:
        """Write each user's newest state; `states` has a user's states together, oldest first."""
        if states.num_rows == 0:
            return
        user = states["user"].to_numpy()
        newest = states.filter(pa.array(np.append(user[1:] != user[:-1], True)))
        for folder in folders:
            self._write(folder, USER_STATES, newest)


_PREPARED = 2  # of the stamps: tables that `data prepare` may replace meanwhile


def _stamps(ws: Workspace) -> tuple[Stamp | None, ...]:
    prepared = (ws.path("data", f"{name}.parquet") for name in ("interactions", "items"))
    numbers = (vocabulary.path(ws.dataset, kind) for kind in ("users", "items"))
    files = (*prepared, *numbers, added.path(ws.dataset))
    return *(storage.stamp(path) for path in files), *ledger.stamps(ws)
