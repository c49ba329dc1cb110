"""From a request's message to the recommender and back, and the pages of an answer."""

import base64
import binascii
import hashlib
import hmac
from typing import Any

from llmcf.service.engine import Engine
from llmcf.service.messages import (
    MOST,
    Example,
    Reason,
    RecommendationRequest,
    Recommendations,
    RecommendedItem,
    ServedBy,
)
from llmcf.service.problems import At, Problem
from llmcf.service.store import Store
from llmcf.serving.answers import Answer, Recommendation

_TAG = 12  # characters


def recommend(engine: Engine, store: Store, asked: RecommendationRequest, request: str) -> Recommendations:
    """Answer one request and keep the answer under its id.

    Raises:
        Problem: for a cursor that is none, or of somebody else.
        LlmcfError: as of the recommender.
    """
    if asked.cursor is not None:
        return _next_page(store, asked, request)
    loaded = engine.live
    assert asked.user is not None
    found = loaded.recommender.recommend(engine.client(loaded), asked.user, MOST)
    items = [_item(one, explain=asked.explain) for one in found.items]
    served = ServedBy(release=loaded.release.number, rung=_rung(found), milliseconds=found.milliseconds)
    whole = Recommendations(id=request, user=asked.user, items=items, note=found.note, served_by=served)
    store.keep(request, {"answer": whole.model_dump(), "shown": asked.k})
    return _page(whole, 0, asked.k)


def _next_page(store: Store, asked: RecommendationRequest, request: str) -> Recommendations:
    assert asked.cursor is not None
    first, start = _read_cursor(asked.cursor)
    kept = store.answer(first)
    if kept is None or (asked.user is not None and kept["answer"]["user"] != asked.user):
        raise _no_cursor()
    whole = Recommendations.model_validate(kept["answer"])
    if not hmac.compare_digest(asked.cursor, _cursor(whole, start)):
        raise _no_cursor()
    return _page(whole, start, asked.k).model_copy(update={"id": request})


def _page(whole: Recommendations, start: int, k: int) -> Recommendations:
    end = start + k
    cursor = _cursor(whole, end) if end < len(whole.items) else None
    return whole.model_copy(update={"items": whole.items[start:end], "cursor": cursor})


def _cursor(whole: Recommendations, start: int) -> str:
    """Names an answer and a place in it; its tag is of what was answered, so that none can be made up."""
    told = f"{whole.id}|{start}"
    secret = "|".join([whole.user or "", *(one.item for one in whole.items)])
    tag = hmac.new(secret.encode(), told.encode(), hashlib.sha256).hexdigest()[:_TAG]
    return base64.urlsafe_b64encode(f"{told}|{tag}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[str, int]:
    try:
        told = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        first, start, _ = told.split("|")
        return first, int(start)
    except (binascii.Error, ValueError):
        raise _no_cursor() from None


def _no_cursor() -> Problem:
    what = "no answer of this user has this cursor, or it is older than a day"
    return Problem(400, "wrong-request", what, [At("/cursor", what)])


def _rung(found: Answer) -> str:
    return "popular" if found.cold_start else "full"


def _item(one: Recommendation, *, explain: bool) -> RecommendedItem:
    reason = Reason(examples=[_example(each) for each in one.evidence]) if explain else None
    return RecommendedItem(item=one.item, title=one.title, score=one.score, reason=reason)


def _example(each: Any) -> Example:
    return Example(
        user=each.user,
        item_title=each.title,
        taken=each.liked,
        date=each.date,
        similarity=each.similarity,
        chain_of_thought=each.text,
    )
