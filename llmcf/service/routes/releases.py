"""Releases: which there are, and which one answers."""

from typing import Annotated

from fastapi import APIRouter, Path, Request

from llmcf.service import choosing
from llmcf.service.access import Admin, Apart, Reader
from llmcf.service.messages import ReleaseInfo, Releases
from llmcf.service.middleware import seconds_left
from llmcf.service.openapi import problems_of
from llmcf.service.page import operations
from llmcf.service.service import Service
from llmcf.serving import releases, verdicts

router = APIRouter(tags=["releases"])


@router.get("/releases", responses=problems_of(504))
async def listed(request: Request, _: Reader) -> Releases:
    """Every release of the data set, newest last; `live` is the one that this worker answers with."""
    service: Service = request.app.state.service
    return await service.aside(lambda: _listed(service), seconds_left(request.state))


@router.post(
    "/releases/{number}/promotion",
    status_code=202,
    responses=problems_of(404, 409, 503, 504),
    dependencies=[Apart],
)
async def promote(number: Annotated[int, Path(examples=[2])], request: Request, who: Admin) -> Releases:
    """Make a release live: it is loaded beside the one that answers, tried, and then takes over in every worker.

    One that fails its canary is not taken; `GET /releases` tells which one answers. After a 504, too: it may have been
    chosen all the same.
    """
    service: Service = request.app.state.service

    def act() -> Releases:
        choosing.promote(service, who, number)
        return _listed(service)

    return await service.aside(act, seconds_left(request.state))


def _listed(service: Service) -> Releases:
    found = [_info(service, number) for number in releases.numbers(service.engine.dataset)]
    return Releases(live=service.engine.live.release.number, releases=found)


def _info(service: Service, number: int) -> ReleaseInfo:
    found = operations.row(service, number)
    if found.fault:
        return ReleaseInfo(release=number, state=found.fault)
    roles = {"ranker": found.stages["ranker"], "retriever": found.stages["user_vector"]}
    metrics = {f"{role} {name}": value for role, one in roles.items() for name, value in one.metrics.items()}
    words = {role: one.words for role, one in roles.items()}
    check = verdicts.state(service.engine.dataset, number)
    return ReleaseInfo(release=number, state=found.state, check=check, created=found.created, metrics=metrics, **words)
