"""A cursor is good for the request that it came from, in the service that made it, and for nothing else."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmcf.service import answering, cursors
from llmcf.service.kept import Kept
from llmcf.service.messages import Filters, RecommendationRequest
from llmcf.service.problems import Problem

ITEMS = ["p1", "p2", "p3", "p4"]
ASKED: dict[str, Any] = {"user": "anna", "k": 2, "filters": Filters(deny=["p9"]), "candidates": ITEMS}


class Store(dict[str, Any]):
    def answer(self, request: str) -> Any:
        return self.get(request)

    def keep(self, request: str, body: Any, *_: Any) -> None:
        self[request] = body


def kept(asked: RecommendationRequest) -> Kept:
    return Kept(
        release=1,
        user=asked.user,
        k=asked.k,
        rung="full",
        note="",
        items=ITEMS,
        titles=ITEMS,
        scores=None,
        placed_by=[""] * 4,
        examples=[[]] * 4,
        similarities=[[]] * 4,
        milliseconds={},
        bound=cursors.bound(asked),
    )


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    return SimpleNamespace(key=cursors.secret(tmp_path), find=lambda _: None)


def next_page(engine: Any, asked: dict[str, Any], **change: Any) -> list[str]:
    """What is answered to a request with the cursor of the first page of `asked`."""
    first = RecommendationRequest(**asked)
    store = Store(r=kept(first).told())
    cursor = kept(first).page(engine, cast(Any, store), "r").cursor
    body = {**asked, "cursor": cursor, **change}
    found = answering.recommend(engine, cast(Any, store), RecommendationRequest(**body), "r2")
    return [one.item for one in found.items]


@pytest.mark.parametrize("asked", [ASKED, {"history": ["p7"], "k": 2}, {"history": ["p7"], "session": "s", "k": 2}])
def test_the_same_request_gets_its_next_page_explained_or_not(engine: Any, asked: dict[str, Any]) -> None:
    assert next_page(engine, asked) == ["p3", "p4"]
    assert next_page(engine, asked, explain=True) == ["p3", "p4"]


@pytest.mark.parametrize(
    ("change", "words", "field"),
    [
        ({"user": "berta"}, "another user's", "/user"),
        ({"user": None, "history": ["p7"]}, "another user's or session's", "/user"),
        ({"k": 3}, "another request: k must", "/k"),
        ({"scene": "home"}, "another request: scene", "/scene"),
        ({"filters": Filters(deny=["p3"])}, "another request: filters", "/filters"),
        ({"candidates": None, "k": 9}, "another request: k, candidates", "/k"),
    ],
)
def test_another_request_s_is_refused_and_told_what_differs(
    engine: Any, change: dict[str, Any], words: str, field: str
) -> None:
    with pytest.raises(Problem, match=words) as refused:
        next_page(engine, ASKED, **change)
    assert refused.value.status == 400
    assert [one.pointer for one in refused.value.errors][:2] == ["/cursor", field]


def test_a_session_s_history_is_its_own(engine: Any) -> None:
    with pytest.raises(Problem, match="another user's or session's"):
        next_page(engine, {"history": ["p7"], "k": 2}, history=["z"])


def test_none_can_be_made_up_by_who_knows_the_answer(engine: Any) -> None:
    asked = RecommendationRequest(**ASKED)
    for key in (b"", b"anna", b"|".join([b"anna", *(one.encode() for one in ITEMS)])):
        forged = cursors.make(key, "r", 2, cursors.bound(asked), ITEMS)
        with pytest.raises(Problem, match="no answer has this cursor"):
            next_page(engine, ASKED, cursor=forged)
    for cursor in ("x", "", "fHx8", cursors.make(engine.key, "r", 1, {}, ITEMS)):
        with pytest.raises(Problem, match="no answer has this cursor"):
            next_page(engine, ASKED, cursor=cursor)


def test_the_secret_is_made_once_for_its_user_alone(tmp_path: Path) -> None:
    place = tmp_path / "service"
    with ThreadPoolExecutor(8) as workers:
        found = set(workers.map(lambda _: cursors.secret(place), range(16)))
    assert len(found) == 1
    assert len(found.pop()) == 32
    assert stat.S_IMODE((place / cursors.FILE).stat().st_mode) == 0o600
    assert [one.name for one in place.iterdir()] == [cursors.FILE]
    assert cursors.secret(tmp_path / "another") != cursors.secret(place)
