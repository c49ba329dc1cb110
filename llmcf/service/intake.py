"""The writer of a service: `python -m llmcf.service.intake DATASET`, one process, beside the workers.

It takes what they have accepted in its order (llmcf/service/inbox.py) and applies it to the workspace of the live
release: interactions through the code of `llmcf features push`, new items and users into the vocabulary, the online
store and the file of additions. Killed at any moment it goes on where it was: applying twice is applying once.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event as Flag

import numpy as np
from filelock import FileLock, Timeout
from prometheus_client import Counter, Histogram

from core import memory, storage
from core.data import added, vocabulary
from core.data.added import Item
from core.data.events import Event
from core.errors import LlmcfError, Unavailable
from core.progress import say
from llmcf.feature_store import newer, registry
from llmcf.feature_store.taking import Taker
from llmcf.feature_store.writing import OpenStores
from llmcf.service import additions, inbox, state
from llmcf.service.additions import Additions
from llmcf.service.inbox import Entry, Inbox
from llmcf.service.item_texts import ItemTexts
from llmcf.serving import releases
from llmcf.serving.catalogue import Catalogue
from llmcf.serving.manifest import Release

BATCH = 500  # entries of a kind that are applied at once
_LOOK_EVERY_S = 0.05
_TROUBLE_S = 2.0  # between two tries of what did not work
_ENCODER_S = 30.0  # the same for the encoder, which somebody has to fetch
_PRUNE_EVERY_S = 3600.0
_LOCK_S = 10.0  # for the one before to end

APPLIED = Counter("llmcf_intake_applied", "Entries that the writer applied, by what became of them.",
                  ["kind", "outcome"])  # fmt: skip
SECONDS = Histogram(
    "llmcf_intake_seconds",
    "Seconds from the acceptance of an entry to the moment from which requests see it.",
    ["kind"],
    buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 30.0),
)


def note(dataset: str) -> Path:
    """Says which process is the writer, from when it is ready."""
    return state.folder(dataset) / "intake.json"


class Writer:
    """Applies what an inbox holds.

    Raises:
        LlmcfError: if no release is live, or its workspace is not ready.
    """

    def __init__(self, dataset: str, box: Inbox) -> None:
        self._dataset, self._box = dataset, box
        self._stores, self._texts = OpenStores(), ItemTexts("")
        self._quiet_until: dict[str, float] = {}
        self._pruned = time.monotonic()
        self._stamp: storage.Stamp | None = None
        self._follow(releases.require(dataset))
        for folder in registry.take_pushes(self._ws):
            self._stores.open(folder)
        self._try("what was pushed meanwhile", self._catch_up)
        self._try("the encoder", self._follow_encoder, _ENCODER_S)

    def run(self, stop: Flag) -> None:
        """Until told to stop; what was begun is finished."""
        while not stop.is_set():
            if not self.step():
                stop.wait(_LOOK_EVERY_S)

    def step(self) -> int:
        """Apply what waits, at most BATCH of each kind; how many were applied. What fails is tried again later."""
        self._try("the live release", self._follow_live)
        self._try("what was pushed meanwhile", self._catch_up)
        self._try("the encoder", self._follow_encoder, _ENCODER_S)
        work = {inbox.ITEM: self._items, inbox.USER: self._users, inbox.EVENT: self._events}
        if self._texts.name != self._release.encoder:
            del work[inbox.ITEM]
        done = 0
        for kind, apply in work.items():
            done += self._try(f"{kind}s that wait", lambda kind=kind, apply=apply: self._apply(kind, apply))
        if time.monotonic() - self._pruned > _PRUNE_EVERY_S:
            self._box.prune()
            self._pruned = time.monotonic()
        return done

    def _apply(self, kind: str, apply: Callable[[Sequence[Entry]], list[str]]) -> int:
        entries = self._box.waiting(kind, BATCH)
        if not entries:
            return 0
        outcomes = apply(entries)
        now = time.time()
        self._box.applied(entries, outcomes)
        for entry, outcome in zip(entries, outcomes, strict=True):
            APPLIED.labels(kind, outcome).inc()
            SECONDS.labels(kind).observe(max(now - entry.time, 0.0))
        return len(entries)

    def _events(self, entries: Sequence[Entry]) -> list[str]:
        found = [Event(*(entry.body[name] for name in ("user", "item", "timestamp"))) for entry in entries]
        # Judged against the clock when it was accepted; by then it was in no future, and time has not gone back.
        newest = max(event.timestamp for event in found)
        account = self._taker.take(found, now=newest).account
        return [reason or "taken" for reason in account.reasons]

    def _items(self, entries: Sequence[Entry]) -> list[str]:
        self._taker.add([_item(entry) for entry in entries])
        self._write_additions()
        return ["taken"] * len(entries)

    def _users(self, entries: Sequence[Entry]) -> list[str]:
        self._taker.enrol([entry.id for entry in entries])
        return ["taken"] * len(entries)

    def _follow_live(self) -> int:
        """Turn to the release that the supervisor has made live."""
        stamp = storage.stamp(state.serving_file(state.folder(self._dataset)))
        if stamp is None or stamp == self._stamp:
            return 0
        serving = state.read(state.folder(self._dataset))
        if serving is not None:
            self._follow(releases.require(self._dataset, serving.live))
        self._stamp = stamp
        return 0

    def _follow(self, release: Release) -> None:
        """Turn to a release; what it takes to apply something is read now."""
        served = [release]
        if serving := state.read(state.folder(self._dataset)):
            numbers = {*serving.releases, *serving.arms.releases}
            served = [one for one in releases.of(self._dataset) if one.number in numbers]
        known = [Catalogue.load(one).rows.keys() for one in served]
        taker = Taker(release.workspace, self._stores.write)
        taker.enrol([])
        self._release, self._ws, self._taker, self._known = release, release.workspace, taker, known
        self._written, self._caught_up = False, False

    def _catch_up(self) -> int:
        """Bring online what was pushed to the day before since this one's store was filled."""
        if not self._caught_up:
            self._taker.catch_up()
            self._caught_up = True
        return 0

    def _follow_encoder(self) -> int:
        """Have the one that the release names, and the additions in its terms."""
        if self._texts.name != self._release.encoder:
            self._texts = ItemTexts(self._release.encoder)
            self._texts(["a text"])  # what is loaded at the first one is there from now on
        if not self._written:
            self._write_additions()
        return 0

    def _write_additions(self) -> None:
        """All added items that one of the served releases lacks."""
        items = [one for one in added.items(self._ws) if not all(one.raw_id in known for known in self._known)]
        if items or additions.path(self._dataset).exists():
            additions.write(self._dataset, self._described(items))
        self._written = True

    def _described(self, items: Sequence[Item]) -> Additions:
        rows = vocabulary.rows(self._dataset, "items")
        brand_N, categories_NC = newer.labels(self._ws, items)
        texts = [one.text for one in items]
        return Additions(
            encoder=self._texts.name,
            row_N=np.array([rows[one.raw_id] for one in items], dtype=np.int64),
            raw_ids=[one.raw_id for one in items],
            titles=[one.title for one in items],
            brands=[one.brand for one in items],
            categories=[one.categories for one in items],
            texts=texts,
            brand_N=brand_N,
            categories_NC=categories_NC,
            text_NE=self._vectors(texts),
        )

    def _vectors(self, texts: list[str]) -> np.ndarray:
        """Those that the file has already by this encoder are not made again."""
        before = additions.read(self._dataset)
        held = dict(zip(before.texts, before.text_NE, strict=True)) if before.encoder == self._texts.name else {}
        if missing := [text for text in dict.fromkeys(texts) if text not in held]:
            held |= dict(zip(missing, self._texts(missing), strict=True))
        return np.stack([held[text] for text in texts]) if texts else np.empty((0, 0), dtype=np.float32)

    def _try(self, what: str, work: Callable[[], int], again_s: float | None = None) -> int:
        """The work's count; 0 where it fails, which is said, and not tried again for a moment."""
        if time.monotonic() < self._quiet_until.get(what, 0.0):
            return 0
        try:
            return work()
        except (LlmcfError, OSError) as error:
            say(f"intake: {what}: {error}")
            self._quiet_until[what] = time.monotonic() + (_TROUBLE_S if again_s is None else again_s)
            return 0


