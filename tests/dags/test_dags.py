"""Every DAG parses without the project, runs verbs there are, passes nothing unquoted; the daily one is the demo."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.contracts import ORDERS, RECIPES
from llm import engines
from llm.cot.wording import STYLES
from llmcf import dag_test
from llmcf.demo import PIPELINE
from ranking import recipes as ranking_recipes
from retrieval_stage import recipes as retrieval_recipes
from tests.meta.test_remedies import parse

DAGS = Path(__file__).resolve().parents[2] / "dags"
PACKAGES = "core ict llm ranking retrieval_stage llmcf"
DAILY = "llmcf_daily"
PROBE = """
import json, pathlib, sys
import pendulum, airflow.sdk, airflow.providers.standard.operators.bash
from airflow.dag_processing.dagbag import BundleDagBag
bag = BundleDagBag(dag_folder=sys.argv[1], bundle_path=pathlib.Path(sys.argv[1]), bundle_name="dags-folder")
print("PROBE" + json.dumps({
    "errors": {str(k): str(v) for k, v in bag.import_errors.items()},
    "parse_seconds": max(stat.duration.total_seconds() for stat in bag.dagbag_stats),
    "dags": {dag.dag_id: {
        "commands": {t.task_id: t.bash_command for t in dag.tasks if hasattr(t, "bash_command")},
        "mapped": [t.task_id for t in dag.tasks if t.is_mapped],
        "after": {t.task_id: sorted(t.upstream_task_ids) for t in dag.tasks},
        "pools": {t.task_id: t.pool for t in dag.tasks},
        "environment": {t.task_id: t.env for t in dag.tasks if hasattr(t, "bash_command")},
        "params": {name: [dag.params.get_param(name).value, dag.params.get_param(name).schema] for name in dag.params},
    } for dag in bag.dags.values()},
    "written": sys.modules["verbs"].command("cot generate", next(
        vars(module)["WRITE"] for module in list(sys.modules.values()) if isinstance(vars(module).get("WRITE"), dict))),
    "project": sorted({m.split(".")[0] for m in sys.modules} & set(sys.argv[2].split())),
}))
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What Airflow itself makes of the folder, read in a process of its own."""
    home = tmp_path_factory.mktemp("airflow")
    env = {**dag_test.environment(), "AIRFLOW_HOME": str(home), "PYTHONPATH": ""}
    subprocess.run(
        [Path(sys.executable).with_name("airflow"), "db", "migrate"], env=env, check=True, capture_output=True
    )
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(DAGS), PACKAGES], env=env, capture_output=True, text=True, cwd=home
    )
    assert done.returncode == 0, done.stderr[-2000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("PROBE"))
    return json.loads(line.removeprefix("PROBE"))


@pytest.fixture(scope="module")
def daily(probe: dict) -> dict:
    return probe["dags"][DAILY]


def commands(probe: dict) -> list[str]:
    """Every command of every DAG, the mapped one among them."""
    return [*(line for one in probe["dags"].values() for line in one["commands"].values()), probe["written"]]


def test_they_parse_fast_and_without_the_project(probe: dict) -> None:
    assert probe["errors"] == {}
    assert probe["project"] == []
    assert probe["parse_seconds"] < 0.3
    files = {path.stem for path in DAGS.glob("*.py")} - set((DAGS / ".airflowignore").read_text().split(".py\n"))
    assert set(probe["dags"]) == files, "a DAG a file, and named as it"


def test_parameters_reach_the_shell_quoted(probe: dict) -> None:
    for line in commands(probe):
        assert '--dataset "$LLMCF_DAG_DATASET"' in line
        assert "{{" not in line, "a template in the command would let a parameter become shell code"
        assert line.count("$") == len(re.findall(r'"\$\w+"', line)), line


def test_every_command_is_one_that_llmcf_takes(probe: dict) -> None:
    """With the parameters' defaults in place of the variables."""
    for one in probe["dags"].values():
        given = {f"LLMCF_DAG_{name.upper()}": str(value or "latest") for name, (value, _) in one["params"].items()}
        given["LLMCF_DAG_COT_LIMIT"] = given["LLMCF_DAG_RECGEN_ROWS"] = "0"
        for line in commands(probe):
            filled = line.splitlines()[-1]
            for name, value in given.items():
                filled = filled.replace(f'"${name}"', value)
            parse(filled)


def test_every_parameter_is_in_the_environment_of_every_verb(probe: dict) -> None:
    for one in probe["dags"].values():
        for environment in one["environment"].values():
            assert {f"LLMCF_DAG_{name.upper()}" for name in one["params"]} == set(environment)


def test_choices_are_the_projects(daily: dict) -> None:
    enum = {name: schema.get("enum") for name, (_, schema) in daily["params"].items()}
    assert enum["order"] == ["", *ORDERS]
    assert enum["recipe"] == list(RECIPES)
    assert set(enum["engine"]) == set(engines.NAMES)
    assert set(enum["ranker"]) == set(ranking_recipes.MODELS)
    assert set(enum["retriever"]) == set(retrieval_recipes.MODELS)
    assert set(enum["cot_style"]) == set(STYLES)


def test_the_demo_names_parameters_there_are(daily: dict) -> None:
    assert set(dag_test.SMALL) < set(daily["params"])


def test_tuning_is_a_choice_and_a_skip_lets_the_rest_run(daily: dict) -> None:
    assert daily["commands"]["recgen_train"].startswith('[ "$LLMCF_DAG_TRAIN_RECGEN" = True ] || exit 99\n')
    assert daily["params"]["train_recgen"][0] is False


def test_it_runs_the_verbs_of_the_demo(daily: dict) -> None:
    lines = (command.splitlines()[-1] for command in daily["commands"].values())
    scheduled = [line.split(" --dataset")[0].removeprefix("llmcf ") for line in lines]
    scheduled += [name.replace("_", " ") for name in daily["mapped"]]
    demo = [verb.words for verb in PIPELINE if verb.words not in {"llm fetch", "dag test"}]
    assert sorted(scheduled) == sorted(demo)


def test_the_demo_order_is_one_the_dag_allows(daily: dict) -> None:
    place: dict[str, float] = {verb.title: number for number, verb in enumerate(PIPELINE)}
    place |= {f"{stage} train": place[f"{stage} train llm-cf"] for stage in ("rank", "retrieve")}
    place["cot workers"] = place["cot generate"] - 0.5  # says how many, no verb of its own
    title = {name.replace(" ", "_").replace("-", "_"): name for name in place}
    for task, before in daily["after"].items():
        for earlier in before:
            assert place[title[earlier]] < place[title[task]], (
                f"{task} runs after {earlier} in the DAG, not in the demo"
            )


def test_pools_are_declared(probe: dict) -> None:
    declared = {"default_pool", *json.loads((DAGS / "pools.json").read_text(encoding="utf-8"))}
    for one in probe["dags"].values():
        assert set(one["pools"].values()) <= declared


def test_plain_standard_library_airflow_and_neighbours_only() -> None:
    allowed = {"airflow.providers.standard.operators.bash", "airflow.sdk", "collections.abc", "verbs"}
    for path in DAGS.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} <= allowed, path


def test_texts_are_written_by_as_many_workers_as_asked_for(daily: dict) -> None:
    assert daily["mapped"] == ["cot_generate"]
    assert daily["after"]["cot_generate"] == ["cot_workers"]
    assert daily["pools"]["cot_generate"] == "llm"
