"""Runs the example of a service without llmcf in a process that cannot import any of it."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from core.settings import PROJECT

PLACE = PROJECT / "examples" / "score_without_llmcf.py"
_PACKAGES = ("core", "ict", "llm", "ranking", "retrieval_stage", "llmcf")
BLOCKED = f"import sys\nsys.modules.update(dict.fromkeys({_PACKAGES!r}))"  # an import of one of them fails


def score_without_llmcf(
    feast: Path, triton: str, release: str, user: str, items: Sequence[str], day: int
) -> dict[str, float | None]:
    """What the example prints."""
    options = {"feast": str(feast), "triton": triton, "release": release, "user": user, "day": str(day)}
    told = [part for name, value in options.items() for part in (f"--{name}", value)]
    code = f"{BLOCKED}\nimport runpy\nrunpy.run_path({str(PLACE)!r}, run_name='__main__')"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", code, *told, *items]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
