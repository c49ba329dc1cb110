"""What is answered, and what is kept as a sample, while the feature store does not answer."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from core.contracts import DENSE
from core.errors import Unavailable
from llmcf.service import answering, asking, ladder
from llmcf.service.answering import Kept
from llmcf.service.breaker import Breaker
from llmcf.service.ladder import Found
from llmcf.service.messages import RecommendationRequest, ScoreRequest
from llmcf.service.problems import Problem
from llmcf.service.remembered import Remembered
from llmcf.service.routes import catalogue
from llmcf.service.rules import Arranged
from llmcf.serving.question import Person, Question, Ranking

ROWS = {"known before": 5, "never read": 6, "has nothing": 7}


class Reader:
    """A feature store that knows every user but 7, until it is down."""

    down = False

    def user(self, user: int) -> dict[str, Any] | None:
        if self.down:
            raise Unavailable("Redis does not answer")
        return None if user == 7 else {"history": [0, 3]}

    def today(self) -> int:
        return 1


class Played:
    """A release whose ranker reads dense features, asked through a `Remembered`; it stands for the engine as well."""

    def __init__(self) -> None:
        self.reader, self.offered = Reader(), []
        self.features = Remembered(cast(Any, self.reader), Breaker("store"))
        self.served = SimpleNamespace(offer=lambda request, *_, **__: self.offered.append(request))
        self.release = SimpleNamespace(number=1, stages={"ranker": SimpleNamespace(reads=["dense"])})
        self.recommender = SimpleNamespace(
            users=SimpleNamespace(row_of=ROWS.get),
            features=self.features,
            catalogue=SimpleNamespace(names={3: "Rose"}, item_ids={3: "p3"}, brands={3: ""}, categories={3: []}),
            taken=lambda _: [3],
        )

    def rank(self, user: str) -> Ranking:
        """As the recommender would, item 3 alone."""
        self.features.watch()
        row = ROWS.get(user)
        state = None if row is None else self.features.user(row)
        if state is None or row is None:
            return Ranking(person=None, item_C=np.array([3]), score_C=None)
        person = Person(row=row, user=row, history_L=np.array(state["history"]), state=state)
        dense_CX = np.zeros((1, len(DENSE)))
        return Ranking(person=person, item_C=np.array([3]), score_C=np.array([0.5]), dense_CX=dense_CX)


def taken_too(asked: Question) -> str:
    """The user of a question whose items are scored whatever they are."""
    assert asked.with_seen
    assert asked.allowed.asks_nothing
    assert asked.user is not None
    return asked.user


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Played()
    made.features.user(5)
    way = SimpleNamespace(releases=((made, "full"),), judges=1, experiment="", arm="live")
    made.way = lambda _: way  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(asking, "known", lambda _, items: [3] * len(items))
    monkeypatch.setattr(asking, "rows_of", lambda _, items, __: [3] * len(items))
    monkeypatch.setattr(asking, "arrange", lambda *_: Arranged([0], [""]))
    monkeypatch.setattr(
        ladder, "ranked_by", lambda _, __, question: (made, made.rank(taken_too(question(made))), "full")
    )
    monkeypatch.setattr(
        ladder, "descend", lambda _, __, asked: Found(cast(Any, made), cast(Any, None), made.rank(asked.user), "full")
    )
    return made


def outcome(ask: Any, *told: Any) -> str:
    try:
        ask(*told)
    except Problem as problem:
        return str(problem.status)
    except Unavailable:
        return "503"
    return "200"


@pytest.mark.parametrize("down", [False, True])
def test_a_user_is_unknown_only_where_the_store_says_so(played: Any, down: bool) -> None:
    played.reader.down = down
    users = [*ROWS, "a stranger"]
    told = ["200", "503" if down else "200", "503" if down else "404", "404"]
    assert [outcome(catalogue.known, played, user) for user in users] == told
    scores = [outcome(answering.score, played, ScoreRequest(user=user, items=["p3"]), "r") for user in users]
    assert scores == told


def test_what_is_remembered_is_no_sample_of_what_is_served(played: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = SimpleNamespace(
        told=dict, texts=lambda *_, **__: None, page=lambda *_, **__: SimpleNamespace(items=[]), count=lambda _: None
    )
    monkeypatch.setattr(Kept, "of", lambda *_: nothing)
    store, asked = cast(Any, SimpleNamespace(keep=lambda *_: None)), RecommendationRequest(user="known before")
    answering.recommend(played, store, asked, "r1")
    played.reader.down = True
    answering.recommend(played, store, asked, "r2")
    played.reader.down = False
    answering.recommend(played, store, asked, "r3")
    assert played.offered == ["r1", "r3"]
