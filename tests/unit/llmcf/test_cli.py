"""The command line: mistakes are answered with the value and the choices, exit code 2, no traceback."""

import json
import os
import subprocess
import sys

import pytest

from core.data.datasets import DATASETS
from llmcf.verbs import options


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
    assert tuple(DATASETS) == options.DATASETS


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, llmcf.cli;"
        "heavy = {'torch', 'feast', 'pandas', 'polars', 'pyarrow', 'numpy', 'transformers', 'pymilvus', 'airflow'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
