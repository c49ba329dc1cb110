"""What OpenLineage is told of a day, by a real Airflow, is what the steps' manifests say."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from core import steps, storage
from core.errors import LlmcfError
from core.settings import Workspace
from ict import index
from llm import models
from llm.cot import embed, generate
from llm.recgen import mixing, score, train
from llmcf import dag_test
from llmcf.feature_store import jobs, registry
from llmcf.lineage import home
from ranking import trainer as ranking
from retrieval_stage import trainer as retrieval
from tests import official_files

DAGS = Path(__file__).resolve().parents[2] / "dags"
OTHERS = ("ingest_interactions", "backfill_metrics", "monitor", "housekeeping")  # `dag test` runs the rest
DATASET, NAMESPACE, ENCODER = "movielens-100k", "plant/movielens-100k", "all-minilm-l6-v2"
VERB = """#!/bin/sh
if [ "$1" = export ] || [ "$2" = promote ]; then echo '{"details": {"release": 7, "live": true}}'; fi
if [ "$1 $2" = "$FAILS" ]; then echo "llmcf: it cannot be done" >&2; exit 2; fi
"""
VIEWS = {"user_profile", "user_history", "item_attributes", "item_popularity", "item_neighbours"}
ONLINE = {f"online_store_{view}" for view in VIEWS}
RANKER, TOWER = "ranking/deepfm-llm-cf-strict-s1", "retrieval/sasrec-llm-cf-strict-s1"
TOLD = {  # by job: what it reads and writes
    "ingest_interactions.features_push": ({"events"}, {"pushed"}),
    "materialize_features.data_prepare": ({"raw", "pushed"}, {"data"}),
    "materialize_features.features_apply": ({"features"}, VIEWS | {"user_item"}),
    "materialize_features.features_join": ({"data", "features"}, {"training"}),
    "materialize_features.features_materialize": (VIEWS | {"user_item"}, ONLINE),
    "train_recgen.recgen_train": (
        {"data", "training", "models/llm/smollm2-135m-instruct", "instructions"},
        {"recgen/recgen-s1"},
    ),
    "train_recgen.recgen_score": ({"data", "training", "recgen/recgen-s1"}, set()),  # skipped: nothing is pinned
    "refresh_cot_index.cot_workers": (set(), set()),
    "refresh_cot_index.cot_generate": ({"data", "training", "recgen/recgen-s1"}, {"cot/texts"}),
    "refresh_cot_index.cot_index": ({"training", "cot/texts", "cot/vectors"}, {"cot/index"}),
    "train_ranking.rank_train": ({"data", "training", "cot/texts", "cot/vectors"}, {RANKER}),
    "train_retrieval.retrieve_train": ({"data", "training", "cot/texts", "cot/vectors"}, {TOWER}),
    "release.export": ({RANKER, TOWER, "data", "training", "cot/vectors", "cot/index"}, {"release"}),
    "release.release_check": ({"release", "data"}, set()),  # skipped: `never`
    "release.serve": ({"release"}, {"release:live"}),
    "release.roll_back": (set(), set()),  # skipped: the last look was well
    "backfill_metrics.backfill_metrics": ({"release:live", "data"}, {"metrics"}),
    "monitor.monitor": ({"data", "cot/texts", "cot/vectors", RANKER, TOWER, "release:live"}, {"monitoring"}),
    "housekeeping.workspace_prune": (set(), set()),
}
needs_provider = pytest.mark.skipif(not find_spec("openlineage"), reason="make env-main")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], list[dict[str, Any]]]:
    """Runs DAGs with verbs that do nothing, but for the one that fails; gives the events that they emit."""
    folder = tmp_path_factory.mktemp("told")
    (folder / "llmcf").write_text(VERB)
    (folder / "llmcf").chmod(0o755)
    real = dag_test.environment

    def run(chain: str, fails: str) -> list[dict[str, Any]]:
        events = folder / f"{fails.replace(' ', '-')}.jsonl"
        given = {
            "PATH": f"{folder}:{real()['PATH']}",
            "FAILS": fails,
            "OPENLINEAGE_NAMESPACE": "plant",
            "OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": str(events), "append": True}),
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LLMCF_HOME", str(folder / "home"))
            patch.setattr(dag_test, "environment", lambda: {**real(), **given})
            patch.setattr(dag_test, "SMALL", {**dag_test.SMALL, "events": str(folder)})
            patch.setattr(dag_test, "CHAIN", tuple(chain.split()))
            with suppress(*([LlmcfError] if fails else [])):
                dag_test.test(Workspace(DATASET, "published", "2026-01-31"), seed=1)
        return [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]

    return run


@pytest.fixture(scope="module")
def day(told: Callable[[str, str], list[dict[str, Any]]]) -> dict[tuple[str, str], dict[str, Any]]:
    """The events of a day by job and kind."""
    found = told(" ".join([*dag_test.CHAIN, *OTHERS]), "")
    return {(one["job"]["name"], one["eventType"]): one for one in found}


def names(event: dict[str, Any], side: str) -> set[str]:
    assert {one["namespace"] for one in event[side]} <= {NAMESPACE}
    return {one["name"] for one in event[side]}


@needs_provider
@pytest.mark.parametrize("job", TOLD)
def test_a_task_tells_what_it_reads_when_it_starts_and_what_it_wrote_when_it_is_done(
    day: dict[tuple[str, str], dict[str, Any]], job: str
) -> None:
    reads, writes = TOLD[job]
    start, complete = (day[job, kind] for kind in ("START", "COMPLETE"))
    assert (names(start, "inputs"), names(start, "outputs")) == (reads, set())
    assert (names(complete, "inputs"), names(complete, "outputs")) == (reads, writes)
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert start["job"]["namespace"] == "plant"


@needs_provider
def test_the_version_is_the_day_of_what_has_days(day: dict[tuple[str, str], dict[str, Any]]) -> None:
    versions = {
        one["name"]: one["facets"].get("version", {}).get("datasetVersion")
        for event in day.values()
        for one in event["inputs"] + event["outputs"]
    }
    assert {versions[name] for name in ("data", "cot/texts", RANKER, *VIEWS)} == {"2026-01-31"}
    assert {versions[name] for name in ("raw", "pushed", "release", "release:live", "metrics")} == {None}


@needs_provider
def test_what_is_read_is_what_another_task_wrote(day: dict[tuple[str, str], dict[str, Any]]) -> None:
    read = {name for event in day.values() for name in names(event, "inputs")}
    written = {name for event in day.values() for name in names(event, "outputs")}
    given = {"raw", "events", "instructions", "models/llm/smollm2-135m-instruct", f"models/encoder/{ENCODER}"}
    assert read - written == given


@needs_provider
def test_a_task_that_fails_says_so_and_wrote_nothing(told: Callable[[str, str], list[dict[str, Any]]]) -> None:
    found = {(one["job"]["name"], one["eventType"]): one for one in told("materialize_features", "features join")}
    failed = found["materialize_features.features_join", "FAIL"]
    assert (names(failed, "inputs"), names(failed, "outputs")) == ({"data", "features"}, set())
    assert "exit code 2" in failed["run"]["facets"]["errorMessage"]["message"]
    assert ("materialize_features", "FAIL") in found, "the run of the DAG, too"
    assert ("materialize_features.features_materialize", "START") not in found


@needs_provider
def test_nothing_is_told_unless_it_is_switched_on(tmp_path: Path) -> None:
    code = """
