"""The HTTP service of one data set: routes over the same library that the verbs use."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route

from core import settings
from core.errors import LlmcfError
from core.progress import say
from llmcf.service import openapi, problems
from llmcf.service.middleware import REQUEST_ID, Front, respond
from llmcf.service.problems import Problem
from llmcf.service.routes import catalogue, health, intake, operations, page, recommendations, releases, sign_in
from llmcf.service.service import Service
from llmcf.service.traced import Traced
from llmcf.serving import tracing


def create_app(dataset: str, place: Path, *, loopback: bool = True, admin_port: int | None = None) -> FastAPI:
    """The application; when it starts it opens what the supervisor, who writes into the folder `place`, serves.

    Args:
        loopback: it listens on this machine's own address; on another nobody gets in without a key.
        admin_port: where alone releases are chosen and counters read; None for wherever it listens.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = Service.open(dataset, place, loopback=loopback)
        tracing.start(settings.otlp_endpoint(), dataset=dataset)
        try:
            yield
        finally:
            app.state.service.close()
            tracing.stop()

    app = FastAPI(
        title="llmcf",
        summary=f"Recommendations of {dataset}, with reasons.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own loads scripts from elsewhere; the page has one
        redoc_url=None,
    )
    app.state.admin_port = admin_port
    app.add_middleware(Front, full=lambda working: app.state.service.admission.full(working))
    app.add_middleware(Traced)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(LlmcfError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)
    for module in (recommendations, catalogue, intake, releases, health, page, operations, sign_in):
        app.include_router(module.router)
    openapi.describe(app)
    return app


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _respond(request, error)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, LlmcfError)
    say(f"{_named(request)}: {error}")
    return _respond(request, problems.of_error(error))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _respond(request, problems.of_validation(error.errors()))


async def _http(request: Request, error: Exception) -> Response:
    """Starlette's own: no such route, no such method."""
    assert isinstance(error, HTTPException)
    kinds = {404: "unknown-route", 405: "wrong-method"}
    problem = Problem(error.status_code, kinds.get(error.status_code, "wrong-request"), str(error.detail))
    problem.headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers or {}
    return _respond(request, problem)


def _allowed(request: Request) -> str:
    """The methods of an address: it may have several routes, and Starlette names those of the first."""
    routes = [one for one in request.app.routes if isinstance(one, Route)]
    first = next(one for one in routes if one.matches(request.scope)[0] is not Match.NONE)
    return ", ".join(sorted({method for one in routes if one.path == first.path for method in one.methods or ()}))


async def _unforeseen(request: Request, error: Exception) -> Response:
    say(f"{_named(request)}: {type(error).__name__}: {error}")
    answer = _respond(request, Problem(500, "failed", "the service could not do this; its log says why"))
    answer.headers[REQUEST_ID] = request.state.request_id  # it passes no middleware on its way out
    return answer


def _named(request: Request) -> str:
    """A request in a log line: its id, and its trace's where it has one."""
    trace = request.state.trace
    return f"request {request.state.request_id}" + (f", trace {trace}" if trace else "")


def _respond(request: Request, problem: Problem) -> Response:
    """A page for whoever asked for one, else RFC 9457's JSON."""
    if page.is_page(request):
        return page.problem_page(request, problem)
    return respond(problem, request.state.request_id)
