"""From a report to the raw data, and from a line of results, a run or a release to the reports that show it."""

import json
from pathlib import Path
from typing import Any

import pytest

from core import measurements, settings, steps, storage
from core.settings import Workspace
from llmcf.backfill.cells import data_of
from llmcf.compare import comparison
from llmcf.daily import partitions
from llmcf.daily.choosing import number_of
from llmcf.daily.figures import NAMES
from llmcf.daily.partitions import Made
from llmcf.gates import page as check_page
from llmcf.lineage.show import show
from llmcf.monitoring import places
from llmcf.overview import overview
from llmcf.reports import data as data_report
from llmcf.reports import made_of, ranking
from llmcf.serving.manifest import Release
from llmcf.serving.thresholds import Thresholds
from llmcf.serving.verdicts import Verdict
from tests import trained_runs

HOME = "movielens-100k/shuffled-ties/latest"
RANKER = f"{HOME}/ranking/deepfm-none-strict-s2023"
LINE = "results/ranking/movielens-100k.jsonl:1"
REPORT, WHOLE = "report:ranking-movielens-100k-shuffled-ties", "report:report-movielens-100k-shuffled-ties-latest"
METRICS = "metrics:movielens-100k/shuffled-ties/1998-04-01/1"


def measured(ws: Workspace, ranker: Path, seed: int = 2023) -> None:
    stamp = storage.read_json(ranker / steps.STAMP)
    line = {
        "order": ws.order, "as_of": ws.as_of, "config": {**stamp["config"], "seed": seed}, "code": stamp["key"][:12],
        "data": data_of(ws), "metrics": stamp["summary"]["metrics"], "coverage": {}, "seconds": 1.0, "best_epoch": 1,
        "machine": "a box, 2026-01-31 06:34 UTC", "command": "llmcf backfill ranking",
    }  # fmt: skip
    measurements.append(measurements.file("ranking", ws.dataset), line, same=("config",))


@pytest.fixture
def made(ws: Workspace) -> Release:
    """A ranker with its line of results, a release, and a day that it has measured."""
    ranker, tower = trained_runs.rank(ws), trained_runs.retrieve(ws)
    release = trained_runs.release(ws, ranker, tower)
    measured(ws, ranker)
    day = number_of("1998-04-01")
    numbers = {"dimension": "all", "segment": "all", "value": 0.6, "low": 0.5, "high": 0.7}
    numbers |= {"rows": 8, "requests": 4, "users": 3}
    of = Made(release=1, until=day - 1, key="k", rows="r", source=release.source)
    lines = [{"metric": name, **numbers} for name in NAMES]
    partitions.write(partitions.folder(ws.dataset, ws.order, day), lines, of)
    return release


def walked(asked: str, **options: Any) -> dict[str, dict[str, Any]]:
    """The nodes by id."""
    return {node["id"]: node for node in show(asked, **options).details["nodes"]}


def states(nodes: dict[str, dict[str, Any]]) -> set[str]:
    return {node["state"] for node in nodes.values()}


def test_a_report_goes_back_to_the_raw_files(ws: Workspace, made: Release) -> None:
    page = ranking.report(ws).artifacts["page"]
    for asked in (REPORT, "ranking-movielens-100k-shuffled-ties", page):
        found = walked(asked)
        assert {REPORT, LINE, RANKER, f"{HOME}/training", f"{HOME}/data", "raw/u.data"} <= set(found)
        assert states(found) == {"current"}
    assert found[REPORT]["verb"] == "llmcf report ranking --dataset movielens-100k --order shuffled-ties"
    assert (found[REPORT]["kind"], found[REPORT]["made"][-1]) == ("report", "Z")
    text = show(REPORT).details["text"]
    assert f"{LINE}  line of results" in text
    assert f"{HOME}/data  tables" in text


def test_the_page_of_everything_goes_back_through_days_and_releases(ws: Workspace, made: Release) -> None:
    overview.report(ws)
    found = walked(WHOLE)
    assert {LINE, METRICS, "release:movielens-100k/1", RANKER, "raw/u.data"} <= set(found)
    assert states(found) == {"current"}
    (link,) = found[METRICS]["inputs"]
    assert (link["recorded"], link["changed"]) == (made.source, False)
    assert found[METRICS]["verb"].startswith("llmcf backfill metrics --from 1998-04-01 --to 1998-04-01 --dataset")


