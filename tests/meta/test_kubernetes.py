"""The manifests of deploy/ say what the project knows: they parse, and their commands, variables and versions exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmcf import reference
from tests.meta.test_layout import PROJECT
from tests.meta.test_remedies import TARGETS, parse

FILES = sorted((PROJECT / "deploy" / "kubernetes").glob("*.yaml"))
VARIABLES = {row[0].strip("`") for row in reference.variables()}


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def found(value: Any, key: str) -> Iterator[Any]:
    """The values of a key, wherever it stands."""
    if isinstance(value, dict):
        yield from (inner for name, inner in value.items() if name == key)
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from found(inner, key)


def containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [container for some in found(document, "containers") for container in some]


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container.get("env", [])}


def commands(document: dict[str, Any]) -> list[str]:
    """The command lines of ours, from the name of the program on."""
    lines = [shlex.join([*one["command"], *one["args"]]) for one in containers(document) if "command" in one]
    lines += found(document, "entrypoint")
    return [f"llmcf {line.split('/bin/llmcf ', 1)[1]}" for line in lines]


def test_there_are_manifests_of_each_way() -> None:
    kinds = [document["kind"] for path in FILES for document in documents(path)]
    assert sorted(kinds) == ["Job", "Job", "PersistentVolumeClaim", "RayJob"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_commands_variables_and_targets_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"\bLLMCF_[A-Z_]+\b", text)) <= VARIABLES
    for targets in re.findall(r"`make ([a-z -]+)`", text):
        assert set(targets.split()) <= set(TARGETS)
    for document in documents(path):
        assert document["apiVersion"]
        assert document["metadata"]["name"].startswith("llmcf-")
        for line in commands(document):
            parse(line)
        for container in containers(document):
            assert all(isinstance(value, str) for value in variables(container).values()), "Kubernetes takes strings"
            assert all(isinstance(word, str) for word in container.get("args", []))
            assert variables(container)["LLMCF_HOME"] in [mount["mountPath"] for mount in container["volumeMounts"]]


def test_every_claim_is_the_one_there_is_and_many_may_write_to_it() -> None:
    claims = {document["metadata"]["name"]: document for path in FILES for document in documents(path)}
    named = {name for path in FILES for document in documents(path) for name in found(document, "claimName")}
    assert named == {"llmcf-home"}
    assert claims["llmcf-home"]["spec"]["accessModes"] == ["ReadWriteMany"]


def test_an_indexed_job_says_of_how_many_and_the_job_after_it_asks_for_the_rest() -> None:
    parts, table = documents(PROJECT / "deploy" / "kubernetes" / "cot-indexed-job.yaml")
    spec = parts["spec"]
    (container,) = containers(parts)
    assert spec["completionMode"] == "Indexed"
    assert str(spec["completions"]) == variables(container)["LLMCF_SHARDS"]
    (rule,) = found(spec, "onExitCodes")
    assert rule["containerName"] == container["name"]
    assert commands(table) == [f"{commands(parts)[0]} --shard off"]


def test_a_ray_job_runs_the_ray_of_its_environment_with_a_gpu_an_actor() -> None:
    (job,) = documents(PROJECT / "deploy" / "kubernetes" / "cot-rayjob.yaml")
    lock = (PROJECT / "requirements" / "ray.lock.txt").read_text(encoding="utf-8")
    (version,) = found(job, "rayVersion")
    assert f"ray=={version}\n" in lock
    assert "--engine ray:" in job["spec"]["entrypoint"]
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert {group["replicas"], group["minReplicas"], group["maxReplicas"]} == {
        int(variables(containers(group)[0])["LLMCF_RAY_ACTORS"])
    }
    (limits,) = found(group, "limits")
    assert str(limits["nvidia.com/gpu"]) == variables(containers(group)[0])["LLMCF_RAY_GPUS"]
    assert all(variables(container)["PATH"].startswith("/app/.envs/ray/bin:") for container in containers(job))
