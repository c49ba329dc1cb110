"""A client of the HTTP service: `pip install "<checkout>[client]"` brings httpx and pydantic and nothing that trains.

    with Client("http://127.0.0.1:8080", key=os.environ["SHOP_KEY"]) as service:
        for one in service.recommend("c0", k=3, explain=True).items:
            print(one.title, one.score, one.reason)

Answers are the messages of llmcf/service/messages.py. What the service refuses is a `Refused`, in its problem's words.
"""

import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from llmcf.service.intake_messages import EventIn, EventsIn, EventsOut, ItemIn, ItemsIn, ItemsOut, UsersIn, UsersOut
from llmcf.service.messages import (
    LONGEST_MS,
    BatchAnswer,
    BatchRequest,
    Filters,
    Health,
    Items,
    RecommendationRequest,
    Recommendations,
    Releases,
    ScoreRequest,
    Scores,
    Similar,
    User,
)

M = TypeVar("M", bound=BaseModel)
_LONGEST_WAIT_S = 2.0
_UNDER_WAY = (httpx.ReadTimeout, httpx.WriteTimeout)  # the service may still work on it; one that broke off does not


@dataclass(slots=True)
class Refused(Exception):  # noqa: N818 - what the service did
    """A request that the service did not do.

    Args:
        status: of HTTP; 0 where nobody answered.
        kind: last part of the problem's type.
        errors: faults of the request, each with `pointer` and `detail`.
        request: the request's id, by which the service's log and operators know it.
    """

    status: int
    kind: str
    detail: str
    errors: Sequence[dict[str, str]] = field(default_factory=tuple)
    request: str = ""

    def __str__(self) -> str:
        faults = "; ".join(f"{one['pointer']}: {one['detail']}" for one in self.errors)
        return f"{self.status} {self.kind}: {self.detail}" + (f" ({faults})" if faults else "")


class Client:
    """Of one service. Safe for threads.

    Args:
        key: sent as X-API-Key.
        timeout_s: of one request; the service is told, and keeps to it, or to the half minute that it gives at most.
        again: how often a request that met an overloaded or restarting service is repeated, after what it asks to wait.
            All requests may be: events carry their ids. One that had no answer in time is not: it may be under way.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = 1.0,
        again: int = 1,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        told_ms = min(max(1, round(timeout_s * 1e3)), LONGEST_MS)
        headers = {"X-Timeout-Ms": str(told_ms)} | ({"X-API-Key": key} if key else {})
        self._again = again
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s + 0.5, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def recommend(
        self,
        user: str | None = None,
        *,
        k: int = 10,
        history: Sequence[str] | None = None,
        session: str | None = None,
        candidates: Sequence[str] | None = None,
        scene: str = "",
        filters: Filters | None = None,
        explain: bool = False,
        cursor: str | None = None,
    ) -> Recommendations:
        """The best items for a user, or for the history of a session without one.

        With the cursor of an answer, and all else but `explain` as it was, the next page of that answer.
        By its id a `session` stays in its arm, where releases are compared. Where fewer than `k` items come,
        the answer's `note` says why.
        """
        asked = RecommendationRequest(
            user=user,
            k=k,
            history=None if history is None else list(history),
            session=session,
            candidates=None if candidates is None else list(candidates),
            scene=scene,
            filters=filters or Filters(),
            explain=explain,
            cursor=cursor,
        )
        return self._post("/recommendations", asked, Recommendations)

    def recommend_batch(self, requests: Sequence[RecommendationRequest]) -> BatchAnswer:
        """Several at once, each answered or refused in its place."""
        return self._post("/recommendations/batch", BatchRequest(requests=list(requests)), BatchAnswer)

    def answer(self, request: str) -> Recommendations:
        """What was answered to an earlier request, with its reasons."""
        return self._get(f"/recommendations/{_part(request)}", Recommendations)

    def score(self, user: str, items: Sequence[str]) -> Scores:
        """P(click) of items, in the order asked."""
        return self._post("/scores", ScoreRequest(user=user, items=list(items)), Scores)

    def similar(self, item: str, k: int = 10) -> Similar:
        return self._get(f"/items/{_part(item)}/similar", Similar, k=k)

    def find_items(self, query: str, k: int = 20) -> Items:
        """Items whose title holds all words of the query."""
        return self._get("/items", Items, query=query, k=k)

    def user(self, user: str) -> User:
        """What is known of a user."""
        return self._get(f"/users/{_part(user)}", User)

    def send_events(self, events: Sequence[EventIn]) -> EventsOut:
        """Tell what users did; each event is accepted or refused in its place. Raises Refused where all of them are."""
        return self._post("/events", EventsIn(events=list(events)), EventsOut)

    def add_items(self, items: Sequence[ItemIn]) -> ItemsOut:
        return self._post("/items", ItemsIn(items=list(items)), ItemsOut)

    def add_users(self, users: UsersIn) -> UsersOut:
        return self._post("/users", users, UsersOut)

    def releases(self) -> Releases:
        return self._get("/releases", Releases)

    def promote(self, release: int) -> Releases:
        """Make a release live; `releases` tells when it answers."""
        return _message(self._ask("POST", f"/releases/{release}/promotion"), Releases)

    def ready(self) -> Health:
        """Whether the service can answer; `Refused` with status 503 where it cannot."""
        return self._get("/health/ready", Health)

    def _get(self, path: str, answer: type[M], **params: Any) -> M:
        return _message(self._ask("GET", path, params=params), answer)

    def _post(self, path: str, asked: BaseModel, answer: type[M]) -> M:
        return _message(self._ask("POST", path, json=asked.model_dump(exclude_defaults=True)), answer)

    def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        for left in range(self._again, -1, -1):
            try:
                found = self._http.request(method, path, **content)
            except httpx.TransportError as error:
                if not left or isinstance(error, _UNDER_WAY):
                    raise Refused(0, "no-answer", f"nobody answers at {self._http.base_url}: {error}") from error
                _wait(None)
                continue
            if found.status_code != 503 or not left:
                return _read(found)
            _wait(found.headers.get("Retry-After"))
        raise AssertionError("the last try returns or raises")


def _message(found: httpx.Response, answer: type[M]) -> M:
    """What the service says, as this client knows it: what a later version says besides is left out."""
    try:
        return answer.model_validate_json(found.content, extra="ignore")
    except ValidationError as error:
        said = f"this is no answer of such a service: {error}"
        raise Refused(found.status_code, "no-message", said, (), found.headers.get("X-Request-Id", "")) from error


def _read(found: httpx.Response) -> httpx.Response:
    if found.is_success:
        return found
    told: Any = {}
    with suppress(ValueError):  # of a proxy
        told = found.json()
    told = told if isinstance(told, dict) else {}
    raise Refused(
        found.status_code,
        str(told.get("type", "")).rpartition(":")[2] or "failed",
        str(told.get("detail", found.reason_phrase)),
        told.get("errors", ()),
        found.headers.get("X-Request-Id", ""),
    )


def _wait(asked: str | None) -> None:
    """As long as the service asks for, at most a little, and not just as long as the others."""
    seconds = float(asked) if asked and asked.isdigit() else 0.1
    time.sleep(min(seconds, _LONGEST_WAIT_S) * random.uniform(1.0, 1.5))  # noqa: S311 - no secret


def _part(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
