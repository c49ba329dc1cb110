"""Which Python environment a job needs. Each is built from requirements/<name>.lock.txt, by `make env` all but
recbole, which only a benchmark reads.

Beside them lies a Redis server for tests and local use, where the system has one or can unpack one.
"""

import sys
from pathlib import Path

from core import settings
from core.errors import LlmcfError, Missing, check_choice

NAMES = ("main", "triton", "openvino", "vllm", "spark", "milvus", "ray", "recbole")


def python(name: str) -> Path:
    """The interpreter of environment `name`.

    Raises:
        Missing: if it is not built.
    """
    check_choice("environment", name, NAMES)
    if name == "main":
        return Path(sys.executable)
    interpreter = settings.environments() / name / "bin" / "python"
    if not interpreter.exists():
        raise Missing(f"the {name} environment is not built ({interpreter} is missing)", f"make env-{name}")
    return interpreter


def redis_server() -> Path:
    """The Redis server's program.

    Raises:
        LlmcfError: if there is none, with what the build said.
    """
    folder = settings.environments() / "redis"
    program, missing = folder / "redis-server", folder / "missing"
    if program.exists():
        return program
    if missing.exists():
        raise LlmcfError(missing.read_text(encoding="utf-8").strip())
    raise Missing(f"no Redis server was looked for ({folder} is missing)", "make env-redis")
