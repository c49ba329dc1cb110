"""Parts of a recommender that need no server."""

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from core.contracts import CATEGORIES
from ict.exact import Exact
from ict.filters import Filter
from llmcf.serving.catalogue import Catalogue
from llmcf.serving.newcomers import Newcomers
from llmcf.serving.question import Person, Question, Ranking
from llmcf.serving.recommender import Recommender
from retrieval_stage.candidates import CandidateSearch
from retrieval_stage.item_space import ItemSpace
from retrieval_stage.items import ItemReplica


@pytest.fixture
def recommender() -> Recommender:
    vectors = np.array([[2, 0], [1, 1], [0, 3], [-1, 0]], dtype=np.float32)
    items = ItemReplica("items_1", Exact(np.array([2, 3, 5, 8]), vectors, {}))
    nothing: Any = SimpleNamespace()
    return Recommender(
        release=nothing,
        catalogue=nothing,
        users=nothing,
        taken=lambda _: np.array([], dtype=np.int64),
        features=nothing,
        search=CandidateSearch(items=items, space=ItemSpace()),
        examples=None,
    )


@pytest.mark.parametrize("count", [2, 3, 99])
def test_what_is_like_an_item_is_never_itself(recommender: Recommender, count: int) -> None:
    found = recommender.like(2, count)
    assert found.item_C.tolist() == [3, 5, 8][:count]
    assert found.score_C is not None
    np.testing.assert_allclose(found.score_C, np.array([0.5**0.5, 0, -1])[:count], atol=1e-6)


CATALOGUE = Catalogue(
    item_ids={},
    names={},
    brands={},
    categories={2: ["Soap"], 3: [], 5: ["Tea", "Soap"], 9: ["Soap"]},
    rows={},
    category_ids={"Soap": 7, "Tea": 8},
)


