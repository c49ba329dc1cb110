"""What the matrix of tuning methods reports: intervals, paired differences, the page, and one line a measurement."""

import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from core import measurements
from core.errors import LlmcfError
from core.settings import Workspace
from llm.recgen.recipes import Size, TuningConfig
from llmcf.backfill import recgen
from llmcf.reports import recgen as page
from tests.evaluations import evaluation

WS = Workspace("amazon-beauty", "published")


def line(method: str, skill: float, ws: Workspace = WS) -> dict:
    return recgen._line(ws, TuningConfig(method=method, seed=1), Size(), evaluation(skill), evaluation(0), 1.0)


def test_the_page_marks_what_is_sure_and_draws_every_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("LLMCF_RUNS", str(tmp_path / "runs"))
    with pytest.raises(LlmcfError, match="llmcf backfill recgen --dataset amazon-beauty"):
        page.report(WS)
    for method, skill in (("recgen", 4.0), ("base", 0.0), ("full", 4.5)):
        measurements.append(recgen.results_file(WS), line(method, skill), same=recgen._SAME)
    written = Path(page.report(WS).artifacts["report"])
    text = re.sub(" +", " ", written.read_text())
    rows = [row.split(" | ")[0] for row in text.splitlines() if row.startswith("| ")]
    assert rows == ["| method", "| base", "| full", "| recgen"] * 2
    assert "| recgen | +0." in text
    assert "* [+0." in text
    assert (written.parent / "figure4.svg").stat().st_size > 10_000


def test_the_same_measurement_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    for method in ("base", "full", "base"):
        measurements.append(path, line(method, 0.5), same=recgen._SAME)
    assert [row["method"] for row in measurements.read(path)] == ["base", "full"]


def of_before(one: dict) -> dict:
    """As lines were that did not say their day: it was `latest`."""
    return {key: value for key, value in one.items() if key != "as_of"}


def test_days_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("LLMCF_RUNS", str(tmp_path / "runs"))
    path, dated = recgen.results_file(WS), replace(WS, as_of="2026-01-31")
    before = of_before(line("base", 0.5))
    measurements.append(path, before, same=["method"])
    for one in (line("base", 0.5), line("full", 0.5), line("base", 0.5, dated)):
        measurements.append(path, one, same=recgen._SAME, earlier=recgen.EARLIER)
    lines = measurements.read(path)
    assert [(one["method"], one.get("as_of")) for one in lines] == [
        ("base", None),
        ("full", "latest"),
        ("base", "2026-01-31"),
    ]
    assert "--order published --as-of 2026-01-31 " in lines[-1]["command"]
    assert [one["method"] for one in page.newest(lines[:2])] == ["base", "full"]
    assert [one["method"] for one in page.newest(lines)] == ["base"]
    assert list(page.report(WS).details) == ["base", "full"]
    assert list(page.report(dated).details) == ["base"]
    with pytest.raises(LlmcfError, match=r"nothing as of 2026-02-01; run `llmcf backfill recgen .* --as-of 2026-02-01"):
        page.report(replace(WS, as_of="2026-02-01"))


def test_only_methods_of_one_size_are_compared() -> None:
    small, large = line("full", 1), line("base", 0)
    large["size"] = asdict(Size(pairs=999))
    again = line("base", 0)
    assert [one["method"] for one in page.newest([large, small, again])] == ["base", "full"]
    assert [one["size"]["pairs"] for one in page.newest([large, small, again])] == [200, 200]
