"""How far down the ladder a request gets before its time is over; releases are played."""

from collections.abc import Callable
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from core import deadlines
from core.errors import LlmcfError, Unavailable
from llmcf.online import staleness
from llmcf.service import arm_counts, ladder
from llmcf.service.breaker import Breaker
from llmcf.service.messages import RecommendationRequest
from llmcf.service.remembered import Remembered
from llmcf.service.ways import FULL, PREVIOUS, Way
from llmcf.serving.question import Person, Question, Ranking

PERSON = Person(row=1, user=1, history_L=np.array([2]), state={})
HANGS_S = 0.1  # what a call to a release may take
NOW = [100.0]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that goes by in hanging calls alone."""
    monkeypatch.setattr(deadlines, "time", SimpleNamespace(monotonic=lambda: NOW[0]))


class Released:
    """One whose models hang, or refuse."""

    def __init__(self, number: int, hangs: bool) -> None:
        self.release, self.hangs, self.asked = SimpleNamespace(number=number), hangs, 0
        self.breaker = Breaker(f"played, release {number}", failures=100)
        self.features = SimpleNamespace(watch=lambda: None, degraded=False)
        self.recommender = self
        self.lacks_examples = False

    def rank(self, *_: Any) -> Ranking:
        self.asked += 1
        if not self.hangs:
            raise LlmcfError("the graph refuses")
        with deadlines.call(HANGS_S) as seconds:
            NOW[0] += seconds
            raise Unavailable("no answer")


def descend(seconds: float | None, *hang: bool) -> list[int]:
    """How often each release is asked, where none answers; counts as its failures what it is to blame for."""
    played = [Released(100 + at, hangs) for at, hangs in enumerate(hang)]
    rungs = (FULL, *[PREVIOUS] * (len(played) - 1))
    way = Way("", "live", cast(Any, tuple(zip(played, rungs, strict=True))))
    engine = cast(Any, SimpleNamespace(client=lambda _: None, drop_client=lambda _: None))

    def run() -> object:
        if seconds:
            deadlines.begin(seconds)
        return ladder.ranked_by(engine, way, lambda _: Question(user="anna"))

    start = NOW[0]
    assert copy_context().run(run) is None
    assert seconds is None or NOW[0] - start < seconds
    return [one.asked for one in played]


@pytest.fixture
def failures() -> Callable[[], float]:
    def count() -> float:
        return sum(arm_counts.FAILURES.labels("", "live", number)._value.get() for number in (100, 101, 102))

    before = count()
    return lambda: count() - before


def test_with_time_every_release_is_asked(failures: Callable[[], float]) -> None:
    assert descend(None, True, False, True) == [1, 1, 1]
    assert descend(2.0, True, False, True) == [1, 1, 1]
    assert failures() == 6


def test_when_time_is_short_no_further_release_is_asked(failures: Callable[[], float]) -> None:
    assert descend(0.12, True, True, True) == [1, 0, 0]
    assert failures() == 1, "it had most of its time"


def test_a_caller_in_a_hurry_blames_nobody(failures: Callable[[], float]) -> None:
    assert descend(0.04, True, True) == [1, 0]
    assert failures() == 0


@pytest.mark.parametrize(
    ("views", "person", "answers", "rung", "note", "degraded"),
    [
        ([], PERSON, True, "full", "", []),
        (
            ["item_popularity"],
            PERSON,
            True,
            "full",
            "some features are too old to use and count as not known (item_popularity)",
            ["stale item_popularity"],
        ),
        ([], None, True, "popular", "nothing is known of this user now", []),
        (
            ["user_history"],
            None,
            True,
            "popular",
            "what is known of this user is too old to use",
            ["stale user_history"],
        ),
        ([], PERSON, False, "popular", "no model answers now", []),
    ],
)
def test_an_answer_says_what_it_had_to_do_without(
    monkeypatch: pytest.MonkeyPatch,
    views: list[str],
    person: Person | None,
    answers: bool,
    rung: str,
    note: str,
    degraded: list[str],
) -> None:
    def rank(*_: Any) -> Ranking:
        staleness.note(views)
        if not answers:
            raise Unavailable("no answer")
        return Ranking(person=person, item_C=np.array([2]), score_C=None)

    features = Remembered(cast(Any, None), Breaker("played store"))
    popular = Ranking(person=None, item_C=np.array([2]), score_C=None)
    made = SimpleNamespace(
        release=SimpleNamespace(number=100),
        features=features,
        breaker=Breaker("played release", failures=100),
        recommender=SimpleNamespace(rank=rank, popular=lambda _: popular),
        lacks_examples=False,
    )
    monkeypatch.setattr(ladder.asking, "question_of", lambda *_: (None, Question(user="anna")))
    engine = cast(Any, SimpleNamespace(client=lambda _: None, drop_client=lambda _: None))
    staleness.note(["of another request"])
    way = Way("", "live", cast(Any, ((made, FULL),)))
    found = ladder.descend(engine, way, RecommendationRequest(user="anna"))
    assert (found.rung, found.degraded) == (rung, degraded)
    assert found.note.startswith(note)
    assert bool(found.note) == bool(note)
