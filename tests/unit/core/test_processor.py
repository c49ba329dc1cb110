"""Denormal numbers are taken for zero in every thread, whenever the threads were started; looked at in child processes.

Some processors compute with them as fast as with others: it is the numbers that tell, not the time.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core import processor
from core.settings import PROJECT

_PLAIN, _OURS = "torch.set_flush_denormal(True)", "processor.flush_denormals(torch.set_flush_denormal)"
_CHILD = """
import json, torch
from core import processor
from tests import denormals
{body}
print(json.dumps(denormals.left()))
"""


def left(body: str) -> dict[str, int]:
    """What is left in a child with two threads that runs `body` first."""
    command, environment = [sys.executable, "-c", _CHILD.format(body=body)], {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("body", [_OURS, f"denormals.start_pool(); {_OURS}"])
def test_no_thread_keeps_denormals(body: str) -> None:
    assert set(left(body).values()) == {0}


@pytest.mark.parametrize("body", ["", f"denormals.start_pool(); {_PLAIN}"])
def test_what_is_looked_at_would_tell_a_thread_that_does(body: str) -> None:
    """Neither without the switch, nor with torch's own alone, which reaches no thread that is already there."""
    assert all(left(body).values())


def test_the_number_of_threads_remains() -> None:
    found = left(f"denormals.start_pool(); torch.set_num_threads(2); {_OURS}; assert torch.get_num_threads() == 2")
    assert set(found.values()) == {0}


def test_numpy_multiplies_in_one_thread_and_torch_as_before() -> None:
    body = """
import json, numpy, torch
from threadpoolctl import threadpool_info
from core import processor
def threads(): return {one["internal_api"]: one["num_threads"] for one in threadpool_info()}
torch.set_num_threads(2)
before = threads()
processor.multiply_in_one_thread()
print(json.dumps([before, threads(), torch.get_num_threads()]))
"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", body], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    )
    before, after, of_torch = json.loads(done.stdout)
    assert (before["openblas"], after["openblas"], of_torch) == (2, 1, 2)


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16", True),
        ("flags\t\t: amx_tile amx_bf16", True),
        ("Features\t: fp asimd bf16", True),
        ("flags\t\t: fpu avx512f avx512_vnni", False),
        ("model name\t: bf16", False),
    ],
)
def test_bfloat16_is_told_by_the_flags(tmp_path: Path, line: str, has: bool) -> None:
    facts = tmp_path / "cpuinfo"
    facts.write_text(f"processor\t: 0\n{line}\n")
    assert processor.multiplies_bfloat16(facts) == has


def test_where_there_are_no_facts_nothing_is_assumed(tmp_path: Path) -> None:
    assert not processor.multiplies_bfloat16(tmp_path / "none")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}),
        ({"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ],
)
def test_how_idle_threads_wait_is_the_users_choice_first(
    given: dict[str, str], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    for name in names:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    processor.rest_idle_threads()
    assert {name: os.environ[name] for name in names if name in os.environ} == expected
