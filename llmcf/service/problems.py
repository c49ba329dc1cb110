"""Errors as RFC 9457 problem details: what is wrong, where in the request, and what to do.

LlmcfError > UsageError 400, Unavailable 503 with Retry-After, OutOfTime 504, any other 500; a request that is no such
request 422
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from core.deadlines import OutOfTime
from core.errors import LlmcfError, Unavailable, UsageError

MEDIA_TYPE = "application/problem+json"
_RETRY_S = 1  # after a part did not answer


@dataclass(frozen=True, slots=True)
class At:
    """One fault of a request. `pointer` is a JSON pointer into the body, or the name of a header or parameter."""

    pointer: str
    detail: str


@dataclass(slots=True)
class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """What a request is answered with when it cannot be done.

    Args:
        kind: last part of the problem's type, in words with hyphens.
        errors: faults of the request, each with its place.
    """

    status: int
    kind: str
    detail: str
    errors: Sequence[At] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, instance: str) -> dict[str, Any]:
        """As JSON; `instance` is the request's id."""
        found: dict[str, Any] = {
            "type": f"urn:llmcf:problem:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": f"urn:llmcf:request:{instance}",
        }
        if self.errors:
            found["errors"] = [{"pointer": one.pointer, "detail": one.detail} for one in self.errors]
        return found


def of_error(error: LlmcfError) -> Problem:
    """One of our own errors."""
    if isinstance(error, UsageError):
        return Problem(400, "wrong-request", str(error))
    if isinstance(error, OutOfTime):
        return Problem(504, "deadline", "the request's time was over before its answer")
    if isinstance(error, Unavailable):
        return Problem(503, "unavailable", str(error), headers={"Retry-After": str(_RETRY_S)})
    return Problem(500, "failed", "the service could not do this; its log says why, under the request's id")


def of_validation(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """What pydantic found wrong with a request; values are not repeated."""
    found = [At(_pointer(one["loc"]), one["msg"]) for one in errors]
    return Problem(422, "invalid-request", "the request is not as documented at /docs", found)


def _pointer(place: Sequence[str | int]) -> str:
    """A JSON pointer (RFC 6901) for what lies in the body, a plain name for the rest."""
    where, *rest = place
    if where != "body":
        return "/".join(map(str, rest)) or str(where)
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in rest)
