"""When a figure is an alert, by hand."""

import math

import pytest

from core.settings import Workspace
from llmcf.monitoring import judging
from llmcf.monitoring.figures import Figure, Part
from llmcf.monitoring.limits import KINDS, Limits, Rule, Settings

WS = Workspace("shop", "global-time", "2026-01-31")


@pytest.mark.parametrize(
    ("how", "value", "before", "chance", "gap"),
    [
        ("above", 0.21, None, 0.0, 0.21),
        ("above", 0.2, None, 0.0, None),  # at the limit
        ("above", 0.21, None, 0.3, None),  # chance explains it
        ("above", math.nan, None, 0.0, None),
        ("rise", 0.5, 0.25, 0.0, 0.25),
        ("rise", 0.25, 0.5, 0.0, None),
        ("rise", 0.5, None, 0.0, None),  # nothing to hold it against
        ("rise", 0.5, 0.25, 0.26, None),
        ("fall", 0.25, 0.5, 0.0, 0.25),
        ("fall", 0.5, 0.25, 0.0, None),
        ("relative_fall", 0.5, 0.8, 0.0, 0.375),
        ("relative_fall", 0.5, 0.0, 0.0, None),
        ("relative_change", 1.5, 1.0, 0.0, 0.5),
        ("relative_change", 0.5, 1.0, 0.0, 0.5),
        ("relative_change", 1.1, 1.0, 0.0, None),
    ],
)
def test_rules(how: str, value: float, before: float | None, chance: float, gap: float | None):
    figure = Figure(name="x", value=value, before=before, chance=chance)
    found = judging.exceeded(figure, Rule(figure="x", how=how, limit="psi"), Limits(psi=0.2))
    assert (found and found.gap) == (gap if gap is None else pytest.approx(gap))


def test_every_rule_is_one_of_these():
    assert {rule.how for rules in KINDS.values() for rule in rules} == {
        "above", "rise", "fall", "relative_fall", "relative_change",
    }  # fmt: skip


def test_one_alert_a_kind_names_the_worst_first():
    part = Part(name="features")
    for place, value in enumerate((0.3, 0.9, 0.1, 0.5, 0.4)):
        part.add("psi", value, of=f"f{place}")
    part.add("ece", 0.06, before=0.01)
    part.add("auc", 0.7, before=0.8)
    alerts = judging.alerts(WS, Workspace("shop", "global-time", "2026-01-01"), judging.judge([part], Settings()))
    by_kind = {alert.kind: alert for alert in alerts}
    assert set(by_kind) == {"feature-drift", "calibration", "ranking-quality"}
    assert by_kind["feature-drift"].text == (
        "global-time 2026-01-31 against 2026-01-01: psi of f1 0.9 (limit 0.2); psi of f3 0.5 (limit 0.2); "
        "psi of f4 0.4 (limit 0.2) and 1 more"
    )
    assert by_kind["ranking-quality"].text.endswith("auc 0.7, was 0.8 (limit 0.02)")
    assert len({alert.id for alert in alerts}) == 3
    assert [one["of"] for one in by_kind["feature-drift"].figures["exceeded"]] == ["f1", "f3", "f4", "f0"]


def test_the_same_alert_of_another_day_is_another():
    part = Part(name="x")
    part.add("ece", 0.5)
    found = judging.judge([part], Settings())
    other = Workspace("shop", "global-time", "2026-02-01")
    assert judging.alerts(WS, None, found)[0].id != judging.alerts(other, None, found)[0].id
    assert judging.alerts(WS, None, found)[0].id == judging.alerts(WS, other, found)[0].id
