"""How the process gets its memory from the system."""

import atexit
import ctypes
import gc
import os
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of malloc.h
WITHOUT_CACHE = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""Variables of a process that holds no small pieces back."""

_NEW, _TIMES = 10_000, 20


def collect_rarely() -> None:
    """Look for cycles of garbage after 10,000 new objects, not after Python's 700: libraries make half a million that
    stay as they are imported, and each look passes over a good part of them. Call this before they are."""
    gc.set_threshold(_NEW, _TIMES, _TIMES)


def keep_made() -> None:
    """Take what there is by now for what stays: no later look for garbage stops the process to pass over it."""
    gc.freeze()
    atexit.unregister(gc.unfreeze)
    atexit.register(gc.unfreeze)  # libraries clear up at the end, and some complain of what they do not find


def keep_freed() -> bool:
    """Let glibc reuse what is freed instead of handing it back; whether it could be told so.

    By default every tensor of 32 MiB and more is mapped anew and its pages are zeroed by the kernel, which took half of
    a training step of the language model. The process then holds its peak until it ends.

    How high the peak is depends on `start_anew_without_cache`.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))


def start_anew_without_cache() -> None:
    """Replace this process by one that merges every freed piece of memory with its neighbours; return if it is one.

    What it starts inherits it. Call this first of all: the command line is run from its beginning. glibc reads at the
    start alone how many small pieces it may hold back for each thread. An aligned block leaves such a piece before
    itself, so the block, once freed, is too short for the next tensor of its size, which is taken beyond it: a
    training that holds 1 GiB grows to 10. What the user has set stays.
    """
    if not sys.platform.startswith("linux") or WITHOUT_CACHE.keys() & os.environ.keys():
        return
    os.environ.update(WITHOUT_CACHE)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - its own command line
