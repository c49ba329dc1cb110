"""A worker's judgement of what comes in: what can be taken is kept durably, everything else is told why not.

What an event may be is said in core/data/events.py. Two things are stricter than in files: an event may be no more than
a few minutes ahead of the data set's clock, which in an archive stands still (llmcf/online/clock.py): one event from
afar would make every user's state too old to use. And its item must be known.
"""

import time
from collections.abc import Sequence
from threading import Lock
from typing import Any

import pyarrow as pa

from core import storage
from core.data import added, datasets, events, tables, vocabulary
from core.data.added import Item
from core.data.events import NoEventError
from core.settings import Workspace
from llmcf.feature_store import registry
from llmcf.online.clock import now_for
from llmcf.service import arm_counts, inbox
from llmcf.service.inbox import Inbox, Offer
from llmcf.service.intake_messages import EventIn, EventOut, ItemIn, Newcomer, UserIn
from llmcf.service.problems import At, Problem
from llmcf.service.store import Store, page_end

AHEAD_S = 300  # by which a sender's clock may be ahead
FULL = 100_000  # entries that wait for the writer
_ARM = ("experiment", "arm", "release")  # of the answer that an event names
_OTHER_EVENT = "this id was sent with another content"


class Reception:
    """Takes in what callers of one data set send. Safe for threads."""

    def __init__(self, dataset: str, box: Inbox, store: Store) -> None:
        self._box, self._store = box, store
        self._live = datasets.find(dataset).live
        self._known = {kind: Names(dataset, kind) for kind in ("users", "items")}
        self._catalogue = Prepared()

    def events(self, ws: Workspace, asked: Sequence[EventIn]) -> list[EventOut]:
        """Judge events one by one and keep those that can be taken.

        Raises:
            Problem: 503 if too many wait for the writer.
        """
        self._check_room()
        now, answers = self._now(ws), Answers(self._store)
        found: list[EventOut | None] = []
        offers: list[Offer] = []
        for place, one in enumerate(asked):
            try:
                offers.append(self._offer(one, now, answers))
                found.append(None)
            except _Refused as refused:
                found.append(refused.told(one.id, f"/events/{place}/{refused.field}"))
        outcomes = self._box.offer(offers)
        for offer, outcome in zip(offers, outcomes, strict=True):
            _count_click(offer, outcome)
        kept = iter(zip(offers, outcomes, strict=True))
        return [one or self._told(*next(kept), pointer=f"/events/{at}/id") for at, one in enumerate(found)]

    def items(self, ws: Workspace, asked: Sequence[ItemIn]) -> list[Newcomer]:
        """Keep new items, all of them or none.

        Raises:
            Problem: 409 if the catalogue has one that says something else under its id, 422 for what is no item, 503 if
                too many wait for the writer.
        """
        self._check_room()
        judged, wrong = self._judged(asked)
        if wrong:
            raise Problem(422, "invalid-request", "not all of these are items", wrong)
        known = self._catalogue.named(ws, [one.raw_id for one in judged])
        others = [at for at, one in enumerate(judged) if one.raw_id in known and not one.same(known[one.raw_id])]
        if others:
            raise _other_items(others)
        new = [at for at, one in enumerate(judged) if one.raw_id not in known]
        outcomes = dict(zip(new, self._box.offer([_offer_of(judged[at]) for at in new], whole=True), strict=True))
        if others := [at for at, outcome in outcomes.items() if outcome == inbox.OTHER]:
            raise _other_items(others)
        return [_newcomer(one.raw_id, outcomes.get(at, inbox.DUPLICATE)) for at, one in enumerate(judged)]

    def users(self, asked: Sequence[UserIn]) -> list[Newcomer]:
        """Keep new users, all of them or none.

        Raises:
            Problem: 422 for an id that is none, 503 if too many wait for the writer.
        """
        self._check_room()
        ids, wrong = _ids([one.id for one in asked], "users")
        if wrong:
            raise Problem(422, "invalid-request", "not all of these are users", wrong)
        new = [one for one in dict.fromkeys(ids) if one not in self._known["users"]]
        offers = [Offer(kind=inbox.USER, id=one, said={}, body={"id": one}) for one in new]
        outcomes = dict(zip(new, self._box.offer(offers), strict=True))
        return [_newcomer(one, outcomes.pop(one, inbox.DUPLICATE)) for one in ids]

    def _check_room(self) -> None:
        if self._box.backlog(FULL) >= FULL:
            what = "too much waits to be applied; the service's log says why"
            raise Problem(503, "intake-full", what, headers={"Retry-After": "5"})

    def _now(self, ws: Workspace) -> float:
        return now_for(registry.materialized(ws), None, live=self._live)

    def _offer(self, one: EventIn, now: float, answers: "Answers") -> Offer:
        """The event as it would be kept; raises _Refused."""
        user, item = _id("user", one.user), _id("item", one.item)
        seconds = int(now) if one.timestamp is None else _time(one.timestamp, now)
        if item not in self._known["items"] and not self._box.has(inbox.ITEM, item):
            raise _Refused("item", "unknown_item", "no item has this id; POST /items adds it")
        place, arm = None, {}
        if one.request_id is not None:
            place, arm = answers.place(one.request_id, user, item), answers.arm(one.request_id)
        return Offer(
            kind=inbox.EVENT,
            id=one.id,
            said=one.model_dump(exclude={"id"}),
            body={"kind": one.kind, "user": user, "item": item, "timestamp": seconds, **arm},
            request=one.request_id,
            place=place,
            waits=one.kind == "interaction",
        )

    def _told(self, offer: Offer, outcome: str, *, pointer: str) -> EventOut:
        if outcome == inbox.OTHER:
            return _Refused("id", "id_taken", _OTHER_EVENT).told(offer.id, pointer)
        shown = None if offer.place is None else offer.place != inbox.NOT_SHOWN
        return EventOut(id=offer.id, status=outcome, shown=shown)  # pyright: ignore[reportArgumentType]

    def _judged(self, asked: Sequence[ItemIn]) -> tuple[list[Item], list[At]]:
        judged, wrong = [], []
        for at, one in enumerate(asked):
            try:
                item = added.item(one.id, one.title, one.brand, one.categories, one.description)
            except NoEventError as error:
                wrong.append(At(f"/items/{at}/id", str(error)))
                continue
            if not (item.title or item.brand or item.categories):
                wrong.append(At(f"/items/{at}", "says nothing: give a title, a brand, categories or a description"))
            judged.append(item)
        return judged, wrong


