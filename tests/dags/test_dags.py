"""Every DAG parses without the project, runs verbs there are, passes nothing unquoted; a day's chain is the demo."""

import ast
import json
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from jinja2 import Environment

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
HELPERS = {"verbs", "alerts", "assets"}
MADE_UP_FOR = "backfill_metrics"  # by Airflow's backfills
AGAIN = "catch_up"  # sends other DAGs' events again, with their partitions, and has none
PROBE = """
import hashlib, json, pathlib, sys
import datetime
import airflow.sdk, airflow.providers.standard.operators.bash
from airflow.timetables import trigger
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.serialization.serialized_objects import DagSerialization
def assets(condition):
    if hasattr(condition, "name"):
        return [condition.name]
    return [name for one in getattr(condition, "objects", ()) for name in assets(one)]
NOW = trigger.coerce_datetime(trigger.utcnow())
def waits(dag):
    timetable = DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable
    if not hasattr(timetable, "_calc_first_run"):
        return None
    last = timetable._align_to_prev(NOW)
    trigger.utcnow = lambda: last + datetime.timedelta(minutes=1)
    return (timetable._calc_first_run() - last).total_seconds() > 0
bag = BundleDagBag(dag_folder=sys.argv[1], bundle_path=pathlib.Path(sys.argv[1]), bundle_name="dags-folder")
print("PROBE" + json.dumps({
    "errors": {str(k): str(v) for k, v in bag.import_errors.items()},
    "parse_seconds": sum(stat.duration.total_seconds() for stat in bag.dagbag_stats),
    "dags": {dag.dag_id: {
        "commands": {t.task_id: t.bash_command for t in dag.tasks if hasattr(t, "bash_command")},
        "mapped": [t.task_id for t in dag.tasks if t.is_mapped],
        "after": {t.task_id: sorted(t.upstream_task_ids) for t in dag.tasks},
        "ends_it": [t.task_id for t in dag.tasks if t.is_teardown],
        "pools": {t.task_id: t.pool for t in dag.tasks},
        "environment": {t.task_id: t.env for t in dag.tasks if hasattr(t, "bash_command")},
        "trigger": [t.task_id for t in dag.tasks if t.trigger_rule != "all_success"],
        "retries": {t.task_id: [t.retries, t.retry_exponential_backoff, bool(t.execution_timeout)] for t in dag.tasks},
        "outlets": {t.task_id: [a.name for a in t.outlets] for t in dag.tasks if t.outlets},
        "read": sorted(assets(getattr(dag.timetable, "asset_condition", None))),
        "partitioned": type(dag.timetable).__name__,
        "waits": waits(dag),
        "offset": getattr(dag.timetable, "run_offset", 0) or 0,
        "late": [[type(d.reference).__name__, d.callback.path] for d in dag.deadline or []],
        "told": bool(dag.on_failure_callback),
        "bounded": bool(dag.dagrun_timeout),
        "doc": dag.doc_md or "",
        "serialized": hashlib.sha256(json.dumps(DagSerialization.to_dict(dag), sort_keys=True, default=str).encode())
            .hexdigest(),
        "params": {name: [dag.params.get_param(name).value, dag.params.get_param(name).schema] for name in dag.params},
    } for dag in bag.dags.values()},
    "written": next((sys.modules["verbs"].command("cot generate", vars(module)["WRITE"])
        for module in list(sys.modules.values()) if isinstance(vars(module).get("WRITE"), dict)), ""),
    "project": sorted({m.split(".")[0] for m in sys.modules} & set(sys.argv[2].split())),
}))
"""


def parsed(home: Path, **environment: str) -> dict:
    """What Airflow itself makes of the folder."""
    return probed(home, PROBE, str(DAGS), PACKAGES, **environment)


