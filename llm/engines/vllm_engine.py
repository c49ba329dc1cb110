"""vLLM, the production engine: paged attention on GPUs, its CPU build elsewhere."""

from dataclasses import asdict
from pathlib import Path

from core import environments
from llm.engines.base import Sampling
from llm.engines.process import WorkerProcess, command

BATCH = 32
CACHE_GIB = 3
BATCHED_TOKENS = 2048

_VARIABLES = {
    "VLLM_CPU_KVCACHE_SPACE": str(CACHE_GIB),
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process: nothing is left behind when it is killed
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}


def vllm_engine(model: Path, sampling: Sampling) -> WorkerProcess:
    """Serves the Hugging Face folder `model` from a worker in the vllm environment; it takes a minute to start."""
    python = environments.python("vllm")
    options = {"batch": BATCH, "cache_gib": CACHE_GIB, "batched_tokens": BATCHED_TOKENS, "seed": 0}
    started = command(python, "vllm", model, asdict(sampling) | options)
    return WorkerProcess("vllm", lambda: started, _VARIABLES, window=2 * BATCH)
