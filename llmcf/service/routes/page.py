"""The page for people: users, items, kept answers, documentation. The rest of it lies in `llmcf.service.page`."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse, Response

from llmcf.service import answering
from llmcf.service.access import here
from llmcf.service.page import documented, looking, rendering
from llmcf.service.page.visitors import Reading
from llmcf.service.problems import Problem
from llmcf.service.service import Service

TAG = "page"
router = APIRouter(tags=[TAG], include_in_schema=False)
WITHIN_S = 5.0  # a person waits longer than a shop
_KEPT_BY_BROWSERS = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}

Kind = Literal["user", "item", "title"]
Asked = Annotated[str, Query(max_length=200)]
Count = Annotated[int, Query(ge=1, le=50)]


@router.get("/")
async def home(
    request: Request,
    visitor: Reading,
    q: Asked = "",
    kind: Kind = "user",
    k: Count = 10,
    scene: Annotated[str, Query(max_length=64)] = "",
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> Response:
    """A user, an item, or what has some words in its title."""
    service: Service = request.app.state.service
    identity, engine = request.state.request_id, service.engine
    shown = {
        "visitor": visitor,
        "looks_after": here(request),
        "dataset": engine.dataset,
        "live": engine.live.release.number,
        "scenes": sorted(engine.rules.scenes),
        "asked": {"q": q, "kind": kind, "k": k, "scene": scene, "cursor": cursor},
    }
    if not q.strip():
        start = await service.do(lambda: looking.start(engine.live), WITHIN_S)
        return rendering.render("start.html", **shown, start=start)
    if kind == "user":
        work = lambda: looking.person(service, q, k, scene, cursor, identity)  # noqa: E731
        return rendering.render("person.html", **shown, person=await service.do(work, WITHIN_S))
    if kind == "item" and (thing := await service.do(lambda: looking.thing(engine.live, q), WITHIN_S)):
        return rendering.render("thing.html", **shown, thing=thing)
    found = await service.do(lambda: looking.found(engine.live, q), WITHIN_S)
    return rendering.render("found.html", **shown, found=found)


@router.get("/answers/{identity}")
async def answered(identity: str, request: Request, visitor: Reading) -> Response:
    """What was answered to an earlier request."""
    service: Service = request.app.state.service
    work = lambda: answering.again(service.engine, service.store, identity)  # noqa: E731
    answer = await service.do(work, WITHIN_S)
    return rendering.render(
        "answer.html", visitor=visitor, looks_after=here(request), dataset=service.engine.dataset, answer=answer
    )


@router.get("/docs")
def documentation(request: Request) -> Response:
    """The API: every route with an example. Open to everybody, as it tells of no data."""
    document = request.app.openapi()
    return rendering.render(
        "documentation.html",
        visitor=None,
        looks_after=here(request),
        dataset=request.app.state.service.engine.dataset,
        address=str(request.base_url).rstrip("/"),
        title=document["info"]["title"],
        tags=documented.operations(document),
        messages=documented.messages(document),
    )


@router.get("/page/style.css")
def style() -> FileResponse:
    return FileResponse(rendering.STYLE, media_type="text/css", headers=_KEPT_BY_BROWSERS)


@router.get("/page/icon.svg")
def icon() -> FileResponse:
    return FileResponse(rendering.ICON, media_type="image/svg+xml", headers=_KEPT_BY_BROWSERS)


def is_page(request: Request) -> bool:
    """Whether a person with a browser waits for the answer, so that a problem should be a page, too."""
    route = request.scope.get("route")
    if route is None:  # an address that is none
        return "text/html" in request.headers.get("accept", "")
    return TAG in getattr(route, "tags", [])


def problem_page(request: Request, problem: Problem) -> Response:
    """A problem for people; for somebody who has not signed in, the form to do so."""
    service: Service = request.app.state.service
    shown = {
        "visitor": None,
        "looks_after": here(request),
        "dataset": service.engine.dataset,
        "status": problem.status,
    }
    if problem.kind == "unknown-key":
        address = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
        return rendering.render("sign_in.html", **shown, address=address if request.method == "GET" else "/", fault="")
    return rendering.render(
        "problem.html", **shown, headers=problem.headers, problem=problem, request=request.state.request_id
    )
