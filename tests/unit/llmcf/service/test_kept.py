"""Why an item was shown is told as it was then: on later pages, once more, and when the release was let go."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from core.errors import Unavailable
from ict.shown import Shown
from llmcf.service import answering, asking, ladder
from llmcf.service.ladder import Found
from llmcf.service.messages import RecommendationRequest, Recommendations
from llmcf.service.rules import Arranged
from llmcf.service.store import Store
from llmcf.serving.answers import Evidence
from llmcf.serving.question import Person, Ranking

ITEMS = {2: "p2", 3: "p3", 4: "p4"}
ASKED: dict[str, Any] = {"user": "anna", "k": 2}


class Release:
    """Release 7 with three items, each with two examples, the more similar one last; it stands for the engine, too."""

    def __init__(self) -> None:
        self.release = SimpleNamespace(number=7, stages={"ranker": SimpleNamespace(reads=[])})
        self.recommender, self.there, self.fails = self, True, False
        self.items = SimpleNamespace(exact=SimpleNamespace(ids_N=np.arange(3)))
        self.catalogue = SimpleNamespace(item_ids=ITEMS, names=ITEMS)
        self.examples: object = "some"
        self.features = SimpleNamespace(degraded=False, today=lambda: 0)
        self.served = SimpleNamespace(offer=lambda *_, **__: None)
        self.key = b"secret"
        self.told = 0

    def find(self, number: int) -> Any:
        return self if self.there and number == 7 else None

    def way(self, _: str) -> Any:
        return SimpleNamespace(experiment="", arm="live")

    def client(self, _: Any) -> None:
        return None

    def rank(self) -> Ranking:
        """The worst first, so that the order shown is another."""
        shown = Shown(np.array([[1, 0], [1, 2], [3, 4]]), np.array([[0.1, 0], [0.2, 0.9], [0.3, 0.4]]))
        person = Person(row=1, user=1, history_L=np.array([2]), state={})
        return Ranking(
            person=person,
            item_C=np.array([2, 3, 4]),
            score_C=np.array([0.2, 0.4, 0.6]),
            shown=shown,
            dense_CX=np.zeros((3, 1)),
        )

    def without_examples(self, _: Any, ranked: Ranking) -> np.ndarray:
        if self.fails:
            raise Unavailable("Triton is silent")
        return np.asarray(ranked.score_C) - ranked.item_C / 100

    def own_history(self, ranked: Ranking, _: int) -> tuple[list[str], list[list[int]]]:
        return ["Soap", "Tea"], [[1, 0] if item == 4 else [0] for item in ranked.item_C]

    def evidence(self, numbers: list[int], _: list[float]) -> list[Evidence]:
        self.told += len(numbers)
        return [
            Evidence(
                example=one, user=f"u{one}", title=f"t{one}", liked=True, date="d", similarity=0, text=f"why {one}"
            )
            for one in numbers
        ]


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Release()
    monkeypatch.setattr(ladder, "descend", lambda *_: Found(cast(Any, made), cast(Any, None), made.rank(), "full"))
    monkeypatch.setattr(asking, "arrange", lambda *_: Arranged([2, 1, 0], [""] * 3))
    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "service.db")


def ask(release: Any, store: Store, request: str, **more: Any) -> Recommendations:
    return answering.recommend(release, store, RecommendationRequest(**{**ASKED, **more}), request)


def reasons(found: Recommendations) -> list[Any]:
    """Of each item the texts of its examples, what they add, and its like in the history."""
    return [
        one.reason
        and ([each.chain_of_thought for each in one.reason.examples], one.reason.example_share, one.reason.own_history)
        for one in found.items
    ]


FIRST = [(["why 4", "why 3"], 0.04, ["Tea", "Soap"]), (["why 2", "why 1"], 0.03, ["Soap"])]
SECOND = [(["why 1"], 0.02, ["Soap"])]


@pytest.mark.parametrize("gone", ["let go", "without examples", "there"])
def test_what_was_explained_is_told_again_whatever_became_of_the_release(release: Any, store: Store, gone: str) -> None:
    first = ask(release, store, "r1", explain=True)
    assert reasons(first) == FIRST
    release.there, release.examples = gone != "let go", None if gone == "without examples" else "some"
    again = answering.again(release, store, "r1")
    assert again == first
    page = ask(release, store, "r2", explain=True, cursor=first.cursor)
    assert ([one.item for one in page.items], reasons(page)) == (["p2"], SECOND)
    assert reasons(answering.again(release, store, "r2")) == SECOND
    assert reasons(ask(release, store, "r3", cursor=first.cursor)) == [None]


def test_of_what_was_not_explained_the_examples_of_the_items_shown_are_kept(release: Any, store: Store) -> None:
    first = ask(release, store, "r1")
    assert reasons(first) == [None, None]
    release.there = False
    assert reasons(answering.again(release, store, "r1")) == [(texts, None, []) for texts, _, _ in FIRST]
    release.there = True
    ask(release, store, "r2", cursor=first.cursor)
    release.there = False
    assert reasons(answering.again(release, store, "r2")) == [(["why 1"], None, [])]


def test_an_answer_stands_where_what_the_examples_add_cannot_be_told(release: Any, store: Store) -> None:
    release.fails = True
    told = [(texts, None, own) for texts, _, own in FIRST]
    assert reasons(ask(release, store, "r1", explain=True)) == told
    assert reasons(answering.again(release, store, "r1")) == told


def test_what_an_example_says_is_written_once(release: Any, store: Store) -> None:
    for number in range(3):
        ask(release, store, f"r{number}")
    assert release.told == 4, "as many as there are"
    assert set(store.examples(7, [1, 2, 3, 4, 5])) == {1, 2, 3, 4}
    assert store.examples(8, [1, 2]) == {}


def test_an_answer_of_an_earlier_version_is_told_without_reasons(release: Any, store: Store) -> None:
    ask(release, store, "r1")
    release.there = False
    body = store.answer("r1")
    assert body is not None
    old = {name: value for name, value in body.items() if name not in ("shares", "own", "history", "bound")}
    other = Store(store._database.path.with_name("other.db"))
    other.keep("r1", old)
    assert reasons(answering.again(release, other, "r1")) == [None, None]