def _item(entry: Entry) -> Item:
    return Item(raw_id=entry.id, **{**entry.body, "categories": tuple(entry.body["categories"])})


@contextmanager
def alone(dataset: str) -> Iterator[None]:
    """One writer a data set.

    Raises:
        Unavailable: if another one does not end.
    """
    state.folder(dataset).mkdir(parents=True, exist_ok=True)
    lock = FileLock(state.folder(dataset) / ".intake.lock")
    try:
        lock.acquire(timeout=_LOCK_S)
    except Timeout:
        raise Unavailable(f"another writer takes in what comes to {dataset}") from None
    try:
        yield
    finally:
        lock.release()


def main() -> None:
    """Exit code 1 where there is another writer, or nothing is live."""
    dataset, stop, start = sys.argv[1], Flag(), time.monotonic()
    memory.keep_made()
    try:
        with alone(dataset):
            writer = Writer(dataset, Inbox(state.folder(dataset) / "service.db"))  # a signal ends it: nothing has begun
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stop.set())
            storage.write_json(note(dataset), {"pid": os.getpid(), "seconds": round(time.monotonic() - start, 1)})
            say(f"intake of {dataset} is ready ({time.monotonic() - start:.1f} s)")
            writer.run(stop)
    except LlmcfError as error:
        say(f"intake: {error}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
