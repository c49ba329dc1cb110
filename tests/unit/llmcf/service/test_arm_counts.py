"""What counters say by arm."""

import json

from llmcf.service import arm_counts
from llmcf.service.arm_counts import Figures, ShadowRow


def key(name: str, **labels: str) -> str:
    return json.dumps([f"llmcf_service_{name}", labels])


def who(experiment: str, arm: str, release: int) -> dict[str, str]:
    return {"experiment": experiment, "arm": arm, "release": str(release)}


COUNTERS = {
    key("answers_total", route="/x", status="200"): 99.0,
    key("arm_answers_total", **who("x", "new", 2), rung="full"): 8.0,
    key("arm_answers_total", **who("x", "new", 2), rung="last known features"): 1.0,
    key("arm_answers_total", **who("x", "new", 1), rung="live release"): 2.0,
    key("arm_answers_total", **who("x", "live", 1), rung="full"): 20.0,
    key("arm_impressions_total", **who("x", "new", 2)): 90.0,
    key("arm_clicks_total", **who("x", "new", 2)): 9.0,
    key("arm_failures_total", **who("x", "new", 2)): 2.0,
    key("arm_seconds_count", **who("x", "new", 2)): 8.0,
    key("arm_seconds_sum", **who("x", "new", 2)): 0.4,
    key("arm_seconds_bucket", **who("x", "new", 2), le="0.05"): 6.0,
    key("arm_seconds_bucket", **who("x", "new", 2), le="+Inf"): 8.0,
    key("arm_seconds_count", **who("x", "live", 1)): 20.0,
    key("arm_seconds_count", **who("x", "new", 1)): 2.0,
    key("arm_seconds_count", **who("", "live", 1)): 5.0,
    key("shadow_total", release="3", outcome="compared"): 4.0,
    key("shadow_total", release="3", outcome="dropped"): 1.0,
    key("shadow_overlap_sum", release="3"): 3.0,
    key("shadow_overlap_count", release="3"): 4.0,
    key("shadow_seconds_sum", release="3", who="shadow"): 0.2,
    key("shadow_seconds_count", release="3", who="shadow"): 4.0,
    key("shadow_seconds_sum", release="3", who="answer"): 0.1,
    key("shadow_seconds_count", release="3", who="answer"): 4.0,
}


def test_figures_of_a_release_and_of_an_arm() -> None:
    inf = float("inf")
    assert arm_counts.figures(COUNTERS, 2) == Figures(8, 2, 0.4, {0.05: 6, inf: 8})
    assert arm_counts.figures(COUNTERS, 1).ranked == 27
    assert arm_counts.figures(COUNTERS, 1, arm="new").ranked == 2
    assert arm_counts.figures(COUNTERS, 1, arm="live", experiment="").ranked == 5
    assert arm_counts.figures(COUNTERS, 7) == Figures()
    assert Figures(3, 1, 2.0, {1.0: 2}) - Figures(1, 1, 0.5, {1.0: 1}) == Figures(2, 0, 1.5, {1.0: 1})


def test_the_table_has_a_row_for_each_arm_and_release() -> None:
    rows = {(one.experiment, one.arm, one.release): one for one in arm_counts.arms(COUNTERS)}
    assert set(rows) == {("x", "new", 2), ("x", "new", 1), ("x", "live", 1)}
    new = rows["x", "new", 2]
    assert (new.answers, new.shown, new.clicks, new.figures.failed) == (9, 90, 9, 2)
    assert rows["x", "live", 1].figures.ranked == 20


def test_a_shadow_is_told_by_means() -> None:
    assert arm_counts.shadows(COUNTERS) == [ShadowRow(3, {"compared": 4, "dropped": 1}, 0.75, None, 50.0, 25.0)]
