"""`llmcf.api`: light to import, told with examples that hold, and the verbs' own answers."""

import ast
import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from core import settings
from core.errors import Missing, UsageError
from core.settings import PROJECT, Workspace
from llmcf import api
from tests import trained_runs

HEAVY = ("torch", "pyarrow", "pandas", "matplotlib", "sklearn", "feast", "typer", "transformers", "pymilvus")
FUNCTIONS = [name for name in api.__all__ if inspect.isfunction(getattr(api, name))]


@pytest.fixture(scope="module")
def runs(own: Workspace) -> Workspace:
    """A workspace of the module's own with a ranker and a retrieval model."""
    trained_runs.rank(own, signal=1.0)
    trained_runs.retrieve(own)
    return own


def test_nothing_heavy_is_loaded_with_it() -> None:
    code = f"import sys; from llmcf import api; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_names_all_that_is_public() -> None:
    own = {name for name, value in vars(api).items() if getattr(value, "__module__", "") == api.__name__}
    assert {name for name in own if not name.startswith("_")} == set(FUNCTIONS)
    assert api.__all__ == sorted(api.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_an_example_that_calls_it_as_it_is(name: str) -> None:
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(getattr(api, name)) or "")
    calls = [node for one in examples for node in ast.walk(ast.parse(one.source)) if isinstance(node, ast.Call)]
    ours = [call for call in calls if ast.unparse(call.func) == f"api.{name}"]
    assert ours
    for call in ours:
        named = {word.arg: None for word in call.keywords if word.arg}
        inspect.signature(getattr(api, name)).bind(*call.args, **named)


def test_the_page_for_analysts_names_every_function() -> None:
    page = (PROJECT / "docs" / "analysts.md").read_text(encoding="utf-8")
    assert not [name for name in FUNCTIONS if f"`{name}`" not in page]


def test_workspaces_and_tables(own: Workspace) -> None:
    ws = api.workspace("movielens-100k")
    assert ws == own
    assert api.table(ws, "items").num_rows == 60
    assert {"history", "popularity"} <= set(api.table(ws, "training_rows").column_names)
    with pytest.raises(UsageError, match="unknown table 'scores'; choose one of: interactions"):
        api.table(ws, "scores")
    with pytest.raises(UsageError, match="unknown dataset 'movielens'"):
        api.workspace("movielens")
    with pytest.raises(Missing, match="run `llmcf data prepare"):
        api.table(api.workspace("movielens-100k", as_of="1997-01-01"), "rows")


def test_prepare_is_the_verb(own: Workspace, source: Path) -> None:
    assert api.prepare(own, source=source, seed=7).skipped


def test_runs_and_their_figures(runs: Workspace) -> None:
    table = api.runs(runs).to_pandas()
    assert set(table.stage) == {"ranking", "retrieval"}
    assert {"auc", "masked.ndcg@10"} <= set(table.metric)
    assert api.scores(runs, "sasrec-none-strict-s2023").num_rows > 0
    for function in (api.scores, api.evaluate):
        with pytest.raises(UsageError, match="unknown run 'deepfm'; choose one of: deepfm-none-strict-s2023, sasrec"):
            function(runs, "deepfm")
    assert api.results("ranking", "nothing") == []


def test_a_run_by_segment(runs: Workspace) -> None:
    found = api.evaluate(runs, "deepfm-none-strict-s2023")
    assert found.metrics["test"]["auc"] > 0.5
    segments = found.details["segments"]
    assert found.details["segments_by"] == "auc"
    part = segments["older items"]
    assert part["low"] <= part["value"] <= part["high"]
    ranks = api.evaluate(runs, "sasrec-none-strict-s2023")
    assert (ranks.details["segments_by"], ranks.seed) == ("ndcg@10 masked", 2023)


def test_what_the_rooms_answer(runs: Workspace) -> None:
    nodes = api.lineage("deepfm-none-strict-s2023").details["nodes"]
    assert nodes[0]["kind"] == "ranker"
    assert "lineage show: done" in api.text(api.lineage("data", up=False, dataset=runs.dataset))
    trained_runs.rank(runs, signal=2.0, seed=2024)
    told = api.compare("deepfm-none-strict-s2023", "deepfm-none-strict-s2024", dataset=runs.dataset, draws=20)
    assert told.details["config"] == {"seed": {"first": 2023, "second": 2024}}
    assert Path(told.artifacts["report"]).is_relative_to(settings.runs())


def test_unknown_names_are_refused_before_any_work(runs: Workspace) -> None:
    with pytest.raises(UsageError, match=r"unknown model 'bert'; choose one of: .*deepfm.*sasrec"):
        api.train(runs, "bert")
    with pytest.raises(UsageError, match="unknown framework 'kar'"):
        api.train(runs, "sasrec", framework="kar")
    with pytest.raises(UsageError, match="unknown recipe"):
        api.train(runs, "deepfm", recipe="loose")
    with pytest.raises(UsageError, match="unknown report 'sales'; choose one of: data, ranking"):
        api.report(runs, "sales")
    with pytest.raises(Missing, match="nothing is measured on movielens-100k"):
        api.report(runs, "ranking")


def test_metrics_of_days_are_read_as_they_were_written(own: Workspace) -> None:
    assert api.daily_metrics(own).num_rows == 0
    with pytest.raises(UsageError, match="'monday' and None are not both dates"):
        api.daily_metrics(own, "monday")
    with pytest.raises(UsageError, match="--from 2026-02-01 is after --to 2026-01-31"):
        api.backfill_metrics(own, "2026-02-01", "2026-01-31")
