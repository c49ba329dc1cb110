"""The command line: mistakes are answered with the value and the choices, exit code 2, no traceback."""

import errno
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from core.data.kept import BUILT_IN
from llmcf import cli
from tests.shop import Shop


def llmcf(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llmcf", *arguments], capture_output=True, text=True, env={**os.environ, **environment}
    )


@pytest.mark.parametrize(
    ("arguments", "value", "choice"),
    [
        (["fly"], "fly", "recommend"),
        (["cot", "fly"], "fly", "generate"),
        (["data", "prepare", "--dataset", "netflix"], "netflix", "amazon-beauty"),
        (["data", "prepare", "--engine", "hive"], "hive", "spark"),
        (["rank", "train", "--recipe", "loose"], "loose", "strict"),
        (["rank", "train", "--framework", "magic"], "magic", "llm-cf"),
        (["rank", "train", "--order", "random"], "random", "shuffled-ties"),
        (["rank", "train", "--as-of", "yesterday"], "yesterday", "latest"),
        (["rank", "train", "--model", "bert"], "bert", "deepfm"),
        (["retrieve", "train", "--model", "bert"], "bert", "sasrec"),
        (["retrieve", "train", "--framework", "kar"], "kar", "none, llm-cf"),
        (["retrieve", "train", "--recipe", "loose"], "loose", "strict"),
        (["backfill", "retrieval", "--recipes", "best,loose"], "loose", "strict"),
        (["cot", "generate", "--engine", "gpt"], "gpt", "vllm"),
    ],
)
def test_an_unknown_name_is_answered_with_the_choices(arguments: list[str], value: str, choice: str) -> None:
    done = llmcf(*arguments)
    assert done.returncode == 2
    assert value in done.stderr
    assert choice in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [["rank", "train", "--seed", "-1"], ["recommend"], ["data", "prepare", "--nope"]])
def test_a_bad_option_exits_with_2(arguments: list[str]) -> None:
    done = llmcf(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "movielens-100k").write_text("no folder")
    done = llmcf("features", "build", LLMCF_HOME=str(tmp_path))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert str(tmp_path) in done.stderr


def test_an_error_of_the_disk_names_the_file_and_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    refused = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "x"))
    said = cli._of_the_disk(refused)
    assert said == f"{tmp_path}/x cannot be used (Permission denied); mend it, or name another folder by LLMCF_HOME"
    assert cli._of_the_disk(PermissionError(errno.EACCES, "Permission denied", "/elsewhere")) is None
    assert "disk is full" in str(cli._of_the_disk(OSError(errno.ENOSPC, "No space left")))
    assert "disk is full" in str(cli._of_the_disk(sqlite3.OperationalError("database or disk is full")))
    assert cli._of_the_disk(sqlite3.OperationalError("database is locked")) is None


@pytest.mark.parametrize(("name", "code", "said"), [("05.jsonl", 1, "it may come later"), (".", 2, "cannot read")])
def test_a_file_of_events_that_is_not_there_may_come(tmp_path: Path, name: str, code: int, said: str) -> None:
    """The DAG that pushes them tries again, unless the request is wrong."""
    done = llmcf("features", "push", "--file", str(tmp_path / name), LLMCF_HOME=str(tmp_path / "home"))
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1)
    assert said in done.stderr


@pytest.mark.parametrize(
    "verb", [["data", "add", "shop"], ["data", "prepare"], ["data", "prepare", "--dataset", "shop"]]
)
def test_a_name_that_no_disk_takes_is_one_line(tmp_path: Path, verb: list[str]) -> None:
    done = llmcf(*verb, "--source", str(tmp_path / ("x" * 300)), LLMCF_HOME=str(tmp_path / "home"))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "is longer than the name of a file may be" in done.stderr


def test_a_verb_out_of_order_names_the_verb_to_run_first(tmp_path) -> None:
    done = llmcf("features", "build", LLMCF_HOME=str(tmp_path))
    assert done.returncode != 0
    assert "llmcf data prepare" in done.stderr
    assert "Traceback" not in done.stderr


NOISY = """
import os
from core.result import Result
from llmcf.show import run

def noisy():
    print("from Python")
    os.write(1, b"from C")
    return Result(verb="test", seed=7, metrics={"test": {"auc": 0.5}})

run(noisy, as_json=True)
"""


def test_json_is_the_only_thing_on_stdout_even_when_a_library_prints() -> None:
    done = subprocess.run([sys.executable, "-c", NOISY], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["metrics"] == {"test": {"auc": 0.5}}
    assert {"verb", "dataset", "recipe", "order", "seed", "artifacts", "metrics"} <= set(result)
    assert "from C" in done.stderr
    assert "from Python" in done.stderr


def test_help_names_every_data_set() -> None:
    done = llmcf("data", "prepare", "--help", COLUMNS="200")
    assert all(name in done.stdout for name in (*BUILT_IN, "data add"))


def test_help_offers_each_stage_its_own_frameworks() -> None:
    offered = {stage: llmcf(stage, "train", "--help", COLUMNS="200").stdout for stage in ("rank", "retrieve")}
    assert "none | kd | kar | llm-cf | llm-cf+kd" in offered["rank"]
    assert "none | llm-cf" in offered["retrieve"]
    assert "kar" not in offered["retrieve"]


def test_a_data_set_of_ones_own_is_prepared_by_name_in_its_own_order(tmp_path: Path) -> None:
    shop = Shop()
    shop.toml = {"order": "published", **shop.toml}
    shop.write(tmp_path / "export")
    home = {"LLMCF_HOME": str(tmp_path / "home")}
    assert llmcf("data", "add", "my-shop", "--source", str(tmp_path / "export"), **home).returncode == 0
    done = llmcf("data", "prepare", "--dataset", "my-shop", "--as-of", "2025-W10-2", "--json", **home)
    result = json.loads(done.stdout)
    assert (result["order"], result["as_of"]) == ("published", "2025-03-04")
    assert "interactions from 2025-03-01" in done.stderr
    unknown = llmcf("features", "build", "--dataset", "your-shop", **home)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "my-shop; or add your own: llmcf data add" in unknown.stderr


def test_json_holds_no_number_that_json_has_not() -> None:
    script = NOISY.replace('"auc": 0.5', '"auc": float("nan"), "loss": [float("inf"), 1.5]')
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(name))
    assert found["metrics"] == {"test": {"auc": None, "loss": [None, 1.5]}}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, llmcf.cli;"
        "heavy = {'torch', 'feast', 'pandas', 'polars', 'pyarrow', 'numpy', 'transformers', 'pymilvus', 'airflow'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
