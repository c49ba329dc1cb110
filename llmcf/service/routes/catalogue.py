"""Items and users: found, looked at, compared."""

import time
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Path, Query, Request

from llmcf.service.access import Reader
from llmcf.service.engine import Loaded
from llmcf.service.messages import Item, Items, RecommendedItem, ServedBy, Similar, User
from llmcf.service.middleware import seconds_left
from llmcf.service.openapi import problems_of
from llmcf.service.problems import Problem
from llmcf.service.remembered import forgotten
from llmcf.service.service import Service
from llmcf.service.ways import FULL, LAST_KNOWN

router = APIRouter(tags=["catalogue"])  # ids may hold "/": such a path is matched with what it holds decoded
Count = Annotated[int, Query(ge=1, le=100, examples=[10])]
Words = Annotated[str, Query(max_length=200, examples=["rose soap"])]
ItemId = Annotated[str, Path(examples=["p1"])]
UserId = Annotated[str, Path(examples=["c0"])]
T = TypeVar("T")


@router.get("/items", responses=problems_of(503, 504))
async def find(request: Request, _: Reader, query: Words = "", k: Count = 20) -> Items:
    """Items whose title holds all words of the query, in any order; the first ones without a query."""
    return (await _asked(request, lambda live: matching(live, query, k)))[0]


@router.get("/items/{identity:path}/similar", responses=problems_of(404, 503, 504))
async def similar(identity: ItemId, request: Request, _: Reader, k: Count = 10) -> Similar:
    """The items nearest to this one in the item space; `score` is their cosine."""
    return await _asked(request, lambda live: like(live, identity, k))


@router.get("/users/{identity:path}", responses=problems_of(404, 503, 504))
async def user(identity: UserId, request: Request, _: Reader) -> User:
    """What is known of a user, as the next request will see it."""
    return await _asked(request, lambda live: known(live, identity))


def matching(loaded: Loaded, query: str, k: int) -> tuple[Items, int]:
    """The first `k` items whose title holds all words of the query, and how many there are."""
    watch, words, names = _Watch(loaded), query.casefold().split(), loaded.recommender.catalogue
    found = [row for row, name in names.names.items() if all(word in name.casefold() for word in words)]
    return Items(items=[item(loaded, row) for row in found[:k]], served_by=watch.told()), len(found)


def like(loaded: Loaded, identity: str, k: int) -> Similar:
    """The items nearest to one; Problem 404 if the release does not have it."""
    watch, row = _Watch(loaded), loaded.recommender.catalogue.rows.get(identity)
    if row is None or row not in loaded.recommender.items:
        raise Problem(404, "unknown-item", "the release does not have this item")
    ranked = loaded.recommender.like(row, k)
    found = [loaded.recommender.item(ranked, at, with_evidence=False) for at in range(len(ranked.item_C))]
    items = [RecommendedItem(item=one.item, title=one.title, score=one.score) for one in found]
    return Similar(item=identity, items=items, served_by=watch.told())


def known(loaded: Loaded, identity: str) -> User:
    """What is known of a user.

    Raises:
        Problem: 404 if that is nothing.
        Unavailable: if that cannot be told, as the feature store does not answer.
    """
    watch, row = _Watch(loaded), loaded.recommender.users.row_of(identity)
    state = None if row is None else loaded.recommender.features.user(row)
    if state is None and loaded.features.degraded:
        raise forgotten()
    if state is None:
        raise Problem(404, "unknown-user", "nothing is known of this user")
    names = loaded.recommender.catalogue.names
    history = [item(loaded, one) for one in state["history"] if one in names]
    taken = len(loaded.recommender.taken(row)) if row is not None else 0
    profile, served = state.get("profile") or "", watch.told()
    return User(user=identity, history=history, profile=profile, interactions=taken, served_by=served)


class _Watch:
    """From its making on: what a look at a release takes, and lacks."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded, self._start = loaded, time.perf_counter()
        loaded.features.watch()

    def told(self) -> ServedBy:
        taken, features = round((time.perf_counter() - self._start) * 1e3, 3), self._loaded.features
        return ServedBy(
            release=self._loaded.release.number,
            rung=LAST_KNOWN if features.degraded else FULL,
            degraded=features.shortcomings,
            milliseconds={"look": taken},
        )


def item(loaded: Loaded, row: int) -> Item:
    names = loaded.recommender.catalogue
    return Item(
        item=names.item_ids[row], title=names.names[row], brand=names.brands[row], categories=names.categories[row]
    )


async def _asked(request: Request, ask: Callable[[Loaded], T]) -> T:
    """Ask the live release, in a thread: the others are not to wait for a big catalogue or a slow store."""
    service: Service = request.app.state.service
    return await service.do(lambda: ask(service.engine.live), seconds_left(request.state))
