"""How the process gets its memory from the system."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of malloc.h


def keep_freed() -> bool:
    """Let glibc reuse what is freed instead of handing it back; whether it could be told so.

    By default every tensor of 32 MiB and more is mapped anew and its pages are zeroed by the kernel, which took half of
    a training step of the language model. The process then holds its peak until it ends.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
