"""Who looks at the page: a key in a cookie, and forms that only this page can have made.

The cookie holds the key itself and each request looks it up, so that a key that is removed is out at once. A form that
changes something carries a tag made of that key and of what it does: nobody else can make one, and no other form of
the same visitor fits. Browsers also say where a form came from.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from fastapi import Cookie, Depends, Header, Request, Response

from llmcf.service import keys
from llmcf.service.access import Door
from llmcf.service.keys import Key
from llmcf.service.problems import Problem

COOKIE = "llmcf_key"
_FIELDS = 10  # of a form
_ELSEWHERE = "this form was not sent by this page; open the page again"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody with a key, or anybody where no key was ever made (`secret` is "" then)."""

    key: Key
    secret: str

    @property
    def administers(self) -> bool:
        return bool(self.secret) and self.key.allows("admin")

    def tag(self, act: str) -> str:
        """What a form that does `act` carries."""
        return hmac.new(self.secret.encode("utf-8", "replace"), act.encode(), hashlib.sha256).hexdigest()

    def check(self, act: str, tag: str) -> None:
        """Raises Problem 403 unless the tag is this visitor's, for this act."""
        if not self.secret or not hmac.compare_digest(self.tag(act).encode(), tag.encode("utf-8", "replace")):
            raise Problem(403, "forbidden", _ELSEWHERE)


Cooked = Annotated[str | None, Cookie(alias=COOKIE)]
Headed = Annotated[str | None, Header(alias=keys.HEADER)]


def reader(request: Request, cooked: Cooked = None, headed: Headed = None) -> Visitor:
    """A dependency of pages; Problem 401 for somebody without a key where there are keys."""
    return _visitor(request, cooked, headed, "read")


def admin(request: Request, cooked: Cooked = None, headed: Headed = None) -> Visitor:
    """A dependency of what only administrators may see or do; Problem 403 for others."""
    return _visitor(request, cooked, headed, "admin")


async def form(request: Request) -> dict[str, str]:
    """A dependency: the fields of a form that this page made.

    Raises:
        Problem: 403 if a browser says that it comes from elsewhere, 400 for what is no form.
    """
    _require_own(request)
    try:
        text = (await request.body()).decode("utf-8")
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS))
    except ValueError:
        raise Problem(400, "wrong-request", "this is no form") from None


Reading = Annotated[Visitor, Depends(reader)]
Administering = Annotated[Visitor, Depends(admin)]
Form = Annotated[Mapping[str, str], Depends(form)]


def sign_in(request: Request, response: Response, secret: str) -> None:
    """Let the browser keep a key, for as long as it is open, and send it to this page alone.

    Raises:
        Problem: 401 if it is none.
    """
    door: Door = request.app.state.service.door
    if not door.admit(secret, "read").digest:
        raise Problem(401, "unknown-key", "no key was ever made here: there is nothing to sign in to")
    response.set_cookie(COOKIE, secret, httponly=True, samesite="strict", secure=request.url.scheme == "https")


def sign_out(request: Request, response: Response) -> None:
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=request.url.scheme == "https")


def local(address: str) -> str:
    """An address of this service to go on to, `/` for anything else."""
    return address if re.fullmatch(r"/(?![/\\])[\x21-\x7e]*", address) and "\\" not in address else "/"


def _visitor(request: Request, cooked: str | None, headed: str | None, role: str) -> Visitor:
    door: Door = request.app.state.service.door
    found = door.admit(headed or cooked, role, host=request.headers.get("host", ""))
    return Visitor(found, (headed or cooked or "") if found.digest else "")


def _require_own(request: Request) -> None:
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        own = site in ("same-origin", "none")
    else:  # plain http from another machine: browsers send the origin only
        own = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not own:
        raise Problem(403, "forbidden", _ELSEWHERE)
