"""What a figure was measured on; it goes beside every figure the product writes down."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "torchrec", "feast", "pymilvus", "milvus-lite", "transformers", "deepspeed", "onnxruntime")


def describe() -> dict[str, Any]:
    """Processor, cores, memory (GiB), system, library versions and the time (UTC); the GPU, where torch is in use."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processor": _processor(),
        "gpu": _gpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def _version(library: str) -> str:
    """Empty where it is not installed, as in an environment for one task."""
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def sentence() -> str:
    """The same in one line."""
    here = describe()
    gpu = f"{here['gpu']}, " if here["gpu"] else ""
    cores = "core" if here["cores"] == 1 else "cores"
    return (
        f"{gpu}{here['processor']}, {here['cores']} {cores}, {here['memory_gib']} GiB, {here['system']}, "
        f"Python {here['python']}, torch {here['libraries']['torch']}, {here['date']}"
    )


def _gpu() -> str:
    """The name of the GPU that torch computes on, empty for none; torch is not loaded for the question."""
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else ""


def _processor() -> str:
    """The model name, completed by family and flags where a virtual machine hides it."""
    facts: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    widest = next((flag for flag in ("avx512f", "avx2", "avx") if flag in facts.get("flags", "").split()), "")
    return " ".join(filter(None, [facts.get("model name", platform.machine()), widest]))
