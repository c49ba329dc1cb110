"""Who is asking, and may they: keys by header, rates by key, and a name for the audit log.

Where no key was ever made, everybody on loopback reads and writes, and nobody administers. Once there was one, the
service stays closed to those without, also when the last key was taken back or the file of keys is lost; who had a key
that is known here goes on then.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from threading import Lock
from typing import Annotated, Self
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from core import settings, storage
from core.errors import LlmcfError, Unavailable
from core.progress import say
from llmcf.service import keys
from llmcf.service.keys import Key
from llmcf.service.problems import Problem

_BURST = 2.0  # seconds without a request that a key may make up for at once
_ANYBODY = Key("anybody", "write", "", "")
_SENT = APIKeyHeader(name=keys.HEADER, scheme_name="key", auto_error=False)


@dataclass(slots=True)
class Bucket:
    """Tokens that fill up with time; each request takes one, a batch one for each of its entries."""

    per_second: float
    tokens: float
    last: float = field(default_factory=time.monotonic)

    @classmethod
    def full(cls, per_second: float) -> Self:
        return cls(per_second, _BURST * per_second)

    def take(self) -> bool:
        now = time.monotonic()
        self.tokens = min(_BURST * self.per_second, self.tokens + (now - self.last) * self.per_second)
        self.last = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def owe(self, more: int) -> None:
        """Take more than there may be: what comes next waits until that is made up for."""
        self.tokens -= more


class Door:
    """The keys as they are on disk, and a bucket for each. Safe for threads.

    Args:
        loopback: nobody else reaches the service; else it takes nobody without a key, whatever happens to them.
    """

    def __init__(self, *, loopback: bool = True) -> None:
        self._loopback = loopback
        self._stamp: storage.Stamp | None = None
        self._keys: list[Key] = []
        self._per_second = settings.requests_per_second()
        self._buckets: dict[str, Bucket] = {}
        self._failing = False  # whether the keys could not be read when it was last tried
        self._lock = Lock()

    def admit(self, key: str | None, role: str, *, host: str = "") -> Key:
        """Whose key it is.

        Args:
            host: by which the caller calls the service. Where nobody needs a key it has to be one of loopback's: a page
                of another site may have its own name lead here, and would read and write as whoever looks at it.

        Raises:
            Problem: 401 without a key that is known, 403 where its role is too low, 429 where it asks too often.
            Unavailable: if there are keys, and they cannot be read.
        """
        with self._lock:
            found = self._find(key)
            if found is _ANYBODY and not _of_loopback(host):
                raise Problem(403, "forbidden", f"without a key this answers as localhost, not as {host[:100]}")
            if not found.allows(role):
                raise Problem(403, "forbidden", f"this needs a key of role {role}; {found.name} has {found.role}")
            if not self._buckets.setdefault(found.digest, Bucket.full(self._per_second)).take():
                raise Problem(429, "too-many", "this key asks too often", headers={"Retry-After": "1"})
            return found

    def charge(self, key: Key, more: int) -> None:
        """Count a request that was admitted as `more` besides; it is done all the same, and the next ones wait."""
        with self._lock:
            self._buckets[key.digest].owe(more)

    def _find(self, key: str | None) -> Key:
        stamp = storage.stamp(keys.path())
        if stamp is not None and stamp != self._stamp:
            self._renew(stamp)
        if self._stamp is None and self._loopback and not keys.were_made():
            return _ANYBODY
        found = keys.find(key, self._keys) if key else None
        if found is None:
            raise Problem(401, "unknown-key", f"send a key in the header {keys.HEADER}")
        return found

    def _renew(self, stamp: storage.Stamp) -> None:
        """Read the keys; where that fails, those that are known go on. It is tried again: rights change no stamp."""
        try:
            self._keys, self._stamp = keys.read(), stamp
        except LlmcfError as error:
            if not self._failing:
                say(f"keys go on as they were: {error}")
            self._failing = True
            if self._stamp is None:  # none were read yet
                raise Unavailable("the file of keys cannot be read; the log says why") from error
            return
        self._failing = False
        with suppress(OSError):  # made by a version that took no note of it
            keys.remember()


def needs(role: str) -> Callable[..., Key]:
    """A dependency of routes: the key that a request came with, if its role is enough."""

    def check(request: Request, key: Annotated[str | None, Security(_SENT)]) -> Key:
        return request.app.state.service.door.admit(key, role, host=request.headers.get("host", ""))

    return check


def _of_loopback(host: str) -> bool:
    """Whether a name by which a service is called is loopback's; none is, as of what is no browser."""
    try:
        name = urlsplit(f"//{host}").hostname if host else "localhost"
        return name == "localhost" or ip_address(name or "").is_loopback
    except ValueError:
        return False


def here(request: Request) -> bool:
    """Whether a request came to where the service is looked after: its own port, where it has one."""
    own = request.app.state.admin_port
    return own is None or request.scope["server"][1] == own


def _apart(request: Request) -> None:
    if not here(request):
        raise Problem(404, "unknown-route", "Not Found")


Apart = Depends(_apart)  # of routes that are for who looks after the service, and answer on their own port alone
Reader = Annotated[Key, Depends(needs("read"))]
Writer = Annotated[Key, Depends(needs("write"))]
Admin = Annotated[Key, Depends(needs("admin"))]
