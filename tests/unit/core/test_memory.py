"""Freed memory stays with the process: measured as page faults of a child that allocates the same again and again."""

import subprocess
import sys

import pytest

from core.settings import PROJECT

_CHILD = """
import resource, sys
import numpy as np
from core import memory
if sys.argv[1] == "keep" and not memory.keep_freed():
    print(-1)
    raise SystemExit
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    np.ones(64 * 2**20 // 8)
before = faults()
for _ in range(5):
    np.ones(64 * 2**20 // 8)
print(faults() - before)
"""


def _faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, how], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout)


def test_kept_memory_is_not_faulted_in_again() -> None:
    kept = _faults("keep")
    if kept == -1:
        pytest.skip("no glibc here: nothing is kept")
    assert kept < 100
    assert _faults("default") > 100 or kept == 0
