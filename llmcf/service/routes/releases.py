"""Releases: which there are, and which one answers."""

from fastapi import APIRouter, Request

from llmcf.service import choosing
from llmcf.service.access import Admin, Reader
from llmcf.service.messages import ReleaseInfo, Releases
from llmcf.service.service import Service
from llmcf.serving import manifest, releases
from llmcf.serving.manifest import Release, Unreadable

router = APIRouter(tags=["releases"])


@router.get("/releases")
async def listed(request: Request, _: Reader) -> Releases:
    """Every release of the data set, newest last; `live` is the one that this worker answers with."""
    service: Service = request.app.state.service
    found = [_info(service, number) for number in releases.numbers(service.engine.dataset)]
    return Releases(live=service.engine.live.release.number, releases=found)


@router.post("/releases/{number}/promotion", status_code=202)
async def promote(number: int, request: Request, who: Admin) -> Releases:
    """Make a release live: it is loaded beside the one that answers, tried, and then takes over in every worker.

    One that fails its canary is not taken; `GET /releases` tells which one answers.
    """
    choosing.promote(request.app.state.service, who, number)
    return await listed(request, who)


def _info(service: Service, number: int) -> ReleaseInfo:
    try:
        release = Release.read(manifest.folder(service.engine.dataset, number))
    except Unreadable as error:
        return ReleaseInfo(release=number, state=error.why)
    ranker, tower = release.stages["ranker"], release.stages["user_vector"]
    state = "live" if number == service.engine.live.release.number else "ready"
    if state == "ready" and service.engine.find(number):
        state = "loaded"
    return ReleaseInfo(
        release=number,
        state=state,
        created=release.created,
        ranker=f"{ranker.backbone} {ranker.framework} {ranker.recipe}",
        retriever=f"{tower.backbone} {tower.framework} {tower.recipe}",
    )
