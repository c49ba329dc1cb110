"""One interface over the engines that write text: vLLM in production, OpenVINO on a CPU, transformers as reference."""

from pathlib import Path

from core.errors import check_choice
from llm.defaults import ENGINE
from llm.engines.base import Engine, Generation, Request, Sampling, complete, prompt_seed

NAMES = ("vllm", "openvino", "transformers", "server")
RAY = "ray"  # no engine, but where one runs

__all__ = [
    "NAMES",
    "RAY",
    "Engine",
    "Generation",
    "Request",
    "Sampling",
    "complete",
    "open_engine",
    "placed",
    "prompt_seed",
]


def placed(name: str) -> tuple[str, bool]:
    """The engine that an option names, and whether workers of a Ray cluster run it: `ray`, or `ray:vllm`.

    Raises:
        UsageError: for an unknown name.
    """
    where, _, engine = name.partition(":")
    if where != RAY:
        return check_choice("engine", name, [*NAMES, RAY, *(f"{RAY}:{one}" for one in NAMES)]), False
    return check_choice(f"engine on {RAY}", engine or ENGINE, NAMES), True


def open_engine(name: str, model: Path, sampling: Sampling | None = None) -> Engine:
    """The engine `name` over the Hugging Face folder `model`; use it in a `with` statement. Nothing starts yet.

    Raises:
        UsageError: for an unknown name.
        LlmcfError: if the engine's environment is not built.
    """
    sampling = sampling or Sampling()
    match check_choice("engine", name, NAMES):
        case "vllm":
            from llm.engines.vllm_engine import vllm_engine

            return vllm_engine(model, sampling)
        case "openvino":
            from llm.engines.openvino_engine import openvino_engine

            return openvino_engine(model, sampling)
        case "server":
            from llm.engines.server_engine import ServerEngine

            return ServerEngine(model, sampling)
        case _:
            from llm.engines.transformers_engine import TransformersEngine

            return TransformersEngine(model, sampling)
