"""One interface over the engines that write text: vLLM in production, OpenVINO on a CPU, transformers as reference."""

from pathlib import Path

from core.errors import check_choice
from llm.engines.base import Engine, Generation, Request, Sampling, complete, prompt_seed

NAMES = ("vllm", "openvino", "transformers", "server")

__all__ = ["NAMES", "Engine", "Generation", "Request", "Sampling", "complete", "open_engine", "prompt_seed"]


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

            return ServerEngine(sampling)
        case _:
            from llm.engines.transformers_engine import TransformersEngine

            return TransformersEngine(model, sampling)
