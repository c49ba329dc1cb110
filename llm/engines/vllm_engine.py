"""vLLM, the production engine: paged attention on GPUs, its CPU build elsewhere."""

import os
from dataclasses import asdict
from pathlib import Path

from core import environments, settings
from llm import models
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


def serve(model: Path, *, host: str, port: int) -> None:
    """Become vLLM's OpenAI-compatible server over `model`; this process ends with it. LLMCF_LLM_KEY guards it."""
    python = environments.python("vllm")
    where = ["--host", host, "--port", str(port), "--max-model-len", "2048", "--enforce-eager"]
    names = ["--served-model-name", models.model_hash(model), str(model)]  # by which a writer knows whose texts it gets
    names += ["--generation-config", "vllm"]  # a request says how it is drawn, no file of the model
    key = {"VLLM_API_KEY": settings.llm_key()} if settings.llm_key() else {}
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), *names, *where, *_DTYPE]
    os.execve(command[0], command, {**os.environ, **_VARIABLES, **key})  # noqa: S606 - our own program


_DTYPE = ("--dtype", "float32", "--block-size", "32") if not Path("/proc/driver/nvidia").exists() else ()