class Models:
    """Gives every candidate its row as a score."""

    def infer(self, model: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert model == "ranker"
        return {"score": arrays["item"].astype(np.float32)}


@pytest.fixture
def knowing(recommender: Recommender) -> Recommender:
    """One that knows user `c0`, who has taken item 3; item 9 is in no item search."""
    state = {"history": [0, 3], "activity": 0.7}
    return replace(
        recommender,
        catalogue=CATALOGUE,
        release=cast(Any, SimpleNamespace(users_end=100, items_end=100, stages={"ranker": SimpleNamespace(reads=[])})),
        users=cast(Any, SimpleNamespace(row_of={"c0": 4}.get)),
        taken=lambda _: np.array([3]),
        features=cast(Any, SimpleNamespace(user=lambda _: state, session=lambda _: state, today=lambda: 1)),
    )


ALL = (9, 5, 3, 2)


@pytest.mark.parametrize(
    ("more", "left"),
    [
        ({}, [9, 5, 2]),
        ({"with_seen": True}, [9, 5, 3, 2]),
        ({"allowed": Filter(deny=[9, 2])}, [5]),
        ({"allowed": Filter(allow=[2, 3])}, [2]),
        ({"allowed": Filter(categories=[7])}, [9, 5, 2]),
        ({"allowed": Filter(categories=[8, 6])}, [5]),
        ({"allowed": Filter(allow=[])}, []),
    ],
)
def test_candidates_of_a_question_come_up_as_far_as_it_allows(
    knowing: Recommender, more: dict[str, Any], left: list[int]
) -> None:
    ranked = knowing.rank(Models(), Question(user="c0", candidates=ALL, **more))
    assert ranked.item_C.tolist() == left
    assert ranked.score_C is not None
    assert ranked.score_C.tolist() == left
    assert knowing.popular(Question(user="c0", candidates=ALL, **more)).item_C.tolist() == left, "without models too"


def test_candidates_of_a_session_are_none_of_its_history(knowing: Recommender) -> None:
    assert knowing.rank(Models(), Question(session=[3], candidates=ALL)).item_C.tolist() == [9, 5, 2]


class Two:
    """A user's vector, and P(click) by item."""

    def __init__(self, vector: list[float], score: dict[int, float]) -> None:
        self._vector, self._score = vector, score

    def infer(self, model: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if model == "user_vector":
            return {"vector": np.array([self._vector], dtype=np.float32)}
        return {"score": np.array([self._score[item] for item in arrays["item"].tolist()], dtype=np.float32)}


@pytest.fixture
def searching(knowing: Recommender) -> Recommender:
    """One that finds items 2, 5 and 8, at (2, 0), (0, 3) and (-1, 0)."""
    knowing.release.stages["user_vector"] = cast(Any, SimpleNamespace(reads=[]))
    return knowing


def test_what_both_stages_say_orders_what_is_found(searching: Recommender) -> None:
    models = Two([1, 0.6], {2: 0.5, 5: 0.6, 8: 0.9})
    ranked = searching.rank(models, Question(user="c0"))
    assert ranked.worth_C is not None
    assert ranked.score_C is not None
    # The logs of the odds are 0, .41 and 2.20; the search says 2, 1.8 and -1.
    assert ranked.item_C.tolist() == [5, 2, 8]
    assert ranked.score_C.tolist() == pytest.approx([0.6, 0.5, 0.9]), "which stays P(click)"
    expected = np.array([np.log(1.5) + 1.8, 2, np.log(9) - 1])
    np.testing.assert_allclose(np.log(ranked.worth_C) - np.log(ranked.worth_C[0]), expected - expected[0], atol=1e-5)
    named = searching.rank(models, Question(user="c0", candidates=[2, 5, 8]))
    assert named.item_C.tolist() == [8, 5, 2], "nothing has searched these"
    assert named.worth_C is not None
    assert named.worth_C.tolist() == pytest.approx([0.9, 0.6, 0.5])


def test_a_ranker_that_is_sure_leaves_it_to_the_search(searching: Recommender) -> None:
    ranked = searching.rank(Two([1, 0], {2: 1.0, 5: 1.0, 8: 1.0}), Question(user="c0"))
    assert ranked.item_C.tolist() == [2, 5, 8]
    assert np.isfinite(np.asarray(ranked.worth_C)).all()


def test_what_the_house_adds_is_ranked_by_what_the_search_says_of_it(searching: Recommender) -> None:
    models = Two([1, 0], {2: 0.5, 5: 0.5, 8: 0.7})
    assert searching.rank(models, Question(user="c0", count=1)).item_C.tolist() == [2]
    added = searching.rank(models, Question(user="c0", count=1, added=[3, 8]))
    assert added.item_C.tolist() == [2, 8], "3 was taken; 8 has better odds, and the search puts it far behind"
    assert searching.find(models, Question(user="c0", count=1, added=[8])).tolist() == [2, 8]


def test_a_last_item_that_came_after_the_release_lends_its_text(searching: Recommender) -> None:
    """The graphs know nothing of it, so the user's vector comes without."""
    new = Newcomers(
        row_N=np.array([200, 201]),
        raw_ids=["n0", "n1"],
        names=["n0", "n1"],
        brands=["", ""],
        categories=[[], []],
        brand_N=np.zeros(2, dtype=np.int64),
        categories_NC=np.zeros((2, CATEGORIES), dtype=np.int64),
        text_NE=np.array([[1], [-1]], dtype=np.float32),
    )
    search = replace(searching.search, space=ItemSpace(with_text=True))
    release = cast(Any, SimpleNamespace(**vars(searching.release), blend={"text": 4.0}))
    whole = replace(searching, release=release, search=search, new=new)
    seen = []
    for last in (3, 200, 201):
        state = {"history": [2, last], "activity": 0.7}
        features = SimpleNamespace(user=lambda _, state=state: state, today=lambda: 1)
        seen.append(replace(whole, features=features).find(Two([-1, 2], {}), Question(user="c0")).tolist())
    # Each item's second number is its text: 0 of items 2 and 8, 3 of item 5.
    assert seen == [[5, 8], [5, 8], [8, 5]]


def test_fewer_items_than_asked_for_are_told(knowing: Recommender) -> None:
    named = replace(CATALOGUE, item_ids={2: "p2", 5: "p5", 8: "p8"}, names={2: "Two", 5: "Five", 8: "Eight"})
    search = cast(Any, SimpleNamespace(search=lambda *_, also: (np.array([2, 5, 8]), np.zeros(3)), items=knowing.items))
    asked = replace(knowing, catalogue=named, search=search)
    models = cast(Any, SimpleNamespace(infer=lambda model, _: {"vector": np.zeros((1, 2)), "score": np.arange(3.0)}))
    asked.release.stages["user_vector"] = cast(Any, SimpleNamespace(reads=[]))
    assert asked.recommend(models, "c0", 3).note == ""
    few = asked.recommend(models, "c0", 9)
    assert (len(few.items), few.note) == (3, "3 of 9 items: this user has taken the others")


def test_a_shown_example_does_not_say_how_it_ended(knowing: Recommender) -> None:
    about = {"user": 4, "item": 3, "label": 1, "day": 0, "text": "It is dark. The user liked it. It is long."}
    shown = replace(
        knowing,
        catalogue=replace(CATALOGUE, names={3: "Tea"}),
        users=cast(Any, SimpleNamespace(raw_id={4: "c0"}.get)),
        examples=cast(Any, SimpleNamespace(evidence=lambda _: about)),
    )
    (one,) = shown.evidence([7], [0.5])
    assert one.text == "It is dark. It is long."
    assert one.liked, "that is told apart from the text"


def test_a_person_s_own_items_are_told_most_alike_first(knowing: Recommender) -> None:
    named = replace(knowing, catalogue=replace(CATALOGUE, names={2: "Soap", 3: "Tea", 5: "Jam", 8: "Salt"}))
    person = Person(row=4, user=4, history_L=np.array([0, 1, 5, 2, 2]), state={})
    ranked = Ranking(person=person, item_C=np.array([3, 9, 8, 2]), score_C=np.zeros(4))
    titles, places = named.own_history(ranked, 2)
    assert [[titles[at] for at in each] for each in places] == [["Soap", "Jam"], [], ["Jam", "Soap"], ["Soap", "Jam"]]
    assert named.own_history(ranked, 1)[1] == [[0], [], [1], [0]]
    nobody = Ranking(person=None, item_C=np.array([3]), score_C=None)
    assert named.own_history(nobody, 2) == ([], [[]])
