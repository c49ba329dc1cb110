"""Whether a worker can answer: its parts are asked once a second at most, however many want to know."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

from core import deadlines

_FRESH_S = 1.0
_WITHIN_S = 0.9  # that the parts may take together
SILENT = {"answer": "the parts did not answer in time"}
Found = dict[str, str]


class Probe:
    """Safe for threads.

    Args:
        ask: says of each part "ok", or what is the matter.
    """

    def __init__(self, ask: Callable[[], Found], *, fresh_s: float = _FRESH_S) -> None:
        self._ask, self._fresh_s = ask, fresh_s
        self._pool, self._lock = ThreadPoolExecutor(1, "probe"), Lock()
        self._last: Future[Found] | None = None
        self._until = 0.0

    def begin(self) -> Future[Found]:
        """What was found within the last second, or is being looked for."""
        with self._lock:
            if self._last is None or (self._last.done() and time.monotonic() >= self._until):
                self._last, self._until = self._pool.submit(self._bounded), time.monotonic() + self._fresh_s
            return self._last

    def look(self) -> Found:
        """The same, waited for."""
        try:
            return self.begin().result(_WITHIN_S + 0.1)
        except TimeoutError:
            return SILENT

    def close(self) -> None:
        self._pool.shutdown(wait=False)

    def _bounded(self) -> Found:
        with deadlines.within(_WITHIN_S):
            return self._ask()
