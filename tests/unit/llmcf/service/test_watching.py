"""When a release is taken back, and when it is not."""

import json

import pytest

from llmcf.service import watching
from llmcf.service.arm_counts import Figures
from llmcf.service.watching import Watcher
from llmcf.serving.arms import LIVE, Arm, Arms, Watch

RULES = Watch(seconds=60, least=50)
BOUNDS = (0.02, 0.05, 0.1, 0.2)


def figures(ranked: int, failed: int = 0, *, seconds: float = 0.01) -> Figures:
    """All as slow as that."""
    return Figures(ranked, failed, ranked * seconds, {one: ranked if seconds <= one else 0 for one in BOUNDS})


def counters(*rows: tuple[str, int, int, int, float]) -> dict[str, float]:
    """Of (arm, release, ranked, failed, seconds of each)."""
    found: dict[str, float] = {}
    for arm, release, ranked, failed, seconds in rows:
        who = {"experiment": "x", "arm": arm, "release": str(release)}
        found[json.dumps(["llmcf_service_arm_failures_total", who])] = failed
        found[json.dumps(["llmcf_service_arm_seconds_count", who])] = ranked
        for one in BOUNDS:
            key = ["llmcf_service_arm_seconds_bucket", {**who, "le": str(one)}]
            found[json.dumps(key)] = ranked if seconds <= one else 0
    return found


@pytest.mark.parametrize(
    ("tried", "control", "earlier", "why"),
    [
        (figures(40, 9), figures(0), figures(1000), None),  # too few
        (figures(940, 60), figures(0), figures(1000), "60 of 1000 requests failed, and 0.0% of the control's"),
        (figures(97, 3), figures(0), figures(1000), None),  # could be chance
        (figures(0, 60), figures(0, 60), figures(1000), None),  # all of Triton is dead
        (figures(940, 60), figures(950, 50), figures(0), None),  # as the control
        (figures(100), figures(0), figures(1000), None),
        (figures(100, seconds=0.08), figures(0), figures(1000), "100 of 100 answers took longer than 50 ms"),
        (figures(100, seconds=0.04), figures(0), figures(1000), None),  # slower, but not by much
        (figures(100, seconds=0.08), figures(0), figures(20), None),  # nothing to hold it against
        (figures(30, seconds=0.08), figures(0), figures(1000), None),  # too few
        (figures(97) + figures(3, seconds=0.08), figures(200), figures(0), None),
        (figures(60) + figures(40, seconds=0.08), figures(200), figures(0), "40 of 100 answers"),
        (figures(100, seconds=0.5), figures(200, seconds=0.5), figures(0), None),  # beyond all bounds
    ],
)
def test_a_verdict_needs_enough_and_more_than_chance(
    tried: Figures, control: Figures, earlier: Figures, why: str | None
) -> None:
    found = watching.verdict(RULES, tried, control, earlier)
    assert (found is None) if why is None else (found is not None and found.startswith(why))


def test_a_promoted_release_is_held_against_what_the_one_before_did(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(watching.time, "monotonic", lambda: now[0])
    watcher = Watcher()
    start = counters((LIVE, 1, 500, 0, 0.01))
    watcher.promoted(2, 1, RULES, counters((LIVE, 1, 100, 0, 0.01)), start)
    assert watcher.watched[0].earlier.ranked == 400
    assert watcher.look(counters((LIVE, 1, 500, 0, 0.01), (LIVE, 2, 20, 0, 0.01))) == []
    (bad,) = watcher.look(counters((LIVE, 1, 590, 0, 0.01), (LIVE, 2, 20, 90, 0.01)))
    assert not bad.good
    assert bad.why == "90 of 110 requests failed, and 0.0% of the control's; the control is release 1"
    assert watcher.watched == []
    watcher.promoted(3, 1, RULES, None, start)
    now[0] = 61
    (good,) = watcher.look(counters((LIVE, 1, 500, 0, 0.01), (LIVE, 3, 70, 1, 0.01)))
    assert (good.good, good.why) == (True, "1 of 71 requests failed in 60 s")


def test_an_arm_is_watched_as_long_as_it_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(watching.time, "monotonic", lambda: now[0])
    on = Arms(experiment="x", arms={"new": Arm(release=2, percent=50)}, watch=RULES)
    watcher = Watcher()
    watcher.arms(on, 1, {})
    first = counters((LIVE, 1, 10_000, 0, 0.01), ("new", 2, 10_000, 0, 0.01))
    assert watcher.look(first) == []
    now[0] = 61
    assert watcher.look(first) == []  # from here on anew: what was good long ago is no excuse
    watcher.arms(on, 1, {})  # told again, it goes on
    (bad,) = watcher.look(counters((LIVE, 1, 10_100, 0, 0.01), ("new", 2, 10_040, 60, 0.01), ("new", 1, 60, 0, 0.01)))
    assert (bad.watched.arm, bad.good) == ("new", False)
    assert bad.why.startswith("60 of 100 requests failed")
    assert watcher.watched == []


def test_an_arm_of_the_live_release_has_no_control() -> None:
    watcher = Watcher()
    watcher.arms(Arms(experiment="x", arms={"same": Arm(release=1, percent=50)}), 1, {})
    assert watcher.watched == []


def test_nothing_is_watched_for_no_time() -> None:
    watcher = Watcher()
    watcher.promoted(2, 1, Watch(seconds=0), None, {})
    assert watcher.watched == []
