"""The text for Prometheus is what its own parser reads."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.errors import UsageError
from core.settings import Workspace
from llmcf.monitoring import prometheus
from llmcf.monitoring.figures import Part
from llmcf.monitoring.limits import KINDS, Settings

WS = Workspace("shop", "global-time", "2026-01-31")


def parts() -> list[Part]:
    features, online = Part(name="features"), Part(name="online", missing=["one", "two"])
    features.add("psi", 0.3, of='a "view".x')
    features.add("psi", float("nan"), of="b")
    online.add("materialized_hours", 2, of="user_history")
    online.drawn["project"] = "shop_1"
    return [features, online]


def samples(path: Path) -> dict[str, dict[tuple[str, ...], float]]:
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(path.read_text()):
        for one in family.samples:
            labels = tuple(value for name, value in one.labels.items() if name not in ("dataset", "order"))
            found.setdefault(one.name, {})[labels] = one.value
    return found


def test_figures_alerts_and_times(tmp_path: Path):
    path = tmp_path / "shop.prom"
    settings = Settings(off=frozenset(["coverage"]))
    prometheus.write(path, WS, parts(), {"feature-drift"}, settings, end=20_484, now=1_769_900_000.0)
    found = samples(path)
    assert found["llmcf_monitor_psi"] == {('a "view".x',): 0.3}, "what is not known has no sample"
    assert found["llmcf_monitor_unmeasured"] == {("features",): 0, ("online",): 2}
    assert found["feast_feature_freshness_seconds"] == {("user_history", "shop_1"): 7200}
    alerts = found["llmcf_monitor_alert"]
    assert alerts == {(kind,): float(kind == "feature-drift") for kind in KINDS if kind != "coverage"}
    assert found["llmcf_monitor_day_timestamp_seconds"] == {(): 20_484 * 86_400}
    assert found["llmcf_monitor_run_timestamp_seconds"] == {(): 1_769_900_000.0}
    assert [one.name for one in tmp_path.iterdir()] == ["shop.prom"]


def test_places_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"x\.prom cannot be written"):
        prometheus.write(tmp_path / "file" / "x.prom", WS, [], set(), Settings(), end=1, now=1.0)
    (tmp_path / "folder.prom").mkdir()
    with pytest.raises(UsageError, match=r"folder\.prom cannot be written: Is a directory"):
        prometheus.check(tmp_path / "folder.prom")
    with pytest.raises(UsageError, match=r"does not end in \.prom"):
        prometheus.write(tmp_path / "x.txt", WS, [], set(), Settings(), end=1, now=1.0)


def test_a_check_leaves_nothing_but_the_folder(tmp_path: Path):
    prometheus.check(tmp_path / "new" / "x.prom")
    assert [one.name for one in tmp_path.rglob("*")] == ["new"]