def probed(home: Path, code: str, *arguments: str, **environment: str) -> dict:
    """What some code finds in a process of its own."""
    env = {**dag_test.environment(), "AIRFLOW_HOME": str(home), "PYTHONPATH": "", **environment}
    env.pop("LLMCF_DAG_RETRIES")
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=env, capture_output=True, text=True, cwd=home, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("PROBE"))
    return json.loads(line.removeprefix("PROBE"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("airflow")
    env = {**dag_test.environment(), "AIRFLOW_HOME": str(home), "PYTHONPATH": ""}
    airflow = Path(sys.executable).with_name("airflow")
    subprocess.run([airflow, "db", "migrate"], env=env, check=True, capture_output=True)
    return home


def test_a_local_airflow_waits_for_its_database(home: Path) -> None:
    """Longer than SQLite's five seconds, after which its parts fail; in the home that it is told."""
    code = """
import json
from airflow import settings
(place,), options = settings.engine.dialect.create_connect_args(settings.engine.url)
print("PROBE" + json.dumps({"place": place, "seconds": options.get("timeout")}))
"""
    assert probed(home, code) == {"place": str(home / "airflow.db"), "seconds": 60}


@pytest.fixture(scope="module")
def probe(home: Path) -> dict:
    return parsed(home)


@pytest.fixture(scope="module")
def ended(home: Path) -> dict:
    """How Airflow takes the exit codes of a verb."""
    code = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from verbs import Verb
ended = {}
for code in (0, 1, 2, 3, 12, 99, 137):
    task = Verb(task_id=f"t{code}", bash_command=f"exit {code}", env={"PATH": os.environ["PATH"]})
    try:
        task.execute({})
        ended[code] = "done"
    except Exception as failure:
        ended[code] = type(failure).__name__
print("PROBE" + json.dumps(ended))
"""
    return probed(home, code, str(DAGS))


@pytest.fixture(scope="module")
def params(probe: dict) -> dict:
    (same,) = {json.dumps(one["params"], sort_keys=True) for one in probe["dags"].values()}
    return json.loads(same)


def commands(probe: dict) -> list[str]:
    """Every command of every DAG, the mapped one among them."""
    return [*(line for one in probe["dags"].values() for line in one["commands"].values()), probe["written"]]


def verbs_of(line: str) -> list[str]:
    """Those that do a task's work, a line each; what it asks before stands behind conditions."""
    return [one for one in line.splitlines() if one.startswith("llmcf ")]


def test_they_parse_fast_and_without_the_project(probe: dict) -> None:
    assert probe["errors"] == {}
    assert probe["project"] == []
    assert probe["parse_seconds"] < 2, "all of them"
    assert {path.stem for path in DAGS.glob("*.py")} - HELPERS == set(probe["dags"]), "a DAG a file, and named as it"


def test_parsed_again_they_are_the_same(home: Path, probe: dict) -> None:
    """Else each parsing would be another version of each DAG."""
    again = parsed(home)
    assert {name: one["serialized"] for name, one in again["dags"].items()} == {
        name: one["serialized"] for name, one in probe["dags"].items()
    }


def test_a_deployments_own_values_are_the_defaults(home: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"dataset": "shop", "cot_workers": 8}))
    found = parsed(home, LLMCF_DAG_PARAMETERS=str(own))
    assert found["errors"] == {}
    for one in found["dags"].values():
        assert (one["params"]["dataset"][0], one["params"]["cot_workers"][0]) == ("shop", 8)


@pytest.mark.parametrize(
    ("own", "said"), [({"datset": "shop"}, "names datset"), ({"cot_workers": 1000}, "1000 is greater than")]
)
def test_a_wrong_value_is_an_import_error(home: Path, tmp_path: Path, own: dict, said: str) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps(own))
    errors = parsed(home, LLMCF_DAG_PARAMETERS=str(path))["errors"]
    assert errors and all(said in text for text in errors.values()), errors


def test_parameters_reach_the_shell_quoted(probe: dict) -> None:
    for line in commands(probe):
        assert '--dataset "$LLMCF_DAG_DATASET"' in line
        assert "{{" not in line, "a template in the command would let a parameter become shell code"
        ours = line.removeprefix("told=$(\n")  # the one `$` that stands alone is no parameter
        assert ours.count("$") == sum(text.count("$") for text in re.findall(r'"[^"]*"', ours)), line


def test_every_command_is_one_that_llmcf_takes(probe: dict, params: dict) -> None:
    """With the parameters' defaults in place of the variables."""
    given = {f"LLMCF_DAG_{name.upper()}": str(value or "latest") for name, (value, _) in params.items()}
    given |= {"LLMCF_DAG_COT_LIMIT": "0", "LLMCF_DAG_RECGEN_ROWS": "0", "LLMCF_DAG_PARTITION": "2026-01-31"}
    given |= {"LLMCF_DAG_RELEASE": "2", "LLMCF_DAG_TOWER_FRAMEWORK": "none"}
    for text in commands(probe):
        assert verbs_of(text), text
        for line in verbs_of(text):
            filled = line
            for name, value in given.items():
                filled = filled.replace(f"${name}", value)
            parse(filled.replace('"', ""))


