"""The next page of an answer: an opaque text that names the answer and a place in it.

It goes with the very request that was answered, so that nobody gets another's page and no rule is gone around. Its tag
is made with a secret of the service's folder, of the answer and of that request: none can be made up.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from core.errors import LlmcfError
from llmcf.service.messages import RecommendationRequest
from llmcf.service.problems import At, Problem

FILE = "cursor.key"
BOUND = ("user", "history", "session", "k", "scene", "filters", "candidates")  # what a request is told by
_WHO = BOUND[:2]
_TAG = 32  # characters
_WIDTH = 8  # bytes of a digest


def secret(place: Path) -> bytes:
    """The secret of a service's folder, which all its workers share; made by the first, for its user alone.

    Raises:
        LlmcfError: if it cannot be read or made.
    """
    path = place / FILE
    try:
        place.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        return path.read_bytes()
    except OSError as error:
        raise LlmcfError(f"{path}, the secret of cursors, can be neither read nor made: {error}") from error


def _make(path: Path) -> None:
    """It appears whole, once: of several workers that make one, one's is it."""
    own = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(own, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(secrets.token_bytes(32))
    try:
        with suppress(FileExistsError):
            os.link(own, path)
    finally:
        own.unlink()


def bound(asked: RecommendationRequest) -> dict[str, str]:
    """A digest of each part of a request that its pages are bound to."""
    told = asked.model_dump_json
    return {one: hashlib.blake2b(told(include={one}).encode(), digest_size=_WIDTH).hexdigest() for one in BOUND}


def make(key: bytes, answer: str, start: int, request: Mapping[str, str], items: Sequence[str]) -> str:
    """For the items from `start` on of the answer of that id to a `bound` request."""
    told = f"{answer}|{start}"
    return base64.urlsafe_b64encode(f"{told}|{_tag(key, told, request, items)}".encode()).decode().rstrip("=")


def read(cursor: str) -> tuple[str, int]:
    """The answer's id and the place; Problem 400 for what is no cursor. The answer itself is then to be `check`ed."""
    try:
        told = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        answer, start, _ = told.rsplit("|", 2)
        return answer, int(start)
    except (binascii.Error, ValueError):
        raise unknown() from None


def check(key: bytes, asked: RecommendationRequest, request: Mapping[str, str], items: Sequence[str]) -> None:
    """Problem 400 unless `make` made the cursor of what is asked, of these items, for the very same request."""
    assert asked.cursor is not None
    if not hmac.compare_digest(asked.cursor.encode(), make(key, *read(asked.cursor), request, items).encode()):
        raise unknown()
    now = bound(asked)
    if others := [one for one in BOUND if now[one] != request.get(one)]:
        raise _of_another(others)


def unknown() -> Problem:
    what = "no answer has this cursor, or it is older than a day"
    return Problem(400, "wrong-request", what, [At("/cursor", what)])


def _of_another(fields: Sequence[str]) -> Problem:
    if set(fields) & set(_WHO):
        what = "this cursor is of another user's or session's answer"
    else:
        what = f"this cursor is of another request: {', '.join(fields)} must be as in the one that made it"
    return Problem(
        400, "wrong-request", what, [At("/cursor", what), *(At(f"/{one}", "not as before") for one in fields)]
    )


def _tag(key: bytes, told: str, request: Mapping[str, str], items: Sequence[str]) -> str:
    of = "|".join([told, *(f"{name}={digest}" for name, digest in sorted(request.items())), *items])
    return hmac.new(key, of.encode(), hashlib.sha256).hexdigest()[:_TAG]
