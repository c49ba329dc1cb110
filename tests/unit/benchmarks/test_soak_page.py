"""What a soak amounts to."""

import pytest

from benchmarks import soak, soak_page
from benchmarks.load import Answer, Asked, Outcome
from benchmarks.soak import Account, Kill, Plan, Sample


def samples(*totals: tuple[float, float]) -> list[Sample]:
    return [Sample(at, {"worker 1": mib / 2, "triton 2": mib / 2}) for at, mib in totals]


def test_growth_leaves_out_what_follows_a_kill() -> None:
    steady = [(30.0 + 10 * n, 100.0 + n) for n in range(40)]
    spoiled = [(at, 9.0 if 200 <= at < 230 else mib) for at, mib in steady]
    found = soak_page.growth(samples(*spoiled), [200.0])
    assert found is not None
    assert found == pytest.approx(0.29, abs=0.02)
    assert soak_page.growth(samples(*steady[:8]), []) is None


def test_a_process_is_compared_with_itself_when_it_had_settled() -> None:
    told = [Sample(10.0 * n, {"worker 1": 50.0 + n, "intake 2": 80.0}) for n in range(12)]
    assert soak_page.most_grown(told) == ("worker 1", pytest.approx(61 / 53 - 1, abs=1e-3))
    assert soak_page.most_grown(told[:3]) is None


def test_every_part_is_killed_as_often_as_every_other() -> None:
    assert soak.due(Plan(seconds=60)) == []
    times = soak.due(Plan())
    assert times[:2] == [60.0, 180.0]
    assert len(times) == 12
    assert times[-1] + 30 <= 1800


def test_a_kill_is_told_with_what_came_after_it() -> None:
    answers = [Answer("a", 1, "full", ["x"], [0.5]), Answer("a", 1, "popular", ["y"], None)]
    asked = [Asked(1000 + at, 10.0, 200, answer) for at, answer in ((1.0, 0), (5.5, 1), (7.0, 1), (8.0, 0), (21.0, 0))]
    asked += [Asked(1020.5, 1300.0, 0, -1)]
    plan = Plan(seconds=30, timeout_ms=1000)
    account = Account(plan, 1000.0, [Kill(5.0, "triton"), Kill(20.0, "worker")], [], Outcome(asked, answers), ["wrong"])
    found = soak_page.figures(account)
    assert found.after == [("triton", 5.0, 2.0, {"popular": 2}, 0), ("worker", 20.0, 0.5, {}, 1)]
    assert (found.requests, found.late, found.wrong, found.statuses) == (6, 1, 1, {"0": 1, "200": 5})
    assert found.error_share == pytest.approx(1 / 6, abs=1e-4)
    assert found.growth is None