def test_every_parameter_is_in_the_environment_of_every_verb(probe: dict, params: dict) -> None:
    told = {f"LLMCF_DAG_{name.upper()}" for name in (*params, "partition", "weekday")}
    for one in probe["dags"].values():
        for task, environment in one["environment"].items():
            own = {
                "release_check": {"LLMCF_DAG_RELEASE", "LLMCF_ALERT_WEBHOOK"},
                "promote": {"LLMCF_DAG_RELEASE"},
                "serve": {"LLMCF_DAG_RELEASE", "LLMCF_DAG_LIVE"},
                "roll_back": {"LLMCF_DAG_RELEASE", "LLMCF_DAG_LIVE", "LLMCF_DAG_LOOKED"},
                "llm_check": {"LLMCF_ALERT_WEBHOOK"},
                **{name: {"LLMCF_DAG_TOWER_FRAMEWORK"} for name in ("export", "workspace_pending", "retrieve_train")},
            }.get(task, set())
            assert set(environment) == told | own


@pytest.mark.parametrize(("own", "meant"), [("", "llm-cf"), ("none", "none")])
def test_the_retriever_has_the_rankers_framework_or_its_own(probe: dict, own: str, meant: str) -> None:
    values = {"params": {"framework": "llm-cf", "retriever_framework": own}}
    for dag, task in (("train_retrieval", "retrieve_train"), ("release", "export"), (AGAIN, "workspace_pending")):
        template = probe["dags"][dag]["environment"][task]["LLMCF_DAG_TOWER_FRAMEWORK"]
        assert Environment(autoescape=True).from_string(template).render(values) == meant


def test_the_day_is_the_partition_and_no_other_date(probe: dict) -> None:
    """A run that an asset started has no logical date, and its own date is another one when it is repeated."""
    for one in probe["dags"].values():
        for environment in one["environment"].values():
            assert environment["LLMCF_DAG_AS_OF"] == "{{ params.as_of or partition_key or '' }}"
            for template in environment.values():
                assert not re.search(r"\b(ds|ts|now)\b|logical_date|data_interval|run_after", template), template


def test_choices_are_the_projects(params: dict) -> None:
    enum = {name: schema.get("enum") for name, (_, schema) in params.items()}
    assert enum["order"] == ["", *ORDERS]
    assert enum["recipe"] == list(RECIPES)
    assert set(enum["engine"]) == {*engines.NAMES, engines.RAY, *(f"{engines.RAY}:{one}" for one in engines.NAMES)}
    assert set(enum["ranker"]) == set(ranking_recipes.MODELS)
    assert set(enum["retriever"]) == set(retrieval_recipes.MODELS)
    assert set(enum["cot_style"]) == set(STYLES)


def test_assets_tie_them_in_the_order_in_which_they_are_tested(probe: dict) -> None:
    made: set[str] = set()
    for name in dag_test.CHAIN:
        one = probe["dags"][name]
        assert set(one["read"]) <= made, name
        made |= {asset for assets in one["outlets"].values() for asset in assets}
    assert made >= {asset for one in probe["dags"].values() for asset in one["read"]}


def test_an_asset_is_renewed_by_one_task_and_one_that_starts_a_dag_by_its_last(probe: dict) -> None:
    """Mapped tasks lose events; a task after it could still fail."""
    owners: list[str] = []
    starts = {asset for one in probe["dags"].values() for asset in one["read"]} | {"llmcf_release"}
    for one in (one for name, one in probe["dags"].items() if name != AGAIN):
        followed = {before for task, all_ in one["after"].items() if task not in one["ends_it"] for before in all_}
        for task, assets in one["outlets"].items():
            assert task not in one["mapped"]
            assert task not in followed or not starts & set(assets), task
            owners += assets
    assert len(owners) == len(set(owners))
    assert starts <= set(owners)


