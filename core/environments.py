"""Which Python environment a job needs. All are built by `make env`, each from requirements/<name>.lock.txt."""

import sys
from pathlib import Path

from core import settings
from core.errors import LlmcfError, check_choice

NAMES = ("main", "triton", "openvino", "vllm", "spark")


def python(name: str) -> Path:
    """The interpreter of environment `name`.

    Raises:
        LlmcfError: if it is not built.
    """
    check_choice("environment", name, NAMES)
    if name == "main":
        return Path(sys.executable)
    interpreter = settings.environments() / name / "bin" / "python"
    if not interpreter.exists():
        raise LlmcfError(f"the {name} environment is not built ({interpreter} is missing); run `make env-{name}` first")
    return interpreter
