"""How the process computes, where one kind of processor differs from another."""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

from core.progress import say

_PAUSE_SOFT = 1  # of omp.h
_SPINS = "1000"  # of GNU's OpenMP, tens of microseconds

_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # of x86 and of ARM


def multiplies_bfloat16(facts: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor has products in bfloat16; without, they take several times as long as those in float32."""
    if not facts.exists():
        return False
    lines = (line.partition(":") for line in facts.read_text(encoding="utf-8").splitlines())
    return any(_BFLOAT16 & set(found.split()) for name, _, found in lines if name.strip() in ("flags", "Features"))


def rest_idle_threads() -> None:
    """Let threads that wait for others look a moment and then sleep; call this before anything starts threads.

    Spinning for long, they starve whoever shares the cores, themselves among them; asleep at once, they are woken many
    times a step, which costs much of an idle machine. What the user has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def multiply_in_one_thread() -> None:
    """Have this process's NumPy multiply in one thread: for one that answers requests with many small products.

    OpenBLAS splits a product among all cores and spins until the slowest is done. Where others want the cores too, a
    model server for one, a product of a fifth of a millisecond then takes fifteen. torch's threads are left alone.
    """
    import numpy as np
    from threadpoolctl import ThreadpoolController

    assert np.__version__  # its library must be there to be limited
    ThreadpoolController().select(internal_api="openblas").limit(limits=1)


def flush_denormals(switch: Callable[[bool], bool]) -> None:
    """Have every thread take floats below 1e-38 for zero: on some processors a product with one takes 90 times as long.

    Each thread has a switch of its own and inherits that of the thread that starts it. So call this before anything
    starts threads: gloo, OpenVINO, a pool of Python's. This thread's OpenMP pools, which any parallel loop may have
    started, end here; the next loop starts them anew, with the switch on.

    Args:
        switch: torch.set_flush_denormal, as this floor does without torch.
    """
    from threadpoolctl import threadpool_info

    switch(True)
    for runtime in threadpool_info():
        if runtime["user_api"] != "openmp":
            continue
        try:
            left = ctypes.CDLL(runtime["filepath"]).omp_pause_resource_all(_PAUSE_SOFT)
        except AttributeError:
            left = -1
        if left:
            say(f"{runtime['filepath']}: its threads cannot be started anew and may compute slowly (denormal numbers)")
