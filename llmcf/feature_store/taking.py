"""Taking new interactions in: the ledger, the vocabulary, the timelines, and the states that requests read.

One piece of code for `llmcf features push`, which makes a `Taker` for each push, and for the service's writer, which
keeps one: what a push reads of the workspace is then read again only after another process has changed it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from core import storage
from core.data import tables, vocabulary
from core.data.events import Event
from core.data.histories import Attributes
from core.settings import Workspace
from core.storage import Stamp
from llmcf.feature_store import filled, ledger, registry
from llmcf.feature_store.ledger import Tally
from llmcf.feature_store.pushes import Account, Timelines

USER_STATES = "interactions"  # Feast's push source
Write = Callable[[Path, str, pa.Table], None]  # (folder with a feature store, push source or view, rows)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a push: the account, and how many users and items were never seen before."""

    account: Account
    new_users: int
    new_items: int


@dataclass(frozen=True, slots=True)
class Known:
    """A workspace with the events that count in it, as it was when the files had these stamps."""

    stamps: tuple[Stamp | None, ...]
    timelines: Timelines
    rows: dict[str, dict[str, int]]  # by kind of vocabulary and raw id
    tally: Tally

    @classmethod
    def read(cls, ws: Workspace) -> "Known":
        """Raises LlmcfError if the data is not prepared."""
        stamps, counting = _stamps(ws), ledger.events(ws)
        rows = {kind: vocabulary.rows(ws.dataset, kind) for kind in ("users", "items")}
        attributes = Attributes.of(tables.items(ws))
        timelines = Timelines(tables.interactions(ws), attributes, rows["users"], rows["items"])
        timelines.replay(counting)
        return cls(stamps, timelines, rows, Tally(counting))

    def grow(self, ws: Workspace, kind: str, raw_ids: Sequence[str]) -> int:
        """Give rows to those that have none; how many."""
        known = self.rows[kind]
        before = len(known)
        if not known.keys() >= set(raw_ids):
            known.update(vocabulary.grow(ws.dataset, kind, raw_ids))
        return len(known) - before


class Taker:
    """Takes events into one workspace. For one thread; processes wait for each other.

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
        with registry.locked(self._ws), ledger.locked(self._ws):
            folders = registry.take_pushes(self._ws)
            known, self._known = self._current(), None  # what fails half way is read anew by the next
            until = filled.until(self._ws, filled.contents(self._ws, known.tally))
            account = known.timelines.judge(events, now=now)
            taken = self._keep(known, account)
            states = known.timelines.states(known.timelines.ids(events))
            self._bring(folders, states)
            then(known)
            if until is not None:
                filled.mark(self._ws, filled.contents(self._ws, known.tally), known.tally, until=until)
            self._known = Known(_stamps(self._ws), known.timelines, known.rows, known.tally)
        return taken

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


def _stamps(ws: Workspace) -> tuple[Stamp | None, ...]:
    prepared = (ws.path("data", f"{name}.parquet") for name in ("interactions", "items"))
    numbers = (vocabulary.path(ws.dataset, kind) for kind in ("users", "items"))
    return tuple(storage.stamp(path) for path in (*prepared, *numbers, ledger.path(ws)))
