"""Counters of several processes, written down and subtracted."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from llmcf.service import traffic
from llmcf.service.store import Store
from llmcf.service.traffic import Route

WORKER = """
from llmcf.service import breaker, middleware
middleware.ANSWERS.labels("/x", "200").inc({count})
middleware.SECONDS.labels("/x").observe(0.004)
broken = breaker.Breaker("a part", failures=1)
from core.errors import LlmcfError
try:
    with broken():
        raise LlmcfError("x")
except LlmcfError:
    pass
import os
print(os.getpid())
"""


def key(name: str, **labels: str) -> str:
    return json.dumps([name, labels])


def test_a_difference_by_route() -> None:
    before = {key(traffic.ANSWERS, route="/a", status="200"): 5.0}
    now = {
        key(traffic.ANSWERS, route="/a", status="200"): 25.0,
        key(traffic.ANSWERS, route="/a", status="404"): 3.0,
        key(traffic.ANSWERS, route="/a", status="503"): 2.0,
        key(traffic.ANSWERS, route="/b", status="200"): 1.0,
        key("llmcf_service_seconds_sum", route="/a"): 0.5,
        key("llmcf_service_seconds_count", route="/a"): 25.0,
        key("llmcf_service_seconds_bucket", route="/a", le="0.01"): 20.0,
        key("llmcf_service_seconds_bucket", route="/a", le="0.1"): 24.0,
        key("llmcf_service_seconds_bucket", route="/a", le="+Inf"): 25.0,
        key(traffic.ROWS, view="user_history", state="stale"): 4.0,
        key(traffic.OPEN, part="triton"): 2.0,
        key(traffic.OPEN, part="features"): 0.0,
    }
    found = traffic.between(before, now, 60.0)
    assert found.routes[0] == Route("/a", answers=25, refused=3, errors=2, mean_ms=20.0, tail_ms=100.0)
    assert [one.path for one in found.routes] == ["/a", "/b"]
    assert found.rows == {("user_history", "stale"): 4}
    assert found.open == {"triton": 2}


def test_what_nobody_asked_is_not_listed() -> None:
    same = {key(traffic.ANSWERS, route="/a", status="200"): 5.0, key(traffic.OPEN, part="triton"): 1.0}
    found = traffic.between(same, same, 10.0)
    assert found.routes == []
    assert found.open == {"triton": 1}


def test_counts_of_all_processes_are_added_and_a_dead_one_breaks_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    pids = []
    for count in (3, 4):
        ran = subprocess.run(
            [sys.executable, "-c", WORKER.format(count=count)],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
            capture_output=True,
            text=True,
            check=True,
        )
        pids.append(int(ran.stdout))
    found = traffic.between({}, traffic.counters(folder), 1.0)
    assert [(one.path, one.answers, one.tail_ms) for one in found.routes] == [("/x", 7, 5.0)]
    assert found.open == {"a part": 2}
    traffic.forget(pids[0], folder)
    found = traffic.between({}, traffic.counters(folder), 1.0)
    assert found.routes[0].answers == 7
    assert found.open == {"a part": 1}


def test_a_sampler_begins_anew_and_waits_between_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("llmcf.service.traffic.time.monotonic", lambda: now[0])
    monkeypatch.setattr("llmcf.service.traffic.counters", lambda folder: {"at": now[0]})
    store = Store(tmp_path / "service.db")
    store.sample({"of another service": 1.0})
    sampler = traffic.Sampler(tmp_path, tmp_path)
    for now[0] in (100.0, 101.0, 100.0 + traffic.EVERY_S):
        sampler.look()
    oldest = store.sampled(60.0)
    assert oldest is not None
    assert oldest[1] == {"at": 100.0}


@pytest.mark.parametrize("broken", ["disk", "counters"])
def test_a_sampler_outlives_what_it_cannot_do(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    sampler = traffic.Sampler(tmp_path, metrics)

    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    if broken == "disk":
        monkeypatch.setattr(Store, "sample", full)
    else:
        (metrics / "counter_7.db").write_bytes(b"spoiled" * 100)
    sampler.look()
    assert "could not be written down: " in capfd.readouterr().err
