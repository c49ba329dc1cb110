"""Recommendations: one, several, one again."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Path, Request

from core.errors import LlmcfError
from llmcf.service import answering, problems
from llmcf.service.access import Reader
from llmcf.service.messages import (
    BatchAnswer,
    BatchEntry,
    BatchRequest,
    RecommendationRequest,
    Recommendations,
    ScoreRequest,
    Scores,
)
from llmcf.service.middleware import seconds_left
from llmcf.service.openapi import problems_of
from llmcf.service.problems import Problem
from llmcf.service.service import Service

router = APIRouter(tags=["recommendations"])


@router.post("/recommendations", responses=problems_of(503, 504))
async def recommend(
    asked: RecommendationRequest, request: Request, after: BackgroundTasks, _: Reader
) -> Recommendations:
    """The best items for a user, or for the history of a session that has none."""
    return await _answer(request, asked, request.state.request_id, after)


@router.post("/recommendations/batch", responses=problems_of(503, 504))
async def recommend_batch(asked: BatchRequest, request: Request, after: BackgroundTasks, who: Reader) -> BatchAnswer:
    """Several requests at once; each is answered or refused by itself, in its place.

    It fills no line: only some entries at a time stand in it, and others get in between.
    """
    service: Service = request.app.state.service
    service.door.charge(who, len(asked.requests) - 1)  # the first was paid for at the door
    turn = asyncio.Semaphore(max(2, service.admission.active // 2))

    async def entry(number: int, one: RecommendationRequest) -> BatchEntry:
        try:
            async with turn:
                answer = await _answer(request, one, f"{request.state.request_id}.{number}", after)
            return BatchEntry(status=200, answer=answer)
        except Problem as problem:
            return BatchEntry(status=problem.status, problem=problem.body(request.state.request_id))
        except LlmcfError as error:
            problem = problems.of_error(error)
            return BatchEntry(status=problem.status, problem=problem.body(request.state.request_id))

    return BatchAnswer(entries=list(await asyncio.gather(*(entry(*each) for each in enumerate(asked.requests)))))


@router.get("/recommendations/{identity}", responses=problems_of(404, 503, 504))
async def recommended(
    identity: Annotated[str, Path(examples=["shop-7"])], request: Request, _: Reader
) -> Recommendations:
    """What was answered to an earlier request, with its evidence; kept for a day."""
    service: Service = request.app.state.service
    work = lambda: answering.again(service.engine, service.store, identity)  # noqa: E731
    return await service.do(work, seconds_left(request.state))


@router.post("/scores", responses=problems_of(404, 503, 504))
async def score(asked: ScoreRequest, request: Request, _: Reader) -> Scores:
    """P(click) of each of these items for a user."""
    service: Service = request.app.state.service
    work = lambda: answering.score(service.engine, asked, request.state.request_id)  # noqa: E731
    return await service.do(work, seconds_left(request.state))


async def _answer(
    request: Request, asked: RecommendationRequest, identity: str, after: BackgroundTasks
) -> Recommendations:
    service: Service = request.app.state.service
    work = lambda: answering.recommend(service.engine, service.store, asked, identity)  # noqa: E731
    answer = await service.do(work, seconds_left(request.state))
    after.add_task(_shadow, service, asked, identity)
    return answer


async def _shadow(service: Service, asked: RecommendationRequest, identity: str) -> None:
    """Runs once the answer has left; on the event loop, as it only puts the request into a queue."""
    service.shadow.offer(asked, identity)
