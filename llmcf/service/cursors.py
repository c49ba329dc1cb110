"""The next page of an answer: an opaque text that names the answer and a place in it.

Its tag is made of what was answered, so that none can be made up, or moved to another user's answer.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from llmcf.service.problems import At, Problem

_TAG = 16  # characters


def make(answer: str, start: int, user: str | None, items: Sequence[str]) -> str:
    """For the items from `start` on of the answer of that id."""
    told = f"{answer}|{start}"
    return base64.urlsafe_b64encode(f"{told}|{_tag(told, user, items)}".encode()).decode().rstrip("=")


def read(cursor: str) -> tuple[str, int]:
    """The answer's id and the place; Problem 400 for what is no cursor. The answer itself is then to be `check`ed."""
    try:
        told = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        answer, start, _ = told.rsplit("|", 2)
        return answer, int(start)
    except (binascii.Error, ValueError):
        raise unknown() from None


def check(cursor: str, answer: str, start: int, user: str | None, items: Sequence[str]) -> None:
    """Problem 400 unless `make` made it of this answer."""
    if not hmac.compare_digest(cursor.encode(), make(answer, start, user, items).encode()):
        raise unknown()


def unknown() -> Problem:
    what = "no answer of this user has this cursor, or it is older than a day"
    return Problem(400, "wrong-request", what, [At("/cursor", what)])


def _tag(told: str, user: str | None, items: Sequence[str]) -> str:
    secret = "|".join([user or "", *items])
    return hmac.new(secret.encode(), told.encode(), hashlib.sha256).hexdigest()[:_TAG]
