"""A store that goes away: known users stay as they were, others are nobody, and the thread is told."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from core.contracts import DENSE
from core.errors import Unavailable
from llmcf.online import staleness
from llmcf.service.breaker import Breaker
from llmcf.service.remembered import Remembered


class Store:
    """One that can be switched off."""

    def __init__(self) -> None:
        self.down = False

    def _answer(self, value: Any) -> Any:
        if self.down:
            raise Unavailable("down")
        return value

    def today(self) -> int:
        return 7

    def user(self, user: int) -> dict[str, Any] | None:
        return self._answer({"history": [user]})

    def session(self, items: Any) -> dict[str, Any]:
        return self._answer({"history": list(items)})

    def dense(self, user: Any, items: Any, day: int) -> np.ndarray:
        return self._answer(np.ones((len(items), len(DENSE)), dtype=np.float32))

    def popular(self, count: int) -> list[int]:
        return list(range(count))

    def prepare(self, items: Any) -> None:
        self._answer(items)


@pytest.fixture
def store() -> Store:
    return Store()


def test_while_the_store_is_away_users_are_as_last_read(store: Store) -> None:
    reader = Remembered(store, Breaker("store", failures=2))
    reader.watch()
    assert reader.user(3) == {"history": [3]}
    assert not reader.degraded
    store.down = True
    assert [reader.user(3), reader.user(4)] == [{"history": [3]}, None]
    assert reader.degraded
    reader.watch()
    assert not reader.degraded
    assert reader.session([5]) is None
    assert reader.dense({}, [5, 6], 7).tolist() == np.zeros((2, len(DENSE))).tolist()
    assert reader.degraded
    assert reader.popular(2) == [0, 1]


def test_a_store_that_comes_back_is_asked_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("llmcf.service.breaker.time.monotonic", lambda: now[0])
    reader = Remembered(store, Breaker("store", failures=1, seconds=1.0))
    store.down = True
    assert reader.user(3) is None
    store.down = False
    assert reader.user(3) is None, "left alone for a moment"
    now[0] += 1.1
    assert reader.user(3) == {"history": [3]}


def test_what_is_amiss_is_told_to_the_thread_that_met_it(store: Store) -> None:
    reader = Remembered(store, Breaker("store", failures=2))
    reader.watch()
    assert reader.shortcomings == []
    staleness.note({"user_history": 1})
    staleness.note(["item_popularity", "user_history"])
    store.down = True
    reader.user(4)
    assert reader.shortcomings == ["stale item_popularity", "stale user_history", "feature store not read"]
    with ThreadPoolExecutor(1) as another:
        assert another.submit(lambda: reader.shortcomings).result() == []
    reader.watch()
    assert reader.shortcomings == []
