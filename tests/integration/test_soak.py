"""The soak in short: each part of a running service is killed once under load, and no answer is wrong for it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import soak, soak_page
from core import environments
from core.data import features
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llmcf.feature_store import jobs
from llmcf.service.ways import FULL, LAST_KNOWN, POPULAR
from llmcf.serving import releases
from tests.online_release import make_release

pytestmark = pytest.mark.integration
PLAN = soak.Plan(seconds=40, clients=2, users=12, k=5, timeout_ms=2000, first=2, every=8, rest=12, sample=0.5, back=1.5)


@pytest.fixture
def store(own: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[soak.Store]:
    """The workspace's features in a Redis that keeps them, and a release of it."""
    try:
        environments.redis_server()
    except LlmcfError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("LLMCF_RUNS", str(tmp_path / "runs"))
    (tmp_path / "redis").mkdir()
    made = soak.Store(tmp_path / "redis")
    try:
        monkeypatch.setenv("LLMCF_REDIS", made.server.connection)
        features.build(own)
        jobs.apply(own)
        jobs.materialize(own)
        make_release(own, 0)
        yield made
    finally:
        made.close()


def test_every_part_is_killed_once_and_no_answer_is_wrong(own: Workspace, store: soak.Store, tmp_path: Path) -> None:
    account = soak.soak(own, store, PLAN, tmp_path)
    found = soak_page.figures(account)
    assert [one.part for one in account.kills] == list(soak.PARTS)
    assert account.faults == []
    assert set(found.statuses) <= {"0", "200"}, found.statuses
    assert found.statuses.get("0", 0) <= PLAN.clients, "only the connections of the killed worker end"
    assert found.most_ms < 2 * PLAN.timeout_ms
    assert {FULL, LAST_KNOWN, POPULAR} == set(found.rungs)
    after = {part: rungs for part, _, _, rungs, _ in found.after}
    assert POPULAR in after["model process"]
    assert POPULAR in after["triton"]
    assert LAST_KNOWN in after["redis"]
    last = [one for one in account.outcome.asked if one.at > account.start + PLAN.seconds - 2 and one.status == 200]
    assert last
    assert {account.outcome.answers[one.answer].rung for one in last} == {FULL}, "all parts are back"
    assert {name.rsplit(" ", 1)[0] for name in account.samples[0].mib} == {
        *("supervisor", "worker", "intake", "triton", "model process", "redis")
    }
    text = soak_page.page(account, found, releases.require(own.dataset), "soak")
    assert re.search(r"wrong answers +\| 0 of", text)
    soak_page.plot(account, tmp_path / "soak.svg")
    assert "model process" in (tmp_path / "soak.svg").read_text(encoding="utf-8")
    wrong = [
        soak.load.Answer(one.user, one.release, one.rung, one.items[::-1], one.scores)
        for one in account.outcome.answers[:3]
    ]
    assert len(soak.faults(own.dataset, wrong, PLAN.k)) == 3, "a wrong answer is found"


def test_too_short_a_time_is_refused(own: Workspace, store: soak.Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too short"):
        soak.soak(own, store, soak.Plan(seconds=60), tmp_path)
