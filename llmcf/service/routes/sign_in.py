"""Signing in with a key, and out."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from llmcf.service.access import here
from llmcf.service.page import rendering, visitors
from llmcf.service.page.visitors import Form, Reading
from llmcf.service.problems import Problem
from llmcf.service.routes.page import TAG
from llmcf.service.service import Service

router = APIRouter(tags=[TAG], include_in_schema=False)
SIGN_OUT = "sign out"


@router.get("/sign-in")
def asked(request: Request, address: Annotated[str, Query(alias="next", max_length=2000)] = "/") -> Response:
    return _form(request, address, 200, "")


@router.post("/sign-in")
def signed_in(request: Request, form: Form) -> Response:
    """Keep the key in the browser if it is one; whose it is stands on every page from then on."""
    address = visitors.local(form.get("next", "/"))
    answer = RedirectResponse(address, 303, rendering.HEADERS)
    try:
        visitors.sign_in(request, answer, form.get("key", "").strip())
    except Problem as problem:
        if problem.status != 401:
            raise
        return _form(request, address, 401, "This is not a key of this service.")
    return answer


@router.post("/sign-out")
def signed_out(request: Request, visitor: Reading, form: Form) -> Response:
    visitor.check(SIGN_OUT, form.get("tag", ""))
    answer = RedirectResponse("/sign-in", 303, rendering.HEADERS)
    visitors.sign_out(request, answer)
    return answer


def _form(request: Request, address: str, status: int, fault: str) -> Response:
    service: Service = request.app.state.service
    return rendering.render(
        "sign_in.html",
        status=status,
        visitor=None,
        looks_after=here(request),
        dataset=service.engine.dataset,
        address=visitors.local(address),
        fault=fault,
    )
