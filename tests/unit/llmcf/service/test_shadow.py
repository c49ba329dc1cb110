"""What the shadow asks costs the users nothing, also where it fails; its release is played."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from core.errors import Unavailable
from llmcf.service import asking, shadow
from llmcf.service.breaker import Breaker
from llmcf.service.messages import RecommendationRequest
from llmcf.service.remembered import Remembered
from llmcf.service.rules import Arranged
from llmcf.serving.question import Ranking


class Reader:
    """A feature store that is down."""

    def user(self, _: int) -> dict[str, Any]:
        raise Unavailable("Redis does not answer")


@dataclass(frozen=True)
class Recommender:
    """Reads a user and ranks one item."""

    features: Any

    def rank(self, _: Any, __: Any) -> Ranking:
        self.features.user(5)
        return Ranking(person=None, item_C=np.array([2]), score_C=None)


def test_a_store_that_fails_the_shadow_is_left_alone_by_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "question_of", lambda *_: (None, None))
    monkeypatch.setattr(asking, "arrange", lambda *_: Arranged([0], [""]))
    breaker = Breaker("store", failures=1)
    features = Remembered(cast(Any, Reader()), breaker)
    loaded = cast(Any, SimpleNamespace(recommender=Recommender(features), features=features))
    engine = cast(Any, SimpleNamespace(client=lambda _: None, drop_client=lambda _: None))
    for _ in range(3):
        with pytest.raises(Unavailable, match="Redis"):
            shadow._answer(engine, loaded, RecommendationRequest(user="c0"))
    assert not breaker.open
    assert features.user(5) is None
    assert breaker.open, "a user's own request is what counts"
