"""What is printed is valid JSON, whatever was measured or typed."""

import json
import subprocess
import sys

from core.settings import PROJECT
from llmcf import show

ODD = """
from core.result import Result
from llmcf.show import run
run(lambda: Result(verb="test", metrics={"test": {"auc": float("nan")}}, details={"user": chr(0xDC80)}), as_json=True)
"""


def test_what_is_no_number_is_null() -> None:
    value = {"auc": float("nan"), "nested": [1.5, (float("inf"), "NaN")], "whole": 3}
    assert json.loads(show.json_text(value), parse_constant=lambda _: "bad") == {
        "auc": None,
        "nested": [1.5, [None, "NaN"]],
        "whole": 3,
    }


def test_a_lone_surrogate_is_escaped() -> None:
    done = subprocess.run([sys.executable, "-c", ODD], cwd=PROJECT, capture_output=True, check=True)
    printed = json.loads(done.stdout.decode("utf-8"), parse_constant=lambda _: "bad")
    assert printed["metrics"] == {"test": {"auc": None}}
    assert printed["details"]["user"] == chr(0xDC80)