import sys
from airflow.providers.openlineage.plugins.openlineage import OpenLineageProviderPlugin
print(len(OpenLineageProviderPlugin.listeners))
"""
    environment = {**dag_test.environment(), "AIRFLOW_HOME": str(tmp_path)}
    done = [
        subprocess.run(
            [sys.executable, "-c", code], env=environment | told, capture_output=True, text=True, check=True
        ).stdout.splitlines()[-1]
        for told in ({}, {"OPENLINEAGE_URL": "http://127.0.0.1:1"})
    ]
    assert done == ["0", "1"]


DECLARED = """
import json, os, pathlib, sys
from airflow.dag_processing.dagbag import BundleDagBag
folder = sys.argv[1]
bag = BundleDagBag(dag_folder=folder, bundle_path=pathlib.Path(folder), bundle_name="dags-folder")
import assets, verbs
given = {name: str(param.value) for name, param in verbs.PARAMETERS.items()} | {"as_of": ""}
found = {}
for dag in bag.dags.values():
    for task in dag.tasks:
        more = task.partial_kwargs if task.is_mapped else vars(task)
        sides = (more.get("inlets", []), [*more.get("outlets", []), *more.get("also_writes", [])])
        found[task.task_id] = [[one.name for one in assets.datasets(side, given)] for side in sides]
