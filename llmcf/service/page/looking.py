"""What the first page shows: of a user, of an item, of words of a title."""

from contextlib import suppress
from dataclasses import dataclass, field

from pydantic import ValidationError

from core.contracts import FIRST_ID
from core.errors import LlmcfError
from llmcf.service import answering, problems
from llmcf.service.engine import Loaded
from llmcf.service.messages import Item, RecommendationRequest, Recommendations, RecommendedItem, User
from llmcf.service.problems import Problem
from llmcf.service.routes import catalogue
from llmcf.service.service import Service

LISTED = 50  # items of a search
_ALIKE = 12
_FIRST = 8  # users and items that a visitor may begin with


@dataclass(frozen=True, slots=True)
class Person:
    """A user's page. `known` is None for a stranger; `others` are users whose id begins with what was asked for."""

    answer: Recommendations
    known: User | None
    others: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Thing:
    """An item's page. `alike` is None where the release has no vector of it."""

    item: Item
    alike: list[RecommendedItem] | None


@dataclass(frozen=True, slots=True)
class Found:
    """Items by words of their titles, `total` of them."""

    items: list[Item]
    total: int


@dataclass(frozen=True, slots=True)
class Start:
    """Somebody and something to begin with."""

    users: list[str]
    items: list[Item]


def person(service: Service, identity: str, k: int, scene: str, cursor: str | None, request: str) -> Person:
    """A user as the next request sees it, and the answer to that request.

    Raises:
        Problem: as of `answering.recommend`, and 422 for what is no user's id.
        LlmcfError: likewise.
    """
    try:
        asked = RecommendationRequest(user=identity, k=k, scene=scene, cursor=cursor, explain=True)
    except ValidationError as error:
        raise problems.of_validation([{**one, "loc": ("query", *one["loc"])} for one in error.errors()]) from None
    loaded, known = service.engine.live, None
    with suppress(Problem, LlmcfError):
        known = catalogue.known(loaded, identity)
    answer = answering.recommend(service.engine, service.store, asked, request)
    others = [] if known else loaded.recommender.users.starting(identity, _FIRST)
    return Person(answer, known, others)


def thing(loaded: Loaded, identity: str) -> Thing | None:
    """An item, None if the release has none of that id."""
    row = loaded.recommender.catalogue.rows.get(identity)
    if row is None:
        return None
    alike = None
    with suppress(Problem):
        alike = catalogue.like(loaded, identity, _ALIKE).items
    return Thing(catalogue.item(loaded, row), alike)


def found(loaded: Loaded, words: str) -> Found:
    items, total = catalogue.matching(loaded, words, LISTED)
    return Found(items.items, total)


def start(loaded: Loaded) -> Start:
    recommender = loaded.recommender
    rows = [row for row in recommender.features.popular(4 * _FIRST) if row in recommender.catalogue.names]
    return Start(_somebody(loaded), [catalogue.item(loaded, row) for row in rows[:_FIRST]])


def _somebody(loaded: Loaded) -> list[str]:
    """The first users of whom something is known."""
    recommender, found = loaded.recommender, []
    with suppress(LlmcfError):
        for identity in recommender.users.starting("", 4 * _FIRST):
            row = recommender.users.row_of(identity)
            if row is not None and row >= FIRST_ID and recommender.features.user(row):
                found.append(identity)
    _ = loaded.features.degraded  # asked, so that the next request in this thread is not blamed
    return found[:_FIRST]
