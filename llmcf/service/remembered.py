"""Features of users that outlive a feature store which does not answer: the last that was read of each."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock, local
from typing import Any

import numpy as np

from core.contracts import DENSE, PAD
from core.errors import LlmcfError, Unavailable
from llmcf.online import staleness
from llmcf.service.breaker import Breaker
from llmcf.serving.recommender import FeatureReader

STALE, UNREAD = "stale ", "feature store not read"  # with the view's name; for an answer's `degraded`
_USERS = 50_000  # about 1 kB each


def forgotten() -> Unavailable:
    """The error for a user of whom something may be known, but not here and now."""
    return Unavailable("the feature store does not answer, and this user was not read before")


class Remembered:
    """A reader whose users are remembered. Safe for threads.

    While the store does not answer, a user is as last read, one that was not read is nobody, and features of items
    count as not known. `degraded` says whether that happened to this thread since `watch`, and `shortcomings` what else
    was amiss. `reader` is the store as it is: what fails there is nobody else's failure.
    """

    def __init__(self, reader: FeatureReader, breaker: Breaker) -> None:
        self.reader, self._breaker = reader, breaker
        self._known: OrderedDict[int, dict[str, Any] | None] = OrderedDict()
        self._lock, self._own = Lock(), local()

    def watch(self) -> None:
        """From here on `degraded` and `shortcomings` tell of this thread."""
        self._own.degraded = False
        staleness.watch()

    @property
    def degraded(self) -> bool:
        """Whether the store failed this thread since it was last watched."""
        return getattr(self._own, "degraded", False)

    @property
    def shortcomings(self) -> list[str]:
        """What this thread had to do without since it was last watched: views whose rows were too old, or the store."""
        return [*(STALE + view for view in staleness.seen()), *([UNREAD] if self.degraded else [])]

    def user(self, user: int) -> dict[str, Any] | None:
        try:
            with self._breaker():
                found = self.reader.user(user)
        except LlmcfError:
            self._own.degraded = True
            with self._lock:
                return self._known.get(user)
        with self._lock:
            self._known[user] = found
            self._known.move_to_end(user)
            if len(self._known) > _USERS:
                self._known.popitem(last=False)
        return found

    def probe(self) -> None:
        """Raises LlmcfError if the store does not answer."""
        self.reader.user(PAD)

    def session(self, items: Sequence[int]) -> dict[str, Any] | None:
        try:
            with self._breaker():
                return self.reader.session(items)
        except LlmcfError:
            self._own.degraded = True
            return None

    def dense(self, user: Mapping[str, Any], items: Sequence[int], day: int) -> np.ndarray:
        try:
            with self._breaker():
                return self.reader.dense(user, items, day)
        except LlmcfError:
            self._own.degraded = True
            return np.zeros((len(items), len(DENSE)), dtype=np.float32)

    def popular(self, count: int) -> list[int]:
        return self.reader.popular(count)

    def today(self) -> int:
        return self.reader.today()

    def prepare(self, items: Sequence[int]) -> None:
        self.reader.prepare(items)
