"""Freed memory stays with the process: measured as page faults of a child that allocates the same again and again."""

import os
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
_LOOKS = """
import gc, sys
from core import memory
if sys.argv[1] == "yes":
    memory.collect_rarely()
before = sum(one["collections"] for one in gc.get_stats())
kept = [[] for _ in range(100_000)]
looks = sum(one["collections"] for one in gc.get_stats()) - before
memory.keep_made()
print(looks, gc.get_freeze_count())
"""
_AT_THE_END = """
atexit.register(lambda: print("at the end:", gc.get_freeze_count()))
from core import memory
memory.keep_made()
memory.keep_made()
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


_ALIGNED = """
import sys
from core import memory
memory.start_anew_without_cache()
if not memory.keep_freed():
    print(-1)
    raise SystemExit
import ctypes
c = ctypes.CDLL(None)
c.posix_memalign.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_size_t]
c.free.argtypes, c.malloc.argtypes = [ctypes.c_void_p], [ctypes.c_size_t]
places = set()
for _ in range(50):
    block = ctypes.c_void_p()
    assert c.posix_memalign(ctypes.byref(block), 64, 8 * 2**20) == 0  # as torch asks for a tensor
    c.malloc(5000)  # what outlives it
    places.add(block.value)
    c.free(block)
print(len(places), *sys.argv[1:])
"""


def _places(*arguments: str, **environment: str) -> list[str]:
    command = [sys.executable, "-c", _ALIGNED, *arguments]
    inherited = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    done = subprocess.run(
        command, cwd=PROJECT, env=inherited | environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split()


def test_a_tensor_takes_the_place_of_the_one_before_it() -> None:
    found = _places("a name", "--option")
    if found == ["-1"]:
        pytest.skip("no glibc here: nothing is kept")
    assert int(found[0]) <= 3, "the first may lie elsewhere"
    assert found[1:] == ["a", "name", "--option"]


def test_what_the_user_has_told_the_allocator_stays() -> None:
    found = _places(GLIBC_TUNABLES="glibc.malloc.tcache_count=200")
    if found == ["-1"]:
        pytest.skip("no glibc here: nothing is kept")
    assert int(found[0]) > 25, "each of 50 pieces can be held back, so its block fits no more"


@pytest.mark.parametrize(("rarely", "most"), [("no", 200), ("yes", 12)])
def test_looks_for_garbage_are_rare(rarely: str, most: int) -> None:
    """100,000 new objects that stay; Python's own looks at 700 of them each."""
    looks, frozen = _said(_LOOKS, rarely).split()
    assert most / 2 < int(looks) <= most
    assert int(frozen) >= 100_000, "what is kept is passed over no more"


def test_what_is_kept_is_cleared_up_at_the_end() -> None:
    assert "at the end: 0" in _said("import atexit, gc\n" + _AT_THE_END, "")


def _said(code: str, told: str) -> str:
    command, alone = [sys.executable, "-c", code, told], {**os.environ, "PYTHONPATH": ""}
    return subprocess.run(
        command, cwd=PROJECT, env=alone, capture_output=True, text=True, check=True, timeout=60
    ).stdout
