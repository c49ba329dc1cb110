"""What is printed is valid JSON, whatever was measured or typed."""

import json
import subprocess
import sys

from core.settings import PROJECT

ODD = """
from core.result import Result
from llmcf.show import run
run(lambda: Result(verb="test", metrics={"test": {"auc": float("nan")}}, details={"user": chr(0xDC80)}), as_json=True)
"""


def test_a_lone_surrogate_is_escaped() -> None:
    done = subprocess.run([sys.executable, "-c", ODD], cwd=PROJECT, capture_output=True, check=True)
    printed = json.loads(done.stdout.decode("utf-8"), parse_constant=lambda _: "bad")
    assert printed["metrics"] == {"test": {"auc": None}}
    assert printed["details"]["user"] == chr(0xDC80)