plain = assets.datasets([assets.RETRIEVER], given | {"retriever_framework": "none"})
found["a plain retriever"] = [[], [one.name for one in plain]]
print("DECLARED" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[set[str], set[str]]]:
    """What each task reads and writes under the parameters' defaults."""
    environment = {**dag_test.environment(), "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow"))}
    done = subprocess.run(
        [sys.executable, "-c", DECLARED, str(DAGS)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("DECLARED"))
    return {task: (set(reads), set(writes)) for task, (reads, writes) in json.loads(line[len("DECLARED") :]).items()}


def test_a_retriever_with_a_framework_of_its_own_is_named_by_that(
    declared: dict[str, tuple[set[str], set[str]]],
) -> None:
    assert declared["a plain retriever"] == (set(), {"retrieval/sasrec-none-best-s2023"})


class StampedError(Exception):
    """A step has its manifest, and its work is not done."""


@pytest.fixture
def manifests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace in which each verb of a day has stamped its step, real but for the work."""
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    ws = Workspace(DATASET, "shuffled-ties")
    official_files.prepared(ws, official_files.write(tmp_path / "home" / "raw"))
    real = steps.run

    def stamped(step: steps.Step, work: Any, **_: Any) -> None:
        del work
        there = tmp_path / "there" / storage.digest(str(step.folder))
        if step.folder.exists():
            shutil.copytree(step.folder, there, ignore=shutil.ignore_patterns(steps.STAMP))
        else:
            there.mkdir(parents=True)
            (there / "made").touch()
        real(
            step,
            lambda folder: (
                shutil.copytree(there, folder, dirs_exist_ok=True) and {"collection": "v1", "model": "recgen-s2023"}
            ),
        )
        raise StampedError(step.folder)

    def filled(folder: Path) -> Path:
        with suppress(StampedError):
            stamped(steps.Step(folder=folder, config={}), None)
        return folder

    writer, encoder = (filled(models.home(*kind)) for kind in (("llm", models.LLM), ("encoder", ENCODER)))
    monkeypatch.setattr(models, "llm_path", lambda _: writer)
    monkeypatch.setattr(models, "encoder_path", lambda _: encoder)
    monkeypatch.setattr(models, "model_hash", lambda path: storage.digest(path.name))
    monkeypatch.setattr(steps, "run", stamped)
    for module, name in ((registry, "require_applied"), (index, "_last_asked"), (index, "_gone")):
        monkeypatch.setattr(module, name, lambda *_: "")
    for verb in (
        lambda: jobs.join(ws),
        lambda: train.train(ws, train.TuningConfig(method="recgen", seed=2023)),
        lambda: score.score(ws, model="recgen", seed=2023, rows=None),
        lambda: generate.generate(ws, generate.GenerateConfig(model="recgen", seed=2023)),
        lambda: embed.embed(ws),
        lambda: index.index(ws, kind="FLAT"),
        lambda: ranking.train(ws, model="deepfm", framework="llm-cf", recipe="best", seed=2023),
        lambda: ranking.train(ws, model="deepfm", framework="none", recipe="best", seed=2023),
        lambda: retrieval.train(ws, model="sasrec", framework="llm-cf", recipe="best", seed=2023),
        lambda: retrieval.train(ws, model="sasrec", framework="none", recipe="best", seed=2023),
    ):
        with pytest.raises(StampedError):
            verb()
    return ws


TASKS = {
    "data": "data_prepare",
    "features": "features_build",
    "training": "features_join",
    "recgen/recgen-s2023": "recgen_train",
    "scores/recgen-s2023": "recgen_score",
    "cot/texts": "cot_generate",
    "cot/vectors": "cot_embed",
    "cot/index": "cot_index",
    "ranking/deepfm-none-best-s2023": "rank_train_none",
    "ranking/deepfm-llm-cf-best-s2023": "rank_train",
    "retrieval/sasrec-none-best-s2023": "retrieve_train_none",
    "retrieval/sasrec-llm-cf-best-s2023": "retrieve_train",
}


def test_names_are_those_of_the_manifests(declared: dict[str, tuple[set[str], set[str]]], manifests: Workspace) -> None:
    graph = home.read()
    place = steps.name_of(manifests.root) + "/"

    def named(one: str) -> str:
        if one == steps.name_of(mixing.general_file()):
            return "instructions"
        return "raw" if graph.nodes[one].kind == "raw file" else one.removeprefix(place)

    for folder, task in TASKS.items():
        reads, writes = declared[task]
        assert writes == {folder}, task
        inputs = {named(one) for one in graph.inputs(place + folder)}
        beside = {"pushed"} if task == "data_prepare" else set()  # in the configuration, by digest
        if task == "cot_generate":  # the pinned model, where none is named; here the day's own
            reads = {"recgen/recgen-s2023" if one == "llm-pin" else one for one in reads}
        assert inputs == reads - beside, task
