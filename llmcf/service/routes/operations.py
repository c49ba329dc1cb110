"""The operations page: what is served and how it goes; administrators choose among releases."""

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from core import settings
from llmcf.service import choosing
from llmcf.service.access import Apart
from llmcf.service.page import operations, rendering
from llmcf.service.page.visitors import Administering, Form, Reading
from llmcf.service.problems import Problem
from llmcf.service.routes.page import TAG
from llmcf.service.service import Service
from llmcf.serving import releases

router = APIRouter(tags=[TAG], include_in_schema=False, dependencies=[Apart])
Act = Literal["promotion", "rollback"]
Number = Annotated[int, Query(ge=0)]


@router.get("/operations")
def shown(
    request: Request,
    visitor: Reading,
    first: Annotated[int | None, Query()] = None,
    second: Annotated[int | None, Query()] = None,
    done: Act | None = None,
) -> Response:
    """Releases, features, traffic, rungs; `first` and `second` are releases to compare."""
    service: Service = request.app.state.service
    dataset, pair = service.engine.dataset, None
    if first is not None and second is not None:
        pair = operations.differences(dataset, first, second)
    facts = operations.facts(service, acts=visitor.administers)
    return rendering.render(
        "operations.html",
        visitor=visitor,
        dataset=dataset,
        facts=facts,
        first=first,
        second=second,
        differences=pair,
        done=done,
        feast_ui=settings.feast_ui(),
        now=time.time(),
    )


@router.get("/operations/{act}")
def asked(act: Act, release: Number, request: Request, visitor: Administering) -> Response:
    """Is this what you want?"""
    service: Service = request.app.state.service
    dataset = service.engine.dataset
    live = service.engine.live.release.number
    if release not in releases.numbers(dataset):
        raise Problem(404, "unknown-release", f"there is no release {release} of {dataset}")
    return rendering.render(
        "confirm.html",
        visitor=visitor,
        dataset=dataset,
        act=act,
        release=release,
        live=live,
        differences=operations.differences(dataset, live, release),
        tag=visitor.tag(_what(act, release)),
    )


@router.post("/operations/{act}")
def chosen(act: Act, request: Request, visitor: Administering, form: Form) -> Response:
    """Do it, and look at how it goes."""
    number = form.get("release", "")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise Problem(400, "wrong-request", "the form names no release")
    release = int(number)
    visitor.check(_what(act, release), form.get("tag", ""))
    choose = choosing.promote if act == "promotion" else choosing.roll_back
    choose(request.app.state.service, visitor.key, release)
    return RedirectResponse(f"/operations?done={act}", 303, rendering.HEADERS)


def _what(act: str, release: int) -> str:
    return f"{act} of release {release}"