def test_each_is_partitioned_documented_and_told_of(probe: dict) -> None:
    for name, one in probe["dags"].items():
        assert name == AGAIN or one["partitioned"] in {"CronPartitionTimetable", "PartitionedAssetTimetable"}, name
        assert one["late"] and one["late"][0][1] == "alerts.late", name
        reference = one["late"][0][0]
        assert reference == "AverageRuntimeDeadline", f"{name}: runs with another one cannot be cleared"
        assert one["told"] and one["bounded"], name
        for part in ("**In**", "**Out**", "**Cost**", "**Again**"):
            assert part in one["doc"], f"{name} does not say {part}"


def test_one_that_is_switched_on_just_after_its_time_waits_for_the_next(probe: dict) -> None:
    """Else the hour at which somebody looks decides whether a day runs that nobody asked for."""
    scheduled = {
        name: one["waits"] for name, one in probe["dags"].items() if one["waits"] is not None and name != AGAIN
    }
    assert {"materialize_features", "ingest_interactions", "housekeeping"} <= set(scheduled)
    assert set(scheduled.values()) == {True}, scheduled


def test_a_failed_task_is_tried_again_and_none_runs_for_ever(probe: dict) -> None:
    for one in probe["dags"].values():
        for task, (retries, backoff, bounded) in one["retries"].items():
            assert retries >= 2 and backoff and bounded, task


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (0, "done"),
        (1, "AirflowException"),
        (2, "AirflowFailException"),
        (3, "AirflowFailException"),
        (12, "AirflowException"),
        (99, "AirflowSkipException"),
        (137, "AirflowException"),
    ],
)
def test_what_another_try_would_not_mend_is_not_tried_again(ended: dict, code: int, outcome: str) -> None:
    assert ended[str(code)] == outcome


def test_events_of_every_stage_are_sent_again(probe: dict) -> None:
    sent = {asset for assets in probe["dags"][AGAIN]["outlets"].values() for asset in assets}
    assert sent == {asset for one in probe["dags"].values() for asset in one["read"]}
    assert probe["dags"][AGAIN]["partitioned"] not in {"CronPartitionTimetable", "PartitionedAssetTimetable"}, (
        "a run with a partition of its own would send that"
    )


def test_what_is_sent_again_is_of_the_models_that_are_released(probe: dict) -> None:
    (asked,), (made,) = (
        verbs_of(probe["dags"][dag]["commands"][task])
        for dag, task in ((AGAIN, "workspace_pending"), ("release", "export"))
    )
    assert asked.partition(" --ranker ")[2] == made.partition(" --ranker ")[2].replace(" --no-promote", "")


def test_the_demo_names_parameters_there_are(params: dict) -> None:
    assert set(dag_test.SMALL) < set(params)


@pytest.mark.parametrize(
    ("when", "weekday", "due", "code", "verbs"),
    [
        ("1", "1", 99, 0, ["recgen train"]),
        ("1", "2", 0, 0, ["llm due", "recgen train"]),
        ("1", "2", 99, 99, ["llm due"]),
        ("1", "2", 2, 2, ["llm due"]),
        ("1", "2", 1, 1, ["llm due"]),
        ("1", "", 2, 99, []),
        ("always", "", 99, 0, ["recgen train"]),
        ("never", "2", 0, 99, []),
    ],
    ids=["its day", "drift", "no drift", "asked wrongly", "it fails", "latest", "always", "never"],
)
def test_tuning_is_on_its_day_or_when_it_is_due(
    probe: dict, tmp_path: Path, when: str, weekday: str, due: int, code: int, verbs: list[str]
) -> None:
    """Airflow takes exit code 99 for skipped; whatever else is wrong with the question fails the task."""
    line = probe["dags"]["train_recgen"]["commands"]["recgen_train"]
    assert "llmcf llm due --dataset " in line
    assert '--as-of "$LLMCF_DAG_AS_OF" --weekday "$LLMCF_DAG_TRAIN_RECGEN" || exit\n' in line
    called = tmp_path / "called"
    called.touch()
    (tmp_path / "llmcf").write_text(f'#!/bin/sh\necho "$1 $2" >> {called}\n[ "$2" != due ] || exit {due}\n')
    (tmp_path / "llmcf").chmod(0o755)
    given = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LLMCF_DAG_TRAIN_RECGEN": when, "LLMCF_DAG_WEEKDAY": weekday}
    assert subprocess.run(["bash", "-c", line], env=given, check=False).returncode == code
    assert called.read_text().splitlines() == verbs