def refused(told: Sequence[EventOut]) -> Problem:
    """The problem of a request none of whose events can be taken."""
    what = [At(one.pointer or "", f"{one.reason}: {one.detail}") for one in told]
    return Problem(422, "no-event-taken", "none of the events can be taken", what)


class _Refused(Exception):  # noqa: N818 - what becomes of the event
    def __init__(self, field: str, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.field, self.reason, self.detail = field, reason, detail

    def told(self, id: str, pointer: str) -> EventOut:
        return EventOut(id=id, status="refused", reason=self.reason, detail=self.detail, pointer=pointer)


class Answers:
    """Answers that the events of one call name, each read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[str, dict[str, Any] | None] = {}

    def place(self, request: str, user: str, item: str) -> int | None:
        """Where an answer showed the item to this user, or NOT_SHOWN; None if no such answer is kept."""
        kept = self._kept(request)
        if kept is None:
            return None
        if kept["user"] not in (None, user):  # a session has no user
            return inbox.NOT_SHOWN
        start = kept.get("start", 0)
        shown = kept["items"][start : page_end(start, kept["k"], kept.get("ends", []))]
        return start + shown.index(item) if item in shown else inbox.NOT_SHOWN

    def arm(self, request: str) -> dict[str, Any]:
        """The arm, its experiment and the release that answered; nothing if no such answer is kept."""
        kept = self._kept(request)
        return {} if kept is None else {name: kept[name] for name in _ARM if name in kept}

    def _kept(self, request: str) -> dict[str, Any] | None:
        if request not in self._read:
            self._read[request] = self._store.answer(request)
        return self._read[request]


def _count_click(offer: Offer, outcome: str) -> None:
    """Of something that an answer showed, once."""
    body, shown = offer.body, offer.place is not None and offer.place != inbox.NOT_SHOWN
    if outcome == inbox.ACCEPTED and body["kind"] == "click" and shown and body.keys() >= set(_ARM):
        arm_counts.CLICKS.labels(*(body[name] for name in _ARM)).inc()


class Names:
    """Raw ids that have rows of a vocabulary, which only grows: it is read again when one seems to be missing."""

    def __init__(self, dataset: str, kind: str) -> None:
        self._dataset, self._kind, self._lock = dataset, kind, Lock()
        self._stamp: storage.Stamp | None = None
        self._names: frozenset[str] = frozenset()

    def __contains__(self, raw_id: str) -> bool:
        if raw_id in self._names:
            return True
        with self._lock:
            stamp = storage.stamp(vocabulary.path(self._dataset, self._kind))
            if stamp != self._stamp:
                self._names, self._stamp = frozenset(vocabulary.rows(self._dataset, self._kind)), stamp
            return raw_id in self._names


class Prepared:
    """The catalogue of the workspace that is served, read again when it is prepared anew."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._at: tuple[Workspace, storage.Stamp | None] | None = None
        self._items = pa.table({})
        self._places: dict[str, int] = {}

    def named(self, ws: Workspace, raw_ids: Sequence[str]) -> dict[str, Item]:
        """Those of these ids that it offers."""
        with self._lock:
            at = ws, storage.stamp(ws.path("data", "items.parquet"))
            if at != self._at:
                table = tables.items(ws)
                self._items = table.filter(table["offered"]).select(["raw_id", "title", "brand", "categories"])
                self._places = {raw_id: place for place, raw_id in enumerate(self._items["raw_id"].to_pylist())}
                self._at = at
            places = [self._places[one] for one in raw_ids if one in self._places]
            rows = self._items.take(pa.array(places, pa.int64())).to_pylist()
        return {row["raw_id"]: Item(**{**row, "categories": tuple(row["categories"])}) for row in rows}


def _id(name: str, value: object) -> str:
    try:
        return events.id_of(value)
    except NoEventError as error:
        raise _Refused(name, error.kind, str(error)) from None


def _time(value: object, now: float) -> int:
    try:
        seconds = events.time_of(value, now=max(now, time.time()))
    except NoEventError as error:
        raise _Refused("timestamp", error.kind, str(error)) from None
    if seconds > now + AHEAD_S:
        what = f"lies {seconds - now:,.0f} s ahead of the data set's clock, which says {int(now)}"
        raise _Refused("timestamp", "future_time", what)
    return seconds


def _ids(values: Sequence[object], name: str) -> tuple[list[str], list[At]]:
    ids, wrong = [], []
    for at, value in enumerate(values):
        try:
            ids.append(events.id_of(value))
        except NoEventError as error:
            wrong.append(At(f"/{name}/{at}/id", str(error)))
    return ids, wrong


def _offer_of(item: Item) -> Offer:
    told = {
        "title": item.title,
        "brand": item.brand,
        "categories": list(item.categories),
        "description": item.description,
    }
    said = {name: value for name, value in told.items() if name != "description"}
    return Offer(kind=inbox.ITEM, id=item.raw_id, said=said, body=told)


def _other_items(places: Sequence[int]) -> Problem:
    what = [At(f"/items/{at}/id", "an item of this id is there, and says something else") for at in places]
    return Problem(409, "other-item", "items are added, not changed", what)


def _newcomer(raw_id: str, outcome: str) -> Newcomer:
    return Newcomer(id=raw_id, status="accepted" if outcome == inbox.ACCEPTED else "duplicate")
