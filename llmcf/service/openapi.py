"""The OpenAPI document: what FastAPI derives of the routes, the problems that each may meet, the headers of all.

A route names its own problems by `problems_of`; those that any request may meet, and any with a key, are added here.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict

from llmcf.service import problems
from llmcf.service.messages import LONGEST_MS
from llmcf.service.middleware import DEADLINE_MS, LIVE, REQUEST_ID, TIMEOUT
from llmcf.service.problems import At, Problem

_PROBLEMS = {
    400: "A header, a name or a cursor is wrong.",
    401: "There is no such key.",
    403: "The key's role is too low.",
    404: "There is nothing of this name.",
    408: "The body was not here in time.",
    409: "Something else is there under this id.",
    413: "The body is too large.",
    422: "The request is not as documented, or names what the release does not have.",
    429: "The key asks too often.",
    431: "Address and headers are too large.",
    500: "The service could not do it; its log says why, under the request's id.",
    503: "There is too much to do, or a part does not answer now.",
    504: "The request's time was over before its answer.",
}
_KINDS = {
    400: "wrong-request",
    401: "unknown-key",
    403: "forbidden",
    404: "unknown-user",
    408: "slow-body",
    409: "other-item",
    413: "too-large",
    422: "invalid-request",
    429: "too-many",
    431: "large-head",
    500: "failed",
    503: "overloaded",
    504: "deadline",
}  # an example of each
_ANY, _WITH_KEY = (400, 408, 413, 422, 431, 500, 503), (401, 403, 429)
_AGAIN = (429, 503)  # with Retry-After
_ID = {"description": "The request's id, sent or made.", "schema": {"type": "string"}}
_RETRY = {"description": "Seconds to wait before another try.", "schema": {"type": "integer"}}
_HEADERS = [
    {
        "name": REQUEST_ID,
        "in": "header",
        "description": "1 to 64 of A-Z a-z 0-9 . _ : -, which the answer returns; made where it is none.",
        "schema": {"type": "string", "examples": ["shop-7"]},
    },
    {
        "name": TIMEOUT,
        "in": "header",
        "description": "Milliseconds within which the answer is wanted.",
        "schema": {"type": "integer", "minimum": 1, "maximum": LONGEST_MS, "default": DEADLINE_MS, "examples": [300]},
    },
]


class Fault(BaseModel):
    """One fault of a request: a JSON pointer into its body, or the name of a header or parameter."""

    model_config = ConfigDict(extra="forbid")

    pointer: str
    detail: str


class ProblemDetails(BaseModel):
    """Why a request was not done (RFC 9457); `instance` names the request, `errors` its faults."""

    model_config = ConfigDict(extra="forbid")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[Fault] = []


def problems_of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: problems that it may meet beside those that any request may."""
    return {status: _problem(status) for status in statuses}


def describe(app: FastAPI) -> None:
    """Have the application answer with this document, made once."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document


def _document(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    for path, told in _operations(found):
        answers = told["responses"]
        for status in (*_ANY, *(_WITH_KEY if "security" in told else ())):
            own = answers.get(str(status), {}).get("content", {}) if status == 503 else {}
            if status != 503 or path != LIVE:
                answers[str(status)] = problem = _problem(status)
                problem["content"] = {**own, **problem["content"]}
        for status, answer in answers.items():
            answer["headers"] = {REQUEST_ID: _ID} | ({"Retry-After": _RETRY} if int(status) in _AGAIN else {})
        told["responses"] = dict(sorted(answers.items()))
        told["parameters"] = [*told.get("parameters", []), *_HEADERS]
    schemas = found["components"]["schemas"]
    for gone in ("HTTPValidationError", "ValidationError"):  # FastAPI's, whose place a problem takes
        schemas.pop(gone, None)
    told = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= {**told.pop("$defs"), "ProblemDetails": told}
    return found


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((path, told) for path, methods in document["paths"].items() for told in methods.values())


def _problem(status: int) -> dict[str, Any]:
    detail, faults = _PROBLEMS[status], [At("/k", "Input should be less than or equal to 100")] if status == 422 else []
    example = Problem(status, _KINDS[status], detail, faults).body("shop-7")
    told = {"schema": {"$ref": "#/components/schemas/ProblemDetails"}, "example": example}
    return {"description": detail, "content": {problems.MEDIA_TYPE: told}}
