"""OpenVINO GenAI: continuous batching over 8-bit weights, the fast engine on a CPU."""

from dataclasses import asdict
from pathlib import Path

from core import environments
from llm.engines.base import Sampling
from llm.engines.openvino_export import convert
from llm.engines.process import WorkerProcess, command

BATCH = 64
CACHE_GIB = 4
BATCHED_TOKENS = 1024


def openvino_engine(model: Path, sampling: Sampling) -> WorkerProcess:
    """Converts `model` once, then serves it from a worker in the openvino environment."""
    python = environments.python("openvino")
    options = {"batch": BATCH, "cache_gib": CACHE_GIB, "batched_tokens": BATCHED_TOKENS, "seed": 0}

    def prepare() -> list[str | Path]:
        return command(python, "openvino", convert(model, python), asdict(sampling) | options)

    return WorkerProcess("openvino", prepare, window=BATCH + BATCH // 2)
