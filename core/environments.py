"""Which Python environment a job needs. Each is built from requirements/<name>.lock.txt, by `make env` all but
recbole, which only a benchmark reads.

Beside them lie a Redis server, for tests and local use, and a Chromium, for tests of the service's page, where the
system has them or can unpack them.
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
    return _unpacked("redis", "redis-server", Missing("no Redis server was looked for", "make env-redis"))


def chromium() -> Path:
    """The headless browser's program.

    Raises:
        LlmcfError: if there is none, with what the build said.
    """
    return _unpacked("chromium", "chromium", Missing("no Chromium was looked for", "make env-chromium"))


def _unpacked(name: str, file: str, unbuilt: Missing) -> Path:
    folder = settings.environments() / name
    program, missing = folder / file, folder / "missing"
    if program.exists():
        return program
    if missing.exists():
        raise LlmcfError(missing.read_text(encoding="utf-8").strip())
    raise unbuilt
