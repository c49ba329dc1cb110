"""One page of all that is measured: each kind's tables and pictures, and what is not measured with its verb."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core import measurements, storage
from core.errors import Missing, UsageError
from core.segments import SEGMENTS
from core.settings import Workspace
from llm.recgen.recipes import Size, TuningConfig
from llmcf import api
from llmcf.backfill import recgen
from llmcf.cli import app
from llmcf.daily import partitions
from llmcf.daily.choosing import number_of
from llmcf.daily.figures import NAMES
from llmcf.daily.partitions import Made
from llmcf.monitoring import history
from llmcf.overview import overview
from llmcf.reports import made_of
from ranking.recipes import resolve as resolve_ranker
from retrieval_stage.recipes import resolve as resolve_tower
from tests import chromium
from tests.evaluations import evaluation

WS = Workspace("amazon-beauty", "published")
CONTENT = dict.fromkeys(
    ("mrr_item", "mrr_history", "copied_share", "score", "label_probe", "label_probe_facts"), 0.25
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "RUNS", "RESULTS"):
        monkeypatch.setenv(f"LLMCF_{name}", str(tmp_path / name.lower()))
    return tmp_path / "home"


def keep(task: str, line: dict[str, Any], order: str = WS.order) -> None:
    common = {"order": order, "as_of": "latest", "data": "d", "machine": "a box", "command": f"llmcf {task} {order}"}
    measurements.append(measurements.file(task, WS.dataset), common | line, same=["config", "order"])


def ranked(seed: int, auc: float, order: str = WS.order) -> None:
    config = resolve_ranker(Workspace(WS.dataset, order), model="din", framework="llm-cf", recipe="strict", seed=seed)
    figures = {"auc": auc, "logloss": 0.5, "gauc": auc, "ece": 0.01}
    metrics = {"test": figures, "test_on_sale": figures}
    told = {"config": asdict(config), "metrics": metrics, "coverage": {"texts": 1.0}, "seconds": 1.0, "best_epoch": 1}
    keep("ranking", told, order)


def retrieved() -> None:
    config = resolve_tower(model="sasrec", framework="none", recipe="strict", seed=1)
    figures = dict.fromkeys(("hit@5", "hit@10", "ndcg@5", "ndcg@10"), 0.05)
    told = {
        "config": asdict(config), "metrics": {"test": figures, "test_unmasked": figures}, "coverage": 0.5,
        "segments": {name: {"rows": 9, "masked": figures} for name in SEGMENTS}, "mean_popularity": 3.0,
        "seconds": 1.0,
    }  # fmt: skip
    keep("retrieval", told)


def tuned() -> None:
    for method, skill in (("base", 0.0), ("recgen", 4.0)):
        config = TuningConfig(method=method, seed=1)
        line = recgen._line(WS, config, Size(), evaluation(skill), evaluation(0), 1.0)
        measurements.append(recgen.results_file(WS), line, same=recgen._SAME)


def measured_day(day: str, release: int, auc: float, segment: str = "all") -> None:
    numbers = {"rows": 8, "requests": 4, "users": 3, "segment": segment, "low": auc - 0.1, "high": auc + 0.1}
    numbers["dimension"] = "all" if segment == "all" else "user"
    lines = [{"metric": name, "value": auc, **numbers} for name in NAMES]
    made = Made(release=release, until=number_of(day) - 1, key="k", rows="r", source="s")
    partitions.write(partitions.folder(WS.dataset, WS.order, number_of(day)), lines, made)


def monitored(as_of: str, alerts: list[str]) -> None:
    figures = [{"name": "psi", "of": "item.age", "value": 0.31, "chance": 0.02}, {"name": "auc", "value": None}]
    line = {"as_of": as_of, "reference": "2026-01-01", "alerts": alerts, "figures": figures, "missing": ["the texts"]}
    history.keep(WS, line | {"end": number_of(as_of)})


def all_of_it() -> None:
    for seed in (1, 2):
        ranked(seed, 0.8 + seed / 100)
    retrieved()
    tuned()
    keep(
        "cot",
        {
            "set": "facts",
            "model": "m",
            "prompt": "p",
            "style": "s",
            "recipe": "strict",
            "figures": CONTENT,
            "config": 1,
        },
    )
    for day, release, auc in (("2026-01-30", 1, 0.6), ("2026-01-31", 2, 0.8)):
        measured_day(day, release, auc)
    partitions.write_missing(partitions.folder(WS.dataset, WS.order, number_of("2026-01-29")), "no release")
    monitored("2026-01-30", [])
    monitored("2026-01-31", ["feature-drift"])


def pages(ws: Workspace = WS) -> tuple[str, str]:
    """Markdown without padding, and HTML."""
    made = overview.report(ws).artifacts
    return re.sub(" +", " ", Path(made["report"]).read_text()), Path(made["page"]).read_text()


def section(markdown: str, title: str) -> str:
    return markdown.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_one_page_has_all_kinds() -> None:
    all_of_it()
    text, html = pages()
    assert "| DIN | llm-cf | 2 | 0.8150 ± 0.0071 |" in section(text, "Ranking")
    assert "| `llmcf ranking published` | 2 | a box |" in section(text, "Ranking")
    assert "### Table 4, strict" in section(text, "Retrieval")
    assert "| recgen | +0." in section(text, "Tuning the language model")
    assert "| published | m | p | s | strict | facts | 0.250 |" in section(text, "Chains of thought")
    days = section(text, "Day by day")
    assert "| 2026-01-31 | 2 | 2026-01-30 | 4 | 3 | 0.8000 [0.7000, 0.9000] |" in days
    assert "| 2026-01-29 | no release |" in days
    assert "backfill metrics --from 2026-01-29 --to 2026-01-29 --rebuild" in days
    of_monitor = section(text, "Monitoring")
    assert "| 2026-01-31 | 2026-01-01 | feature-drift | 1 |" in of_monitor
    assert "| psi | item.age | 0.31 | | 0.02 | above 0.2 |" in of_monitor
    assert "As of 2026-01-31: the texts." in of_monitor
    assert html.count("<svg") >= 5
    assert not re.findall(r'(?:src|href)="(?!#)', html)


def test_what_is_not_measured_is_told_with_its_verb() -> None:
    ranked(1, 0.8)
    ranked(1, 0.7, order="global-time")
    retrieved()
    done = overview.report(Workspace(WS.dataset, "global-time"))
    text = Path(done.artifacts["report"]).read_text()
    place = "--dataset amazon-beauty --order global-time"
    assert f"`llmcf backfill retrieval {place}` is the next step. It is measured in published." in text
    for verb in ("backfill recgen", "cot generate", "data prepare", "monitor"):
        assert f"`llmcf {verb} {place}` is the next step." in text
    assert len(done.details["missing"]) == 5
    assert list(done.details["measured"]) == ["Ranking"]
    html = Path(done.artifacts["page"]).read_text()
    assert '<a href="#monitoring">Monitoring</a>: not measured' in html


def test_nothing_at_all_is_no_page() -> None:
    with pytest.raises(Missing, match="run `llmcf backfill ranking --dataset amazon-beauty --order published` first"):
        api.report(WS)


def test_a_day_is_of_the_release_that_knew_most_and_means_are_weighted() -> None:
    measured_day("2026-01-30", 1, 0.6)
    measured_day("2026-01-30", 2, 0.5, segment="new users")
    measured_day("2026-01-31", 2, 0.8)
    measured_day("2026-01-31", 2, 0.8)
    text, _ = pages()
    days = section(text, "Day by day")
    assert "| 2 | 2026-01-31 | 2026-01-31 | 1 | 0.8000 |" in days
    assert "| user | new users | 1 | 4 | 0.5000 |" in days


def test_a_page_as_of_a_day_knows_no_later_one() -> None:
    all_of_it()
    text, _ = pages(Workspace(WS.dataset, WS.order, "2026-01-31"))
    assert "| 2026-01-30 | 1 |" in section(text, "Day by day")
    assert "| 2026-01-31 | 2 |" not in text
    assert "feature-drift" in section(text, "Monitoring")
    before, _ = pages(Workspace(WS.dataset, WS.order, "2026-01-30"))
    assert "feature-drift" not in before


def test_the_manifest_names_lines_and_days(home: Path) -> None:
    all_of_it()
    folder = Path(overview.report(WS).artifacts["page"]).parent
    inputs = made_of.of(folder)
    lines = measurements.read(measurements.file("ranking", WS.dataset))
    assert inputs["results/ranking/amazon-beauty.jsonl:2"] == storage.digest(lines[1])
    assert {f"results/{task}/amazon-beauty.jsonl:1" for task in ("retrieval", "recgen", "cot")} <= set(inputs)
    file = partitions.folder(WS.dataset, WS.order, number_of("2026-01-31")) / "release=2.parquet"
    assert inputs["metrics:amazon-beauty/published/2026-01-31/2"] == storage.sha256(file)
    assert "amazon-beauty/monitoring/published/history.jsonl" in inputs


def test_the_verb_is_a_group_too(capfd: pytest.CaptureFixture[str]) -> None:
    ranked(1, 0.8)
    place = ["--dataset", WS.dataset, "--order", WS.order]
    assert CliRunner().invoke(app, ["report", *place, "--json"]).exit_code == 0
    assert json.loads(capfd.readouterr().out)["verb"] == "report"
    assert CliRunner().invoke(app, ["report", "ranking", *place, "--json"]).exit_code == 0
    assert json.loads(capfd.readouterr().out)["verb"] == "report ranking"
    lost = CliRunner().invoke(app, ["report", "--order", "published", "ranking"]).exception
    assert isinstance(lost, UsageError)
    assert "--order belongs behind the verb" in str(lost)


def test_a_browser_shows_it_whole(tmp_path: Path) -> None:
    browser = chromium.find(tmp_path)
    all_of_it()
    _, html = pages()
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    seen = browser.see((tmp_path / "page.html").as_uri())
    assert not seen.console
    assert 'aria-sort="' not in seen.dom and '<button type="button">' in seen.dom
    for width in (1280, 520):
        size = browser.measure(html, "", width)
        assert (size.width, size.out) == (size.window, [])