@pytest.mark.parametrize(
    ("as_of", "partition", "weekday"),
    [
        ("", "2026-02-02", "1"),
        ("2026-02-02", None, "1"),
        ("2026-02-02", "2026-02-03", "1"),
        ("latest", None, ""),
        ("", None, ""),
    ],
)
def test_the_weekday_is_that_of_the_day(probe: dict, as_of: str, partition: str | None, weekday: str) -> None:
    """A run by hand may name its day as a parameter."""
    template = probe["dags"]["train_recgen"]["environment"]["recgen_train"]["LLMCF_DAG_WEEKDAY"]
    macros = SimpleNamespace(ds_format=lambda day, form, to: datetime.strptime(day, form).strftime(to))
    values = {"params": {"as_of": as_of}, "partition_key": partition, "macros": macros}
    assert Environment(autoescape=True).from_string(template).render(values) == weekday


def test_what_is_pinned_is_what_was_checked(probe: dict) -> None:
    """A check that fails ends the run before the model writes; what is scored decides nothing."""
    one = probe["dags"]["train_recgen"]
    assert one["after"]["llm_pin"] == ["llm_check"]
    assert one["after"]["llm_check"] == one["after"]["recgen_score"] == ["recgen_train"]
    (made,), (checked,), (pinned,) = (
        verbs_of(one["commands"][task]) for task in ("recgen_train", "llm_check", "llm_pin")
    )
    place = checked.removeprefix("llmcf llm check ").removesuffix(" --model recgen")
    assert made.startswith(f"llmcf recgen train {place} --rows"), "of the seed that was tuned"
    assert pinned == f"llmcf llm pin {place} --model recgen --checked"
    for task in ("llm_check", "llm_pin", "recgen_score"):
        assert one["commands"][task].startswith('[ "$LLMCF_DAG_LLM" = pinned ]'), task
    assert '&& [ "$LLMCF_DAG_RECGEN_ROWS" != 0 ] || exit 99' in one["commands"]["recgen_score"]


ONLY_SCHEDULED = {
    "recgen score",
    "llm check",
    "llm pin",
    "release check",
    "release promote",
    "release rollback",
}  # where the pinned model writes; beside what is live, which the demo's export does by itself


def chain_of(probe: dict) -> list[str]:
    """The verbs of a day, DAG by DAG."""
    found = []
    for name in dag_test.CHAIN:
        one = probe["dags"][name]
        lines = [verb for line in one["commands"].values() for verb in verbs_of(line)]
        found += [line.split(" --dataset")[0].removeprefix("llmcf ") for line in lines]
        found += [task.replace("_", " ") for task in one["mapped"]]
    return found


def test_a_day_runs_the_verbs_of_the_demo(probe: dict) -> None:
    scheduled = [verb for verb in chain_of(probe) if verb not in ONLY_SCHEDULED]
    demo = [verb.words for verb in PIPELINE if verb.words not in {"llm fetch", "dag test"}]
    assert sorted(scheduled) == sorted(demo)


def test_the_demo_order_is_one_the_dags_allow(probe: dict) -> None:
    place: dict[str, float] = {verb.title: number for number, verb in enumerate(PIPELINE)}
    place |= {f"{stage} train": place[f"{stage} train llm-cf"] for stage in ("rank", "retrieve")}
    place["cot workers"] = place["cot generate"] - 0.5  # says how many, no verb of its own
    place |= {"recgen score": place["recgen train"] + 0.2, "llm check": place["recgen train"] + 0.3}
    place |= {"llm pin": place["recgen train"] + 0.4}
    place |= {"release check": place["export"] + 0.2, "promote": place["export"] + 0.4, "roll back": len(PIPELINE)}
    title = {name.replace(" ", "_").replace("-", "_"): name for name in place}
    for name in dag_test.CHAIN:
        for task, before in probe["dags"][name]["after"].items():
            for earlier in before:
                assert place[title[earlier]] < place[title[task]], f"{task} runs after {earlier} in the DAG"


