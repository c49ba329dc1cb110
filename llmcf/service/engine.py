"""A worker's releases: loaded once, switched without a request noticing, asked through one Triton.

A request takes the live release when it begins and keeps it to its end, so that no answer mixes two.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Lock, Thread, local

from core import memory, storage
from core.errors import LlmcfError
from core.progress import say
from core.settings import Workspace
from llmcf.service import arm_counts, cursors, state, ways
from llmcf.service.additions import NONE, Additions, Followed
from llmcf.service.breaker import FAILURES, Breaker
from llmcf.service.house import House, Rules
from llmcf.service.remembered import Remembered
from llmcf.service.served_log import ServedLog
from llmcf.service.state import Serving
from llmcf.service.ways import Way
from llmcf.serving import arms, copies, releases
from llmcf.serving.arms import LIVE, Arms
from llmcf.serving.held import Unfit
from llmcf.serving.manifest import Release
from llmcf.serving.recommender import Recommender
from llmcf.serving.triton_client import Canary, Client

_LOOK_EVERY_S = 0.1
_EXAMPLES_EVERY_S = 5.0  # that are looked for again where Milvus had none
_AGAIN_S = 5.0  # between two tries to load a release that could not be loaded
_TIMEOUT_S = 0.4  # of one call to Triton: there is time left for what comes next on the ladder


@dataclass(frozen=True, slots=True)
class Loaded:
    """A release in this process, and how to reach it."""

    release: Release
    recommender: Recommender
    features: Remembered
    bird: Canary
    breaker: Breaker
    serving: Serving
    bare: Recommender  # without the items that came after the release

    @property
    def lacks_examples(self) -> bool:
        """Whether Milvus did not give what its ranker reads: scores are then those without examples."""
        return self.bare.examples is None and "cot" in self.release.collections

    def with_additions(self, found: Additions) -> "Loaded":
        """The same with the items of the additions that the release does not have."""
        new = found.newcomers(self.release.encoder, self.bare.catalogue.rows)
        return replace(self, recommender=self.bare.with_newcomers(new) if len(new) else self.bare)


@dataclass(frozen=True, slots=True)
class Held:
    """What a worker can answer with, replaced as a whole.

    Args:
        loaded: the live release and earlier ones.
        others: those that arms name beside them.
    """

    loaded: tuple[Loaded, ...] = ()
    others: tuple[Loaded, ...] = ()
    arms: Arms = field(default=arms.NONE)

    def with_in_place_of(self, old: Loaded, new: Loaded) -> "Held":
        loaded, others = (tuple(new if one is old else one for one in each) for each in (self.loaded, self.others))
        return replace(self, loaded=loaded, others=others)

    def find(self, number: int) -> Loaded | None:
        return next((one for one in (*self.loaded, *self.others) if one.release.number == number), None)


class Engine:
    """Follows what the supervisor writes down. Safe for threads.

    Args:
        place: the folder in which the supervisor writes (llmcf/service/state.py).

    Raises:
        LlmcfError: if nothing is served, or the live release cannot be loaded. What a running worker goes on without,
            or as it was, stops no other from starting.
    """

    def __init__(self, dataset: str, place: Path, *, timeout_s: float = _TIMEOUT_S) -> None:
        self.dataset = dataset
        self.place = place
        self.key = cursors.secret(place)
        self._kept = copies.folder(dataset)
        self._timeout_s = timeout_s
        self._clients, self._lock, self._stop = local(), Lock(), Event()
        self._stores: dict[Workspace, Breaker] = {}  # of the feature stores: an arm's may fail alone
        self._stamp: storage.Stamp | None = None
        self._again, self._failure = 0.0, dict[storage.Stamp, Exception]()  # of what is to be followed
        self._lacking = dict[int, str]()  # releases beside the live one that could not be loaded, and why
        self._held = Held()
        self.served = ServedLog(place)
        self._additions, self._added = Followed(dataset), NONE
        self._sought, self._unable = 0.0, dict[str, str]()  # what cannot be followed now, and why
        self._house = House(dataset, place)
        self._follow()
        if not self._held.loaded:
            raise LlmcfError(f"nothing is served of {dataset}; start `llmcf serve --dataset {dataset}`")
        self._try(self._follow_additions)
        self._thread = Thread(target=self._watch, name="follows releases", daemon=True)
        self._thread.start()

    @property
    def live(self) -> Loaded:
        return self._held.loaded[0]

    @property
    def arms(self) -> Arms:
        """Those that are on."""
        return self._held.arms

    def find(self, number: int) -> Loaded | None:
        """A release that is at hand, by its number."""
        return self._held.find(number)

    def way(self, unit: str) -> Way:
        """By which releases a request of this user or session is answered."""
        held = self._held
        arm = held.arms.pick(unit)
        if arm == LIVE:
            return ways.way(held.arms.experiment, arm, None, held.loaded)
        number = held.arms.arms[arm].release
        own = held.find(number)
        if own is None:  # this worker could not load it
            arm_counts.FAILURES.labels(held.arms.experiment, arm, number).inc()
        return ways.way(held.arms.experiment, arm, own, held.loaded)

    @property
    def rules(self) -> Rules:
        """As their files say; where one has a fault, as they said before."""
        return self._house.taken

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.served.close()

    def client(self, loaded: Loaded) -> Client:
        """This thread's connection to a release."""
        key = (loaded.serving.server.http_port, loaded.release.number)
        mine: dict[tuple[int, int], Client] = self._clients.__dict__.setdefault("open", {})
        if key not in mine:
            for old in [one for one in mine if self._held.find(one[1]) is None]:
                mine.pop(old).close()
            mine[key] = Client(loaded.serving.server, loaded.release.stages, timeout_s=self._timeout_s)
        return mine[key]

    def drop_client(self, loaded: Loaded) -> None:
        """This thread's connection to a release: it may be the fault, so the next request makes another."""
        mine = self._clients.__dict__.get("open", {})
        broken = mine.pop((loaded.serving.server.http_port, loaded.release.number), None)
        if broken:
            broken.close()

    def probe(self) -> dict[str, str]:
        """Whether Triton answers as the live release does, and the feature store answers at all."""
        loaded, found = self.live, {}
        for part, ask in (
            ("triton", lambda: loaded.bird.check(loaded.serving.server)),
            ("features", lambda: loaded.features.probe()),
        ):
            try:
                ask()
                found[part] = "ok"
            except LlmcfError as error:
                found[part] = str(error)
        return found

    def _watch(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            for follow in (self._follow, self._follow_rules, self._follow_additions, self._follow_examples):
                self._try(follow)

    def _try(self, follow: Callable[[], None]) -> None:
        try:
            follow()
            self._unable.pop(follow.__name__, None)
        except Exception as error:  # whatever cannot be read: who serves goes on with what it has
            why = repr(error)
            if self._unable.get(follow.__name__) != why:  # ten looks a second; the same is said and counted once
                say(f"this worker goes on with release {self.live.release.number} as it is: {why}")
                FAILURES.labels("following").inc()
            self._unable[follow.__name__] = why

    def _follow_additions(self) -> None:
        """Offer items that came a moment ago, in one assignment."""
        found = self._additions.current()
        if found is not self._added:
            held = self._held
            loaded, others = (tuple(one.with_additions(found) for one in each) for each in (held.loaded, held.others))
            self._held = replace(held, loaded=loaded, others=others)
            self._added = found

    def _follow_examples(self) -> None:
        """Read those that Milvus did not give before, as soon as it does."""
        held = self._held
        lacking = [one for one in (*held.loaded, *held.others) if one.lacks_examples]
        if not lacking or time.monotonic() - self._sought < _EXAMPLES_EVERY_S:
            return
        self._sought = time.monotonic()
        for one in lacking:
            try:
                found = Recommender.load(one.release, kept=self._kept)
            except LlmcfError:
                return
            found.prepare()
            whole = replace(one, bare=replace(found, features=one.features))
            whole = whole.with_additions(self._added)
            self._held = self._held.with_in_place_of(one, whole)
            say(f"release {one.release.number} has its examples again")

    def _follow_rules(self) -> None:
        self._house.follow()

    def _follow(self) -> None:
        """Load what is new, then switch in one assignment; what could not be loaded is tried again in some seconds."""
        stamp, soon = storage.stamp(state.serving_file(self.place)), time.monotonic() < self._again
        if stamp is None or (stamp == self._stamp and (soon or not self._lacking)):
            return
        if soon and stamp in self._failure:
            raise self._failure[stamp]
        try:
            self._switch(stamp)
            self._failure = {}
        except Exception as error:
            self._failure = {stamp: error}
            raise
        finally:
            self._again = time.monotonic() + _AGAIN_S

    def _switch(self, stamp: storage.Stamp) -> None:
        wanted = state.read(self.place)
        assert wanted is not None
        held = {one.release.number: one for one in (*self._held.loaded, *self._held.others)}
        live, *before = wanted.releases
        others = sorted(wanted.arms.releases - set(wanted.releases))
        self._lacking = {number: why for number, why in self._lacking.items() if number in (*before, *others)}
        loaded = (self._load(live, wanted, held), *self._others(before, wanted, held))
        self._held = Held(loaded, tuple(self._others(others, wanted, held)), wanted.arms)
        self._forget([held[number] for number in set(held) - {*wanted.releases, *others}])
        self._stamp = stamp
        memory.keep_made()
        state.switched(self.place, os.getpid(), wanted.live)

    def _forget(self, gone: Sequence[Loaded]) -> None:
        """What is let go is no part any more, nor is a store that nobody reads."""
        for one in gone:
            one.breaker.reset()
        read = {one.release.workspace for one in (*self._held.loaded, *self._held.others)}
        for ws in {one.release.workspace for one in gone} - read:
            self._stores.pop(ws).reset()

    def _others(self, numbers: Sequence[int], wanted: Serving, held: dict[int, Loaded]) -> Iterator[Loaded]:
        """Those beside the live one: nobody goes without an answer because an earlier or an arm's cannot be loaded."""
        for number in numbers:
            try:
                yield self._load(number, wanted, held)
                self._lacking.pop(number, None)
            except (LlmcfError, OSError) as error:  # OSError: it is being removed
                if self._lacking.get(number) != str(error):
                    say(f"this worker does without release {number}: {error}")
                self._lacking[number] = str(error)

    def _load(self, number: int, wanted: Serving, held: dict[int, Loaded]) -> Loaded:
        if number in held:
            return replace(held[number], serving=wanted)
        start, release = time.monotonic(), releases.require(self.dataset, number)
        recommender = self._recommender(release)
        if self._held.loaded:
            recommender.prepare()
        else:  # at the start it is better to answer slowly than not
            Thread(target=recommender.prepare, name="prepares", daemon=True).start()
        ws = release.workspace
        if ws not in self._stores:
            self._stores[ws] = Breaker(f"the feature store, {ws.order} {ws.as_of}")
        features = Remembered(recommender.features, self._stores[ws])
        bird, breaker = Canary(release.models, release.stages), Breaker(f"triton, release {number}")
        bare = replace(recommender, features=features)
        say(f"release {number} is loaded ({time.monotonic() - start:.1f} s)")
        return Loaded(release, bare, features, bird, breaker, wanted, bare).with_additions(self._added)

    def _recommender(self, release: Release) -> Recommender:
        """The release in memory, without examples if Milvus has them no more and no copy of them is kept; LlmcfError if
        there are no items, too, or Milvus holds what does not go with the release."""
        try:
            return Recommender.load(release, kept=self._kept)
        except Unfit:
            raise
        except LlmcfError as error:
            if "cot" not in release.collections:
                raise
            found = Recommender.load(release, without_examples=True, kept=self._kept)
            say(f"release {release.number} goes without examples: {error}")
            self._sought = time.monotonic()
            return found
