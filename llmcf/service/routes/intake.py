"""What comes in: events, new items, new users. What is accepted is kept; it counts within a second or two."""

from fastapi import APIRouter, Request
from prometheus_client import Counter

from llmcf.service.access import Writer
from llmcf.service.intake_messages import EventsIn, EventsOut, ItemsIn, ItemsOut, UsersIn, UsersOut
from llmcf.service.middleware import seconds_left
from llmcf.service.openapi import problems_of
from llmcf.service.reception import refused
from llmcf.service.service import Service

router = APIRouter(tags=["intake"])
EVENTS = Counter("llmcf_service_events", "Events that came in, by kind and what became of them.", ["kind", "status"])


@router.post("/events", status_code=202, responses=problems_of(503, 504))
async def take_events(asked: EventsIn, request: Request, _: Writer) -> EventsOut:
    """Take in what users did; each event is accepted or refused by itself, in its place.

    Where none of them can be taken, that is a problem (422), with the place of each and why. An id that was sent
    before, with the same content, is a duplicate: sending again does no harm.
    """
    service: Service = request.app.state.service
    work = lambda: service.reception.events(service.engine.live.release.workspace, asked.events)  # noqa: E731
    found = await service.do(work, seconds_left(request.state))
    for one, told in zip(asked.events, found, strict=True):
        EVENTS.labels(one.kind, told.status).inc()
    if all(told.status == "refused" for told in found):
        raise refused(found)
    return EventsOut(events=found)


@router.post("/items", status_code=202, responses=problems_of(409, 503, 504))
async def take_items(asked: ItemsIn, request: Request, _: Writer) -> ItemsOut:
    """Add items, all of them or none; one that is there already must say the same."""
    service: Service = request.app.state.service
    work = lambda: service.reception.items(service.engine.live.release.workspace, asked.items)  # noqa: E731
    return ItemsOut(items=await service.do(work, seconds_left(request.state)))


@router.post("/users", status_code=202, responses=problems_of(503, 504))
async def take_users(asked: UsersIn, request: Request, _: Writer) -> UsersOut:
    """Add users, all of them or none; without events they are shown what strangers are."""
    service: Service = request.app.state.service
    return UsersOut(users=await service.do(lambda: service.reception.users(asked.users), seconds_left(request.state)))