def test_what_is_promoted_is_what_was_checked(probe: dict) -> None:
    """A check that fails ends the run before the release is live; a number goes along, so that nothing is made anew."""
    one = probe["dags"]["release"]
    for task, before in (("release_check", "export"), ("promote", "release_check"), ("serve", "promote")):
        assert one["after"][task] == [before]
    (made,), (promoted,) = (verbs_of(one["commands"][task]) for task in ("export", "promote"))
    assert made.endswith(" --no-promote --json")
    assert promoted.startswith("llmcf release promote --dataset ")
    assert "--onwards" in promoted.split(), "not over a later day, nor back over a rollback"
    for task in ("release_check", "promote", "serve", "roll_back"):
        assert '"$LLMCF_DAG_RELEASE"' in one["commands"][task], task
        assert one["environment"][task]["LLMCF_DAG_RELEASE"] == "{{ ti.xcom_pull(task_ids='export') }}"
    assert "promote" in one["trigger"], "also where the check is left out"


def test_what_did_not_go_live_is_not_looked_at(probe: dict) -> None:
    """A day that is made up for stays behind a later one: the run ends well, and tells no asset that it is live."""
    one = probe["dags"]["release"]
    assert one["commands"]["serve"].startswith('[ "$LLMCF_DAG_LIVE" = True ] || exit 99\n')
    assert one["environment"]["serve"]["LLMCF_DAG_LIVE"] == "{{ ti.xcom_pull(task_ids='promote') }}"
    assert one["outlets"] == {"export": ["llmcf_frozen_release"], "serve": ["llmcf_release"]}


def test_what_fails_the_last_look_is_gone_back_from(probe: dict) -> None:
    """By the release's own number, so that nothing else is left; tests/dags/test_dag_test.py runs it."""
    one = probe["dags"]["release"]
    assert set(one["after"]["roll_back"]) == {"serve", "promote"}
    assert one["ends_it"] == ["roll_back"], "else the run would end well with it"
    assert verbs_of(one["commands"]["roll_back"])[0].endswith('--from "$LLMCF_DAG_RELEASE"')
    environment = one["environment"]
    assert environment["roll_back"]["LLMCF_DAG_RELEASE"] == environment["release_check"]["LLMCF_DAG_RELEASE"]


def test_a_gate_that_fails_is_told_by_its_run_alone(probe: dict) -> None:
    for dag, task in (("release", "release_check"), ("train_recgen", "llm_check")):
        assert probe["dags"][dag]["environment"][task]["LLMCF_ALERT_WEBHOOK"] == ""
        assert probe["dags"][dag]["told"]


def test_metrics_are_of_the_day_that_is_over(probe: dict) -> None:
    """Also where Airflow makes up for it months later: the partition alone says which day."""
    one = probe["dags"][MADE_UP_FOR]
    assert one["offset"] == -1, "the run of a day measures the one before"
    (line,) = one["commands"].values()
    assert line.endswith('--from "$LLMCF_DAG_PARTITION" --to "$LLMCF_DAG_PARTITION"')
    assert "--as-of" not in line, "its rows are read from whatever workspace holds the day"
    others = set(probe["dags"]) - {MADE_UP_FOR, "ingest_interactions"}
    assert {probe["dags"][name]["offset"] for name in others} == {0}


def test_pools_are_declared(probe: dict) -> None:
    declared = {"default_pool", *json.loads((DAGS / "pools.json").read_text(encoding="utf-8"))}
    for one in probe["dags"].values():
        assert set(one["pools"].values()) <= declared


def test_plain_standard_library_airflow_and_neighbours_only() -> None:
    allowed = {"airflow.providers.standard.operators.bash", "airflow.sdk", "collections.abc", "datetime", "pathlib"}
    allowed |= {"typing", "airflow.sdk.exceptions", *HELPERS}
    allowed |= {
        "airflow.providers.openlineage.extractors",
        "openlineage.client.event_v2",
        "openlineage.client.facet_v2",
    }
    for path in DAGS.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} <= allowed, path


def test_texts_are_written_by_as_many_workers_as_asked_for(probe: dict) -> None:
    dag = probe["dags"]["refresh_cot_index"]
    assert dag["mapped"] == ["cot_generate"]
    assert dag["after"]["cot_generate"] == ["cot_workers"]
    assert dag["pools"]["cot_generate"] == "llm"
