"""An answer with fewer items than were asked for says so, and why."""

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from llmcf.service.asking import CANDIDATES
from llmcf.service.kept import Kept
from llmcf.service.ladder import Found
from llmcf.service.messages import RecommendationRequest, Recommendations
from llmcf.service.rules import Arranged
from llmcf.service.ways import FULL, POPULAR
from llmcf.serving.question import Ranking

WAY: Any = SimpleNamespace(experiment="", arm="live")
ENGINE: Any = SimpleNamespace(find=lambda _: None, key=b"secret")
STORE: Any = SimpleNamespace(examples=lambda *_: {})
LEAVE = r"filters, the scene's rules and what the user has taken \(include_seen lets that in\) leave no more$"


class Named(dict[int, str]):
    """Calls item 3 "p3"."""

    def __missing__(self, item: int) -> str:
        return f"p{item}"


def page(
    found: int, of: int, k: int, rung: str = FULL, start: int = 0, ends: Sequence[int] = (), **asked: Any
) -> Recommendations:
    """The first page, or the one from `start` on, of an answer of `found` items of a release that has `of`."""
    items = SimpleNamespace(exact=SimpleNamespace(ids_N=np.arange(of)))
    recommender = SimpleNamespace(items=items, catalogue=SimpleNamespace(item_ids=Named(), names=Named()))
    loaded: Any = SimpleNamespace(release=SimpleNamespace(number=7), recommender=recommender)
    ranked = Ranking(person=None, item_C=np.arange(found), score_C=None)
    request = RecommendationRequest(user="c0", k=k, **asked)
    note = "these are the most popular items" if rung == POPULAR else ""
    answered = Found(loaded, cast(Any, None), ranked, rung, note)
    kept = Kept.of(answered, WAY, request, Arranged(list(range(found)), [""] * found, list(ends)))
    told = Kept(**{**kept.told(), "start": start})
    return told.page(ENGINE, STORE, "r-1")


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        (page(10, 50, 10), ""),
        (page(30, 50, 10), ""),
        (page(4, 4, 10), "4 of 10 items: release 7 has no more"),
        (page(3, 50, 10, candidates=["a", "b", "c"]), "3 of 10 items: no more candidates are named"),
        (page(10, 50, 10, rung=POPULAR), "these are the most popular items"),
    ],
)
def test_the_note_says_how_many_and_why(answer: Recommendations, note: str) -> None:
    assert answer.note == note


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (page(4, 50, 10), f"^4 of 10 items: the request's {LEAVE}"),
        (page(2, 50, 10, candidates=["a", "b", "c"]), f"^2 of 10 items: .*{LEAVE}"),
        (page(0, 50, 10), f"^nothing is left to recommend: .*{LEAVE}"),
        (page(0, 50, 10, rung=POPULAR), f"^nothing is left to recommend: .*{LEAVE}"),
        (page(4, 4, 10, rung=POPULAR), "^these are the most popular items; 4 of 10 items: release 7 has no more$"),
    ],
)
def test_the_note_names_what_lets_more_in(answer: Recommendations, words: str) -> None:
    assert re.search(words, answer.note)


def test_only_the_last_page_is_short() -> None:
    first, last = (page(CANDIDATES, 5000, 30, start=start) for start in (0, 180))
    assert (len(first.items), first.note) == (30, "")
    assert first.cursor is not None
    assert (len(last.items), last.cursor) == (20, None)
    assert last.note == "20 of 30 items: 200 are ranked for a request, and these are the last"


def test_a_page_that_caps_have_ended_says_so_and_leads_on() -> None:
    first, last = (page(5, 5, 4, start=start, ends=[2, 5]) for start in (0, 2))
    assert [one.item for one in first.items] == ["p0", "p1"]
    assert first.note == "2 of 4 items: the scene lets no more of one brand or category onto one page"
    assert first.cursor is not None
    assert ([one.item for one in last.items], last.cursor) == (["p2", "p3", "p4"], None)
    assert last.note == "3 of 4 items: release 7 has no more"


def test_an_answer_that_was_kept_without_a_reason_tells_the_count() -> None:
    """As answers did of which some are still kept."""
    items = ["p0", "p1"]
    same: dict[str, Any] = {"titles": items, "placed_by": ["", ""], "examples": [[], []], "similarities": [[], []]}
    kept = Kept(release=7, user="c0", k=3, rung=FULL, note="", items=items, scores=None, milliseconds={}, **same)
    assert kept.page(ENGINE, STORE, "r-1").note == "2 of 3 items"
