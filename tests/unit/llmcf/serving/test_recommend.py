"""What `llmcf recommend` refuses before it asks a server."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from core.errors import UsageError
from llmcf.serving import recommend
from llmcf.serving.question import CANDIDATES
from llmcf.serving.recommender import Recommender


@pytest.mark.parametrize(
    ("k", "users", "words"),
    [
        (0, ["c0"], f"k 0 is not between 1 and {CANDIDATES}"),
        (CANDIDATES + 1, ["c0"], f"k {CANDIDATES + 1} is not between 1 and {CANDIDATES}"),
        (3, [], "no user is named; give --user"),
        (6, ["c0"], "k 6 is above the 5 items that release 2 can recommend"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    monkeypatch: pytest.MonkeyPatch, k: int, users: list[str], words: str
) -> None:
    search = SimpleNamespace(items=SimpleNamespace(exact=SimpleNamespace(ids_N=np.arange(5))))
    monkeypatch.setattr(Recommender, "load", lambda _: SimpleNamespace(search=search))
    with pytest.raises(UsageError, match=words):
        recommend.recommend(cast(Any, SimpleNamespace(number=2)), users=users, k=k)