def test_what_is_measured_leads_to_its_reports(ws: Workspace, made: Release) -> None:
    ranking.report(ws)
    overview.report(ws)
    comparison.compare(RANKER, trained_runs.rank(ws, seed=7).name, draws=4)
    line = walked("movielens-100k.jsonl:1", up=False)
    assert set(line) == {LINE, REPORT, WHOLE}
    below = walked("deepfm-none-strict-s2023", up=False)
    compared = [name for name in below if name.startswith("report:compare-")]
    assert {LINE, REPORT, WHOLE, METRICS, "release:movielens-100k/1"} < set(below) and len(compared) == 1
    assert "--draws 4" in below[compared[0]]["verb"]
    assert WHOLE in walked("release:1", up=False)
    text = show("data", up=False).details["text"]
    assert REPORT in text and f"{LINE}  line of results" in text


def test_a_line_that_has_changed_or_gone_leaves_its_report_stale(ws: Workspace, made: Release) -> None:
    ranking.report(ws)
    file = measurements.file("ranking", ws.dataset)
    line = measurements.read(file)[0]
    file.write_text(json.dumps(line | {"seconds": 2.0}) + "\n", encoding="utf-8")
    report = walked(REPORT)[REPORT]
    assert report["state"] == "stale"
    assert f"{LINE} was {storage.digest(line)[:12]} and is" in report["why"][0]
    file.unlink()
    gone = walked(REPORT)
    assert (gone[LINE]["state"], gone[LINE]["kind"], gone[REPORT]["state"]) == ("missing", "line of results", "unknown")


def test_a_page_that_was_changed_is_not_whole(ws: Workspace, made: Release) -> None:
    page = Path(ranking.report(ws).artifacts["page"])
    page.write_text("other", encoding="utf-8")
    report = walked(REPORT)[REPORT]
    assert (report["state"], report["note"]) == ("missing", "report.html: not as it was written")
    page.with_name(made_of.FILE).write_text("{torn", encoding="utf-8")
    assert walked(REPORT)[REPORT]["state"] == "unknown"


def test_checks_dashboards_and_reports_of_data_are_reports(ws: Workspace, made: Release) -> None:
    data_report.report(ws)
    gates = Verdict(
        release=1, manifest="m", against=None, compared="", thresholds="t", checked="2026-01-31", rows={}, gates=()
    )  # fmt: skip
    check_page.write(made, gates, Thresholds())
    page = places.page(ws)
    page.parent.mkdir(parents=True)
    page.write_text("a dashboard", encoding="utf-8")
    inputs = made_of.paths(ws.path("features"), places.reference(ws))
    made_of.write(places.made_of(ws), verb="llmcf monitor", ws=ws, inputs=inputs, outputs=[page])
    copy = places.made_of(ws).name.replace("latest", "latest (copy)")
    places.made_of(ws).with_name(copy).write_text("{}", encoding="utf-8")
    reports = {
        "report:data-movielens-100k-shuffled-ties-latest",
        "report:check/movielens-100k/1",
        "report:monitor/movielens-100k/shuffled-ties/latest",
    }
    below = walked(str(ws.path("data")), up=False)
    assert reports < set(below)
    assert states(below) == {"current"}
    assert "release:movielens-100k/1" in walked("report:check/movielens-100k/1")
    assert next(iter(walked(str(page)))) == "report:monitor/movielens-100k/shuffled-ties/latest"


def test_many_lines_are_one_branch_with_what_is_behind_them(ws: Workspace, made: Release) -> None:
    for seed in range(3):
        measured(ws, ws.path("ranking", "deepfm-none-strict-s2023"), seed)
    ranking.report(ws)
    text = show(REPORT).details["text"]
    assert f"{LINE} and 3 more lines  lines of results" in text
    assert "3 more that are not here" in text
    assert text.count(f"{HOME}/training  training rows") == 1


def test_figures_of_a_day_that_cannot_be_read_or_do_not_say_are_told(ws: Workspace, made: Release) -> None:
    place = partitions.folder(ws.dataset, ws.order, number_of("1998-04-01"))
    (place / "release=2.parquet").write_text("torn", encoding="utf-8")
    torn = walked("metrics:movielens-100k/shuffled-ties/1998-04-01/2")
    assert [one["state"] for one in torn.values()] == ["unknown"]
    assert settings.home() in place.parents
