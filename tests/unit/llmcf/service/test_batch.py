"""A batch on one worker: all of it is answered, in its order, and it leaves room for others."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import BackgroundTasks

from llmcf.service import answering
from llmcf.service.messages import BATCH, BatchAnswer, BatchRequest, RecommendationRequest, Recommendations, ServedBy
from llmcf.service.problems import Problem
from llmcf.service.routes import recommendations
from llmcf.service.service import Service


class Answering:
    """In place of `answering.recommend`: takes a moment, refuses user 7, and counts how many ask at once."""

    def __init__(self) -> None:
        self.now, self.most = 0, 0

    def __call__(self, _: Any, __: Any, asked: RecommendationRequest, identity: str) -> Recommendations:
        self.now += 1
        self.most = max(self.most, self.now)
        time.sleep(0.002)
        self.now -= 1
        if asked.user == "7":
            raise Problem(422, "unknown-item", "there is none")
        served = ServedBy(release=1, rung="full", milliseconds={})
        return Recommendations(id=identity, user=asked.user, items=[], served_by=served)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Answering:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    found = Answering()
    monkeypatch.setattr(answering, "recommend", found)
    return found


def ask(service: Service, count: int) -> BatchAnswer:
    """A batch of users 0, 1, ... of somebody whom the door has let in."""
    state = SimpleNamespace(request_id="r", deadline=time.monotonic() + 10)
    request = cast(Any, SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(service=service)), state=state))
    asked = BatchRequest(requests=[RecommendationRequest(user=str(number)) for number in range(count)])
    who = service.door.admit(None, "read")
    return asyncio.run(recommendations.recommend_batch(asked, request, BackgroundTasks(), who))


@pytest.mark.parametrize(("at_once", "most"), [(1, 1), (8, 4)])
def test_the_largest_batch_is_answered_by_a_worker_with_fewer_places(
    at_once: int, most: int, answers: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCF_REQUESTS_AT_ONCE", str(at_once))
    entries = ask(Service(*[cast(Any, None)] * 3), BATCH).entries
    assert [one.status for one in entries] == [422 if number == 7 else 200 for number in range(BATCH)]
    assert [one.answer and one.answer.user for one in entries[:9]] == [*"0123456", None, "8"]
    assert answers.most <= most, "the rest is for others"


def test_a_batch_counts_as_its_entries_for_the_key_s_rate(answers: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_REQUESTS_PER_SECOND", "10")  # and twice that at once
    service = Service(*[cast(Any, None)] * 3)
    assert len(ask(service, 40).entries) == 40
    with pytest.raises(Problem, match="too often"):
        service.door.admit(None, "read")
