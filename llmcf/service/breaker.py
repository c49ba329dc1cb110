"""A circuit breaker: what has failed several times in a row is left alone for a while, and then tried by one request.

So a part that is down costs a request nothing, and one that comes back is not met by everybody at once.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from prometheus_client import Counter, Gauge

from core.deadlines import OutOfTime
from core.errors import LlmcfError, Unavailable, UsageError

FAILURES = Counter("llmcf_service_failures", "Failures of a part that a request needed.", ["part"])
OPEN = Gauge(
    "llmcf_service_breakers_open",
    "Workers that leave a part alone because it failed several times in a row.",
    ["part"],
    multiprocess_mode="livesum",
)


class Breaker:
    """Of one part. Safe for threads.

    Args:
        failures: in a row, after which it opens.
        seconds: for which it stays open; then one request at a time may try.
    """

    def __init__(self, part: str, *, failures: int = 3, seconds: float = 1.0) -> None:
        self.part = part
        self._limit, self._seconds = failures, seconds
        self._lock, self._failed, self._until, self._trying = Lock(), 0, 0.0, False
        OPEN.labels(part).set(0)

    @property
    def open(self) -> bool:
        return self._failed >= self._limit

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Around a use of the part; a wrong request, or one in too much of a hurry, is not its failure.

        Raises:
            Unavailable: at once, while it is open, and while another use tries whether it works again.
        """
        tries = self._enter()
        try:
            yield
        except UsageError:
            self.reset()
            raise
        except OutOfTime:  # says nothing of the part
            raise
        except LlmcfError:
            self._fail()
            raise
        else:
            self.reset()
        finally:
            if tries:
                self._trying = False

    def reset(self) -> None:
        """Close it, as after a use that went well."""
        if self.open:
            OPEN.labels(self.part).set(0)
        self._failed = 0

    def _enter(self) -> bool:
        """Whether this use is the one that tries; the others wait for how it goes, however long it takes."""
        with self._lock:
            if self._failed < self._limit:
                return False
            now = time.monotonic()
            if self._trying or now < self._until:
                raise Unavailable(
                    f"{self.part} has failed {self._failed} times in a row and is left alone for a moment"
                )
            self._trying, self._until = True, now + self._seconds
            return True

    def _fail(self) -> None:
        FAILURES.labels(self.part).inc()
        with self._lock:
            self._failed += 1
            if self._failed >= self._limit:
                self._until = time.monotonic() + self._seconds
                OPEN.labels(self.part).set(1)
