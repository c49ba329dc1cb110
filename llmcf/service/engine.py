"""A worker's releases: loaded once, switched without a request noticing, asked through one Triton.

A request takes the live release when it begins and keeps it to its end, so that no answer mixes two.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Lock, Thread, local

from core import storage
from core.errors import LlmcfError
from core.progress import say
from llmcf.service import rules, state
from llmcf.service.additions import NONE, Additions, Followed
from llmcf.service.breaker import Breaker
from llmcf.service.remembered import Remembered
from llmcf.service.rules import Scene
from llmcf.service.served_log import ServedLog
from llmcf.service.state import Serving
from llmcf.serving import releases
from llmcf.serving.manifest import Release
from llmcf.serving.recommender import Recommender
from llmcf.serving.triton_client import Canary, Client

_LOOK_EVERY_S = 0.1
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

    def with_additions(self, found: Additions) -> "Loaded":
        """The same with the items of the additions that the release does not have."""
        new = found.newcomers(self.release.encoder, self.bare.catalogue.rows)
        return replace(self, recommender=self.bare.with_newcomers(new) if len(new) else self.bare)


class Engine:
    """Follows what the supervisor writes down. Safe for threads.

    Args:
        place: the folder in which the supervisor writes (llmcf/service/state.py).

    Raises:
        LlmcfError: if nothing is served, or the live release cannot be loaded.
    """

    def __init__(self, dataset: str, place: Path, *, timeout_s: float = _TIMEOUT_S) -> None:
        self.dataset = dataset
        self.place = place
        self._timeout_s = timeout_s
        self._clients, self._lock, self._stop = local(), Lock(), Event()
        self.breakers = {"features": Breaker("the feature store")}
        self._stamp: storage.Stamp | None = None
        self._loaded: tuple[Loaded, ...] = ()
        self.served = ServedLog(place)
        self._additions, self._added = Followed(dataset), NONE
        self._rules: storage.Stamp | None = None
        self._scenes = rules.load(rules.path(dataset))
        self._follow()
        self._follow_additions()
        if not self._loaded:
            raise LlmcfError(f"nothing is served of {dataset}; start `llmcf serve --dataset {dataset}`")
        self._thread = Thread(target=self._watch, name="follows releases", daemon=True)
        self._thread.start()

    @property
    def live(self) -> Loaded:
        return self._loaded[0]

    @property
    def before(self) -> tuple[Loaded, ...]:
        """Those that can be asked where the live one cannot, newest first."""
        return self._loaded[1:]

    def find(self, number: int) -> Loaded | None:
        """A release that is at hand, by its number."""
        return next((one for one in self._loaded if one.release.number == number), None)

    @property
    def scenes(self) -> Mapping[str, Scene]:
        """The rules as their file says; where it has a fault, as it said before."""
        return self._scenes

    def available(self, scene: Scene) -> list[str] | None:
        """What the scene's own file lists; None where it names none. UsageError if it cannot be read."""
        return rules.available(scene, rules.path(self.dataset).parent)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.served.close()

    def client(self, loaded: Loaded) -> Client:
        """This thread's connection to a release."""
        key = (loaded.serving.server.http_port, loaded.release.number)
        mine: dict[tuple[int, int], Client] = self._clients.__dict__.setdefault("open", {})
        if key not in mine:
            for old in [one for one in mine if one[1] not in {each.release.number for each in self._loaded}]:
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
            for follow in (self._follow, self._follow_rules, self._follow_additions):
                try:
                    follow()
                except Exception as error:  # whatever cannot be read: who serves goes on with what it has
                    say(f"this worker goes on with release {self.live.release.number} as it is: {error!r}")

    def _follow_additions(self) -> None:
        """Offer items that came a moment ago, in one assignment."""
        found = self._additions.current()
        if found is not self._added:
            self._loaded = tuple(one.with_additions(found) for one in self._loaded)
            self._added = found

    def _follow_rules(self) -> None:
        stamp = storage.stamp(rules.path(self.dataset))
        if stamp != self._rules:
            self._rules = stamp
            self._scenes = rules.load(rules.path(self.dataset))

    def _follow(self) -> None:
        """Load what is new, then switch in one assignment."""
        stamp = storage.stamp(state.serving_file(self.place))
        if stamp is None or stamp == self._stamp:
            return
        wanted = state.read(self.place)
        assert wanted is not None
        held = {one.release.number: one for one in self._loaded}
        self._loaded = tuple(self._load(number, wanted, held) for number in wanted.releases)
        for number in set(held) - set(wanted.releases):
            held[number].breaker.reset()  # what is let go is no part any more
        self._stamp = stamp
        state.switched(self.place, os.getpid(), wanted.live)

    def _load(self, number: int, wanted: Serving, held: dict[int, Loaded]) -> Loaded:
        if number in held:
            return replace(held[number], serving=wanted)
        start, release = time.monotonic(), releases.require(self.dataset, number)
        recommender = Recommender.load(release)
        if self._loaded:
            recommender.prepare()
        else:  # at the start it is better to answer slowly than not
            Thread(target=recommender.prepare, name="prepares", daemon=True).start()
        features = Remembered(recommender.features, self.breakers["features"])
        bird, breaker = Canary(release.models, release.stages), Breaker(f"triton, release {number}")
        bare = replace(recommender, features=features)
        say(f"release {number} is loaded ({time.monotonic() - start:.1f} s)")
        return Loaded(release, bare, features, bird, breaker, wanted, bare).with_additions(self._added)
