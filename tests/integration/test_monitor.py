"""`llmcf monitor` on a small MovieLens of two days: prepared, joined and materialized by Feast, by the command line."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from core import storage
from core.contracts import DAY
from core.data import features, tables
from core.settings import Workspace
from llmcf.feature_store import jobs, registry
from llmcf.monitoring import history, limits, online, places
from tests.official_files import START, prepared

pytestmark = pytest.mark.integration
FIRST = str(np.datetime64(START, "s").astype("datetime64[D]") + 60)


@pytest.fixture(scope="module")
def days(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, Workspace]]:
    """The day after sixty, and all there is; the second is online."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("LLMCF_TRITON_MODELS", str(tmp_path_factory.mktemp("models")))
        patch.setenv("LLMCF_RUNS", str(tmp_path_factory.mktemp("runs")))
        earlier, latest = (Workspace("movielens-100k", "shuffled-ties", as_of) for as_of in (FIRST, "latest"))
        for ws in (earlier, latest):
            prepared(ws, source)
        limits.path(latest.dataset).write_text("[limits]\nleast_rows = 20\n")
        jobs.apply(latest)
        jobs.materialize(latest)
        yield earlier, latest


def llmcf(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "llmcf", *words], capture_output=True, text=True, check=False)


def test_a_day_by_the_command_line(days: tuple[Workspace, Workspace], tmp_path: Path) -> None:
    earlier, latest = days
    textfile = tmp_path / "shop.prom"
    ran = llmcf("monitor", "--as-of", "latest", "--textfile", str(textfile), "--json")
    assert ran.returncode == 0, ran.stderr
    details = json.loads(ran.stdout)["details"]
    assert details["reference"] == earlier.as_of
    figures = {(one["name"], one.get("of", "")): one for one in details["figures"]}
    taken = [tables.interactions(ws).num_rows for ws in days]
    assert taken[0] < taken[1]
    assert figures["psi", "user_history.activity"]["value"] > 0
    assert figures["online_hours", ""]["value"] == 0
    assert figures["materialized_hours", "item_popularity"]["value"] >= 0
    page = places.page(latest).read_text()
    assert page.count("<svg") >= 3
    assert "feast_feature_freshness_seconds" in textfile.read_text()
    assert [line["as_of"] for line in history.read(latest)] == ["latest"]

    kinds = [one["kind"] for one in details["alerts"]]
    assert "feature-drift" in kinds, "the popularity of sixty days is not that of all"
    failing = llmcf("monitor", "--fail-on-alert")
    assert failing.returncode == 3
    assert "docs/runbook.md" in failing.stderr
    assert "ALERT" not in failing.stderr, "they were sent before"
    same = llmcf("monitor", "--reference", "latest", "--fail-on-alert")
    assert same.returncode == 0, same.stderr

    wrong = llmcf("monitor", "--reference", "2001-01-01")
    assert wrong.returncode == 2
    assert f"there are: {earlier.as_of}, latest" in wrong.stderr


def test_what_is_online_ages(days: tuple[Workspace, Workspace]) -> None:
    _, latest = days
    until = registry.materialized(latest)[registry.UNTIL]
    found = online.look(latest, until + 2 * 3600)
    assert isinstance(found, online.Store)
    assert found.now - found.until == 2 * 3600
    assert set(found.materialized) == set(features.SCHEMAS)
    assert all(abs(end - until) < 1 for end in found.materialized.values())
    later = online.look(latest, until + 31 * DAY)
    assert isinstance(later, online.Store)
    assert later.expired["item_popularity"] == 1.0 > found.expired["item_popularity"], "30 days by the view's tag"
    states = storage.parquet(latest.path("features", "item_popularity.parquet"), ["item", "event_timestamp"])
    newest = states.group_by("item").aggregate([("event_timestamp", "max")])["event_timestamp_max"]
    seconds = np.array([one.timestamp() for one in newest.to_pylist()])
    assert found.expired["item_popularity"] == pytest.approx((seconds + 30 * DAY < until + 2 * 3600).mean())
    part = online.compare(latest, None, now=until + 3 * 3600)
    assert next(one.value for one in part.figures if one.name == "online_hours") == pytest.approx(3)


def test_a_store_that_was_never_filled_is_said(days: tuple[Workspace, Workspace]) -> None:
    earlier, _ = days
    part = online.compare(earlier, None)
    assert part.figures == []
    assert "the online store is empty; run `llmcf features materialize" in part.missing[0]


def test_nothing_heavy_is_imported(days: tuple[Workspace, Workspace]) -> None:
    """No torch: monitoring runs beside what serves."""
    code = (
        "import sys\nfrom core.settings import Workspace\nfrom llmcf.monitoring.run import monitor\n"
        "monitor(Workspace('movielens-100k', 'shuffled-ties'))\nassert 'torch' not in sys.modules\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
