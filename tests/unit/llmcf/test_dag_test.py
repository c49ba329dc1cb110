"""What `dag test` says of a task that failed."""

from pathlib import Path

import pytest

from core.errors import UsageError
from core.settings import Workspace
from llmcf import dag_test

HOOK = "[airflow.task.hooks.airflow.providers.standard.hooks.subprocess.SubprocessHook] loc=subprocess.py:106"
RUNNING = "2026-01-01T00:00:00Z [info     ] [DAG TEST] running task <TaskInstance: llmcf_daily.{} manual__1 [x]>"
STATE = "2026-01-01T00:00:00Z [info     ] Task instance state updated    [airflow.api] new_state=failed"


def log(*tasks: tuple[str, list[str], int]) -> list[str]:
    lines = ["You might need to install the graphviz package"]
    for task, said, code in tasks:
        said = [*said, f"Command exited with return code {code}"]
        lines += [RUNNING.format(task), *(f"2026-01-01T00:00:00Z [info     ] {text} {HOOK}" for text in said), STATE]
    return [*lines, *["2026-01-01T00:00:00Z [warning  ] No tasks to run. unrunnable tasks: ..."] * 200]


def test_the_failing_verbs_last_error_is_named() -> None:
    lines = log(
        ("data_prepare", ["llmcf: reading", "done"], 0),
        ("recgen_train", [], 99),
        ("cot_generate", ["writing", "llmcf: no model server answers", "nanobind: leaked"], 1),
    )
    assert dag_test.cause(lines) == "cot_generate says 'llmcf: no model server answers'"


def test_without_an_error_of_ours_it_is_the_last_line() -> None:
    assert dag_test.cause(log(("export", ["Killed"], 137))) == "export says 'Killed'"


def test_nothing_failed() -> None:
    assert dag_test.cause(log(("export", ["fine"], 0))) is None


def test_a_home_that_airflow_cannot_use_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "50%"))
    with pytest.raises(UsageError, match="no folder with %"):
        dag_test.test(Workspace("movielens-100k", "published"), seed=1)


def test_a_database_that_was_not_migrated_to_its_end_is_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite makes its file at the start; a home of another Airflow has one, too."""
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    (tmp_path / "airflow").mkdir()
    (tmp_path / "airflow" / "airflow.db").touch()
    called: list[str] = []

    def played(name: str, command: list[str], *, log: Path) -> None:
        called.append(name)
        log.write_text("", encoding="utf-8")

    monkeypatch.setattr(dag_test, "_airflow", played)
    for _ in range(2):
        dag_test.test(Workspace("movielens-100k", "published"), seed=1)
    (tmp_path / "airflow" / "migrated").write_text("3.0.0", encoding="utf-8")
    dag_test.test(Workspace("movielens-100k", "published"), seed=1)
    assert called == ["db migrate", "dags test", "dags test", "db migrate", "dags test"]
