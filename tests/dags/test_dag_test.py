"""A day's DAGs run to their end in a real Airflow, with verbs that only say that they were called."""

from pathlib import Path

import pytest

from core.errors import LlmcfError
from core.settings import Workspace
from llmcf import dag_test
from llmcf.demo import PIPELINE

VERB = """#!/bin/sh
echo "$1 $2" >> "$CALLED"
if [ "$1" = export ] || [ "$2" = promote ]; then
    echo "{\\"details\\": {\\"release\\": 7, \\"live\\": ${LIVE:-true}}}"
    echo "a warning at the end" >&2
fi
if [ "$1 $2" = "$FAILS" ]; then echo "llmcf: it cannot be done" >&2; exit 2; fi
"""
WS = Workspace("movielens-100k", "published")


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the verbs note that they were called, a line each."""
    (tmp_path / "llmcf").write_text(VERB)
    (tmp_path / "llmcf").chmod(0o755)
    real = dag_test.environment
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CALLED", str(tmp_path / "called"))
    monkeypatch.setattr(dag_test, "environment", lambda: {**real(), "PATH": f"{tmp_path}:{real()['PATH']}"})
    return tmp_path / "called"


def test_every_dag_ends_well_and_the_verbs_come_in_the_demos_order(called: Path) -> None:
    result = dag_test.test(WS, seed=1)
    verbs = [line.removesuffix(" --dataset").removesuffix(" --check") for line in called.read_text().splitlines()]
    verbs.remove("release promote")  # the demo's export does both
    demo = [verb.words for verb in PIPELINE if verb.words not in {"llm fetch", "dag test"}]
    assert sorted(verbs) == sorted(demo)
    assert [one for one in verbs if one != "data report"] == [one for one in demo if one != "data report"]
    assert result.details["tasks"] == len(verbs) + 2, "and that which promotes, and the one that says how many write"


def test_a_release_that_does_not_go_live_is_not_looked_at_and_all_ends_well(
    called: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dag_test, "CHAIN", ["release"])
    monkeypatch.setenv("LIVE", "false")
    assert dag_test.test(WS, seed=1).details["state"] == "success"
    assert [line.split(" --")[0] for line in called.read_text().splitlines()] == [
        "audit leaks",
        "export",
        "release promote",
    ]


def test_a_release_that_fails_the_last_look_is_gone_back_from_and_the_run_fails(
    called: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dag_test, "CHAIN", ["release"])
    monkeypatch.setenv("FAILS", "serve --dataset")
    with pytest.raises(LlmcfError, match="serve says 'llmcf: it cannot be done'"):
        dag_test.test(WS, seed=1)
    assert called.read_text().splitlines()[-2:] == ["serve --dataset", "release rollback"]


def test_a_verb_that_fails_ends_it_and_is_named(called: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILS", "features join")
    with pytest.raises(LlmcfError, match="features_join says 'llmcf: it cannot be done'"):
        dag_test.test(WS, seed=1)
    assert called.read_text().splitlines()[-1] in {"features join", "data report"}
