"""Feast's own OpenLineage events: in the namespace of the DAGs', of the same datasets, and under names that stay."""

import ast
import json
from importlib.util import find_spec
from typing import Any

import pytest

from core.data import features
from core.data.prepare import prepare
from core.errors import LlmcfError
from core.settings import PROJECT, Workspace
from llmcf.feature_store import jobs, registry
from tests import official_files

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not find_spec("openlineage"), reason="make env-main"),
]
NAMESPACE = "plant/movielens-100k"


def declared(name: str) -> set[str]:
    """A tuple of names of dags/assets.py."""
    tree = ast.parse((PROJECT / "dags" / "assets.py").read_text(encoding="utf-8"))
    values = {one.targets[0].id: one.value for one in tree.body if isinstance(one, ast.Assign)}  # pyright: ignore[reportAttributeAccessIssue]
    return set(ast.literal_eval(values[name]))


@pytest.fixture(scope="module")
def events(own: Workspace, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Of `features apply`, `features materialize`, and one that fails."""
    ws = Workspace("movielens-100k", "published")
    folder = tmp_path_factory.mktemp("lineage")
    prepare(ws, source=official_files.write(folder / "raw", users=12, items=40, seed=1), seed=7)
    features.build(ws)
    path = folder / "events.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENLINEAGE__TRANSPORT", json.dumps({"type": "file", "log_file_path": str(path), "append": True}))
        patch.setenv("OPENLINEAGE_NAMESPACE", "plant")
        jobs.apply(ws)
        jobs.materialize(ws)
        (ws.path("feast", "data") / "user_profile.parquet").write_bytes(b"")
        with pytest.raises(LlmcfError):
            registry.run(ws, "materialize", ws.dataset, "1997-01-01T00:00:00+00:00", "1999-01-01T00:00:00+00:00")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def of(events: list[dict[str, Any]], job: str, kind: str) -> dict[str, Any]:
    """The first such event."""
    return next(one for one in events if (one["job"]["name"], one["eventType"]) == (job, kind))


def names(event: dict[str, Any], side: str) -> set[str]:
    return {one["name"] for one in event[side]}


def test_all_is_in_one_namespace_that_ends_with_the_data_set(events: list[dict[str, Any]]) -> None:
    assert {one["job"]["namespace"] for one in events} == {NAMESPACE}
    assert {each["namespace"] for one in events for each in one["inputs"] + one["outputs"]} == {NAMESPACE}


def test_what_is_applied_is_what_the_task_writes(events: list[dict[str, Any]]) -> None:
    applied = of(events, "feast_feature_views_movielens-100k", "COMPLETE")
    assert names(applied, "outputs") == declared("ONLINE") | declared("ON_DEMAND")


def test_what_is_materialized_is_what_the_task_reads_and_writes(events: list[dict[str, Any]]) -> None:
    start, complete = (of(events, "materialize_movielens-100k", kind) for kind in ("START", "COMPLETE"))
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert names(start, "inputs") >= declared("ONLINE")
    assert names(complete, "outputs") == {f"online_store_{view}" for view in declared("ONLINE")}


def test_one_that_fails_says_so(events: list[dict[str, Any]]) -> None:
    failed = of(events, "materialize_movielens-100k", "FAIL")
    assert "user_profile" in failed["run"]["facets"]["errorMessage"]["message"]
