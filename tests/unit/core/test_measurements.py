"""Lines of figures: added once, beside other processes, and readable after a torn one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from core import measurements
from core.settings import PROJECT

ADD = """
import sys
from pathlib import Path
from core import measurements
for number in range(40):
    line = {"who": sys.argv[2], "number": number, "x": "y" * 3000}
    for who in (sys.argv[2], "all"):  # the second is of all three
        measurements.append(Path(sys.argv[1]), line | {"who": who}, same=("who", "number"))
"""


def test_a_line_is_added_once(tmp_path: Path) -> None:
    path = tmp_path / "task" / "a.jsonl"
    for auc in (0.5, 0.6):
        measurements.append(path, {"seed": 1, "auc": auc}, same=("seed",))
    measurements.append(path, {"seed": 2, "auc": 0.7}, same=("seed",))
    assert [line["auc"] for line in measurements.read(path)] == [0.5, 0.7]


def test_what_was_measured_before_something_else_may_be_shown_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"

    def add(seed: int, precision: str) -> None:
        line = {"seed": seed, "precision": precision}
        measurements.append(path, line, same=("seed", "precision"), cell=lambda one: one["seed"])

    for precision in ("float32", "float32", "bfloat16", "float32", "float32"):
        add(1, precision)
    add(2, "float32")
    shown = [(line["seed"], line["precision"]) for line in measurements.read(path)]
    assert shown == [(1, "float32"), (1, "bfloat16"), (1, "float32"), (2, "float32")]


def test_a_torn_line_is_told_and_spoils_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"seed": 1}\n{"seed": 2, "au')
    assert measurements.read(path) == [{"seed": 1}]
    assert "line 2 is torn" in capsys.readouterr().err
    measurements.append(path, {"seed": 3}, same=("seed",))
    assert measurements.read(path) == [{"seed": 1}, {"seed": 3}]


def test_processes_add_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    workers = [subprocess.Popen([sys.executable, "-c", ADD, str(path), who], cwd=PROJECT) for who in "abc"]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    assert {(line["who"], line["number"]) for line in lines} == {(who, n) for who in (*"abc", "all") for n in range(40)}
    assert len(lines) == 160, "each once"
