"""The DAG parses without the project, holds the demo's verbs in an order that works, and passes nothing unquoted."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmcf.dag_test import environment
from llmcf.demo import PIPELINE

DAGS = Path(__file__).resolve().parents[2] / "dags"
PACKAGES = "core ict llm ranking retrieval_stage llmcf"
PROBE = """
import json, sys
import pendulum, airflow.sdk, airflow.providers.standard.operators.bash
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(dag_folder=sys.argv[1])
dag = bag.dags["llmcf_daily"]
print("PROBE" + json.dumps({
    "errors": {str(k): str(v) for k, v in bag.import_errors.items()},
    "parse_seconds": max(stat.duration.total_seconds() for stat in bag.dagbag_stats),
    "commands": {t.task_id: t.bash_command for t in dag.tasks if hasattr(t, "bash_command")},
    "mapped": [t.task_id for t in dag.tasks if t.is_mapped],
    "after": {t.task_id: sorted(t.upstream_task_ids) for t in dag.tasks},
    "pools": {t.task_id: t.pool for t in dag.tasks},
    "project": sorted({m.split(".")[0] for m in sys.modules} & set(sys.argv[2].split())),
}))
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What Airflow itself makes of the folder, read in a process of its own."""
    home = tmp_path_factory.mktemp("airflow")
    env = {**environment(), "AIRFLOW_HOME": str(home), "PYTHONPATH": ""}
    subprocess.run(
        [Path(sys.executable).with_name("airflow"), "db", "migrate"], env=env, check=True, capture_output=True
    )
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(DAGS), PACKAGES], env=env, capture_output=True, text=True, cwd=home
    )
    assert done.returncode == 0, done.stderr[-2000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("PROBE"))
    return json.loads(line.removeprefix("PROBE"))


def test_it_parses_fast_and_without_the_project(probe: dict) -> None:
    assert probe["errors"] == {}
    assert probe["project"] == []
    assert probe["parse_seconds"] < 0.3


def test_it_runs_the_verbs_of_the_demo(probe: dict) -> None:
    scheduled = [command.split(" --dataset")[0].removeprefix("llmcf ") for command in probe["commands"].values()]
    scheduled += [name.replace("_", " ") for name in probe["mapped"]]
    demo = [verb.words for verb in PIPELINE if verb.words not in {"llm fetch", "dag test"}]
    assert sorted(scheduled) == sorted(demo)


def test_the_demo_order_is_one_the_dag_allows(probe: dict) -> None:
    place: dict[str, float] = {verb.title: number for number, verb in enumerate(PIPELINE)}
    place["cot workers"] = place["cot generate"] - 0.5  # says how many, no verb of its own
    title = {name.replace(" ", "_").replace("-", "_"): name for name in place}
    for task, before in probe["after"].items():
        for earlier in before:
            assert place[title[earlier]] < place[title[task]], (
                f"{task} runs after {earlier} in the DAG, not in the demo"
            )


def test_parameters_reach_the_shell_quoted(probe: dict) -> None:
    for command in probe["commands"].values():
        assert '--dataset "$LLMCF_DAG_DATASET"' in command
        assert "{{" not in command, "a template in the command would let a parameter become shell code"


def test_pools_are_declared(probe: dict) -> None:
    declared = {"default_pool", *json.loads((DAGS / "pools.json").read_text(encoding="utf-8"))}
    assert set(probe["pools"].values()) <= declared


def test_plain_standard_library_and_airflow_only() -> None:
    tree = ast.parse((DAGS / "llmcf_daily.py").read_text(encoding="utf-8"))
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= {"airflow.providers.standard.operators.bash", "airflow.sdk"}


def test_texts_are_written_by_as_many_workers_as_asked_for(probe: dict) -> None:
    assert probe["mapped"] == ["cot_generate"]
    assert probe["after"]["cot_generate"] == ["cot_workers"]
    assert probe["pools"]["cot_generate"] == "llm"
