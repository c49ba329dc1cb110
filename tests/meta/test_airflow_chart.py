"""deploy/airflow says what the project knows, names only values that the official chart has, and holds no secret."""

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmcf import dag_test, reference
from tests.meta.test_layout import PROJECT

FOLDER = PROJECT / "deploy" / "airflow"
EXECUTORS = {"celery": "CeleryExecutor", "kubernetes": "KubernetesExecutor"}
VALUES = {
    name: yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")) for name in ("values", *EXECUTORS)
}
CONTAINER = (FOLDER / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
VARIABLES = {row[0].strip("`") for row in reference.variables()}
PAGE = (PROJECT / "docs" / "scale-out.md").read_text(encoding="utf-8")
CHART = "1.22.0"
# Looked up in the chart's values.yaml, its guide for production and its page of parameters, of this version but for
# those with a star, which were read in the values.yaml of 1.19 and may have moved.
KNOWN = {
    "airflowVersion",
    "allowPodLaunching",
    "apiSecretKeySecretName",
    "apiServer.service.type",
    "config.celery.worker_concurrency",
    "config.logging.remote_base_log_folder",
    "config.logging.remote_log_conn_id",
    "config.logging.remote_logging",
    "createUserJob.defaultUser.enabled",
    "dagProcessor.enabled",
    "dags.gitSync.enabled",
    "dags.persistence.enabled",
    "data.brokerUrlSecretName",  # *
    "data.metadataSecretName",
    "defaultAirflowRepository",
    "defaultAirflowTag",
    "env",  # *
    "executor",
    "extraEnvFrom",
    "fernetKeySecretName",
    "flower.enabled",
    "gid",  # *
    "jwtSecretName",
    "logs.persistence.enabled",
    "postgresql.enabled",
    "redis.enabled",
    "scheduler.replicas",
    "securityContexts.containers",  # *
    "securityContexts.pod",  # *
    "statsd.enabled",
    "triggerer.enabled",
    "triggerer.persistence.enabled",
    "uid",  # *
    "volumeMounts",  # *
    "volumes",  # *
    "workers.celery.persistence.enabled",
    "workers.celery.replicas",
    "workers.celery.resources",
    "workers.celery.safeToEvict",
    "workers.kubernetes.resources",
    "workers.kubernetes.safeToEvict",
}


def keys(value: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Each key with what it stands under, down to one that the chart takes as a whole."""
    for name, inner in value.items():
        key = f"{above}{name}"
        if isinstance(inner, dict) and key not in KNOWN:
            yield from keys(inner, f"{key}.")
        else:
            yield key


@pytest.mark.parametrize("name", VALUES)
def test_every_value_is_one_of_the_charts(name: str) -> None:
    assert set(keys(VALUES[name])) <= KNOWN
    assert set(keys(VALUES[name])), "a file without any"


def test_an_executor_is_one_file_more_and_the_page_says_which() -> None:
    for name, executor in EXECUTORS.items():
        assert VALUES[name]["executor"] == executor
        assert not set(keys(VALUES[name])) & set(keys(VALUES["values"]))
        line = f"--version {CHART} -f deploy/airflow/values.yaml -f deploy/airflow/{name}.yaml"
        assert line in PAGE.replace("\\\n  ", "")
    assert CHART in (FOLDER / "values.yaml").read_text(encoding="utf-8")


def test_all_have_the_airflow_that_is_tested_here() -> None:
    version = VALUES["values"]["airflowVersion"]
    for lock in ("main", "airflow"):
        text = (PROJECT / "requirements" / f"{lock}.lock.txt").read_text(encoding="utf-8")
        assert f"apache-airflow=={version}\n" in text
    pinned = {
        lock: set(re.findall(r"^apache-airflow-(?:core|task-sdk|providers-(?:standard|openlineage))==.*$", text, re.M))
        for lock in ("main", "airflow")
        for text in [(PROJECT / "requirements" / f"{lock}.lock.txt").read_text(encoding="utf-8")]
    }
    assert pinned["main"] == pinned["airflow"]
    assert len(pinned["main"]) == 4


def test_what_is_secret_is_named_and_the_page_says_how_to_make_it() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in FOLDER.iterdir())
    assert not re.search(r"(?i)(password|secretkey|fernetkey|token|connection)\s*[:=]\s*[\"']?[a-z0-9]{6}", text)
    named = {VALUES["values"][f"{one}Name"] for one in ("fernetKeySecret", "apiSecretKeySecret", "jwtSecret")}
    named |= {VALUES["values"]["data"]["metadataSecretName"], VALUES["celery"]["data"]["brokerUrlSecretName"]}
    named |= {one["secretRef"]["name"] for one in from_names("secretRef")}
    assert len(named) == 6
    for name in named:
        assert f"create secret generic {name} " in PAGE, name


def from_names(kind: str) -> list[dict[str, dict[str, str]]]:
    return [one for one in yaml.safe_load(VALUES["values"]["extraEnvFrom"]) if kind in one]


def test_settings_are_one_file_for_one_machine_and_for_a_cluster() -> None:
    (settings,) = from_names("configMapRef")
    name = settings["configMapRef"]["name"]
    assert f"create configmap {name} --from-env-file=dags/airflow.env" in PAGE
    shared = dag_test.shared_settings()
    assert shared.items() <= dag_test.environment().items()
    again = [one["name"] for one in VALUES["values"]["env"] if one["name"].startswith("AIRFLOW__")]
    assert not again, "a variable of a pod hides the shared one"
    for section, options in VALUES["values"]["config"].items():
        assert not {f"AIRFLOW__{section.upper()}__{option.upper()}" for option in options} & set(shared)


def test_settings_are_airflows() -> None:
    (place,) = find_spec("airflow").submodule_search_locations  # pyright: ignore[reportOptionalMemberAccess, reportGeneralTypeIssues]
    known = yaml.safe_load((Path(place) / "config_templates" / "config.yml").read_text(encoding="utf-8"))
    for variable in dag_test.shared_settings():
        _, section, option = variable.lower().split("__")
        assert option in known[section]["options"], variable
    for option in VALUES["values"]["config"]["logging"]:
        assert option in known["logging"]["options"]


def test_a_tasks_token_outlives_the_task() -> None:
    tree = ast.parse((PROJECT / "dags" / "verbs.py").read_text(encoding="utf-8"))
    (longest,) = [
        timedelta(**{one.arg: ast.literal_eval(one.value) for one in value.keywords if one.arg})
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "execution_timeout" and isinstance(value, ast.Call)
    ]
    seconds = int(dag_test.shared_settings()["AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME"])
    assert seconds >= longest.total_seconds() + 3600
    assert seconds < 86_400, "Celery gives a task to another worker after a day"


def test_volumes_are_claimed_and_ours_lie_on_them() -> None:
    values = VALUES["values"]
    claimed = {
        document["metadata"]["name"]: document["spec"]["accessModes"]
        for path in (FOLDER / "before.yaml", PROJECT / "deploy" / "kubernetes" / "home.yaml")
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    }
    wanted = {
        one["name"]: one["persistentVolumeClaim"]["claimName"]
        for one in values["volumes"]
        if "persistentVolumeClaim" in one
    }
    assert set(wanted.values()) == set(claimed)
    assert all(modes == ["ReadWriteMany"] for modes in claimed.values())
    mounted = {one["mountPath"]: one["name"] for one in values["volumeMounts"]}
    told = {one["name"]: one["value"] for one in values["env"]}
    assert mounted[told["LLMCF_HOME"]] == "home"
    for name in ("LLMCF_RUNS", "LLMCF_TRITON_MODELS"):
        assert mounted[str(Path(told[name]).parent)] == "releases"
    assert mounted[str(Path(told["LLMCF_DAG_PARAMETERS"]).parent)] == "parameters"
    assert "configmap llmcf-airflow-parameters --from-file=parameters.json" in PAGE
    assert set(told) <= VARIABLES | {"LLMCF_DAG_PARAMETERS"}


def test_pools_are_those_of_the_dags_by_the_same_image_and_secrets() -> None:
    (job,) = yaml.safe_load_all((FOLDER / "pools.yaml").read_text(encoding="utf-8"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    values = VALUES["values"]
    assert container["image"] == f"{values['defaultAirflowRepository']}:{values['defaultAirflowTag']}"
    assert container["args"] == shlex.split("airflow pools import /opt/airflow/dags/pools.json")
    assert (PROJECT / "dags" / "pools.json").exists()
    refs = {one["valueFrom"]["secretKeyRef"]["name"] for one in container["env"]}
    assert refs == {values["data"]["metadataSecretName"], values["fernetKeySecretName"]}
    assert container["envFrom"] == from_names("configMapRef")


def test_nothing_is_open_or_runs_as_root() -> None:
    values = VALUES["values"]
    assert values["apiServer"]["service"]["type"] == "ClusterIP"
    assert values["createUserJob"]["defaultUser"]["enabled"] is False
    assert "ingress" not in values
    pod = values["securityContexts"]["pod"]
    assert pod["runAsNonRoot"] and pod["runAsUser"] == values["uid"] == 10001
    base = (PROJECT / "deploy" / "Containerfile").read_text(encoding="utf-8")
    assert "--uid 10001" in base
    assert CONTAINER.rindex("USER llmcf") > CONTAINER.rindex("USER root")


def test_the_image_has_the_dags_airflow_and_what_the_chart_calls() -> None:
    copied = [shlex.split(line) for line in re.findall(r"^COPY (.*)$", CONTAINER, flags=re.MULTILINE)]
    sources = [word for line in copied for word in line[:-1] if not word.startswith("--")]
    assert all((PROJECT / one).exists() for one in sources)
    assert ["dags", "/opt/airflow/dags"] in copied
    targets = {line[-1] for line in copied}
    assert {"/entrypoint", "/clean-logs"} <= targets, "its probes and its log groomers"
    assert re.search(r"build\.sh airflow \.envs/airflow", CONTAINER)
    assert "PYTHONPATH=/opt/airflow/dags" in CONTAINER, "the triggerer imports alerts"
    assert CONTAINER.index(".envs/airflow/bin") < CONTAINER.index(".venv/bin"), "`python` is Airflow's"
    for script in FOLDER.glob("*.sh"):
        assert script.stat().st_mode & 0o111
