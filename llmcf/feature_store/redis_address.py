"""LLMCF_REDIS, taken apart as Feast does it: where the server is, how to reach it, and what must never be shown."""

import json
import re
from functools import cache
from math import inf
from typing import TYPE_CHECKING, Any

from core import deadlines
from core.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from redis import Redis
    from redis.connection import Connection

_NODE = re.compile(r"^[\w.-]+:\d+$")
JOB_S = 2.0  # that a job waits for an answer; Feast's own clients wait for ever
REQUEST_S = 0.5  # that a request waits: of its second there is time left for what comes next on the ladder
_LEAST_S = 0.001  # of a socket: none would mean not to wait at all


def address(connection: str) -> str:
    """`host:port`, and `/db` where one is named: the server's identity, without credentials.

    Raises:
        UsageError: if it is not in Feast's form.
    """
    node, options = _parts(connection)
    return f"{node}/{options['db']}" if "db" in options else node


def client(connection: str) -> "Redis":
    """A job's client: it tries twice, JOB_S each, unless `connection` says otherwise."""
    return _client(connection, JOB_S, again=1)


def reader(connection: str) -> "Redis":
    """A client for what requests read: it tries once, for REQUEST_S, unless `connection` says otherwise.

    Nor does it wait longer than what is left of a request's time (core/deadlines.py). A connection that the server has
    closed meanwhile is opened anew before it is used, so that costs no try.
    """
    found = _client(connection, REQUEST_S, again=0)
    pool = found.connection_pool
    pool.connection_class = _in_time(pool.connection_class)
    return found


@cache
def _in_time(kind: "type[Connection]") -> "type[Connection]":
    """Connections of this kind whose timeouts are no longer than what is left of the request's time."""

    class InTime(kind):
        @property
        def socket_timeout(self) -> float | None:
            return _shorter(self._socket_timeout)

        @socket_timeout.setter
        def socket_timeout(self, value: float | None) -> None:
            self._socket_timeout = value

        @property
        def socket_connect_timeout(self) -> float | None:
            return _shorter(self._socket_connect_timeout)

        @socket_connect_timeout.setter
        def socket_connect_timeout(self, value: float | None) -> None:
            self._socket_connect_timeout = value

        def send_packed_command(self, *args: Any, **options: Any) -> None:
            if self._sock is not None:
                self.update_current_socket_timeout(self.socket_timeout)
            super().send_packed_command(*args, **options)

    return InTime


def _shorter(usual: float | None) -> float | None:
    left = deadlines.left()
    return usual if left == inf else max(_LEAST_S, left if usual is None else min(usual, left))


def _client(connection: str, seconds: float, *, again: int) -> "Redis":
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    node, options = _parts(connection)
    host, _, port = node.partition(":")
    ours = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "retry": Retry(NoBackoff(), again)}
    try:
        return Redis(host=host, port=int(port), **{**ours, **options})
    except TypeError as error:  # an option that it does not have
        raise UsageError(f"LLMCF_REDIS: {scrub(str(error), connection)}") from None


def require(connection: str) -> None:
    """Raises Unavailable, without the credential, unless the server answers."""
    from redis import RedisError

    try:
        with client(connection) as asked:
            asked.ping()
    except RedisError as error:
        raise failed(connection, error) from None


def failed(connection: str, error: Exception) -> Unavailable:
    """The error for a server that did not answer."""
    said = scrub(f"{type(error).__name__}: {error}", connection)
    return Unavailable(f"Redis at {address(connection)} does not answer ({said}); check LLMCF_REDIS and the server")


def scrub(text: str, connection: str | None) -> str:
    """`text` without what LLMCF_REDIS keeps secret."""
    for part in (connection or "").split(","):
        name, _, value = part.partition("=")
        if "password" in name and value:
            text = text.replace(value, "***")
    return text


def _parts(connection: str) -> tuple[str, dict[str, Any]]:
    """The node, and the options as Feast reads them: JSON where it is some, else text."""
    node, *options = connection.split(",")
    if not _NODE.match(node) or not all("=" in option for option in options):
        raise UsageError("LLMCF_REDIS is not `host:port[,name=value...]`, e.g. `redis:6379,db=0,password=...`")
    return node, {name: _value(value) for name, _, value in (option.partition("=") for option in options)}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
