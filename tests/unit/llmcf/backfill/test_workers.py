"""The processes of a matrix end with the one that started them, however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.settings import PROJECT

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel ends them on Linux alone")

_SCRIPT = """
import os, sys, time
from dataclasses import dataclass
from pathlib import Path
from llmcf.backfill import workers

@dataclass(frozen=True)
class Cell:
    name: str

def work(cell):
    Path(sys.argv[1], cell.name).write_text(str(os.getpid()))
    time.sleep(300)

if __name__ == "__main__":
    list(workers.each(work, [Cell("one"), Cell("two")], 2))
"""


def _is_there(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_no_process_outlives_a_matrix_that_was_killed(tmp_path: Path) -> None:
    script, started = tmp_path / "matrix.py", tmp_path / "started"
    script.write_text(_SCRIPT, encoding="utf-8")
    started.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen([sys.executable, str(script), str(started)], env=environment) as matrix:
        try:
            end = time.monotonic() + 120
            while not all((started / name).exists() and (started / name).read_text() for name in ("one", "two")):
                assert time.monotonic() < end and matrix.poll() is None
                time.sleep(0.1)
            running = [int((started / name).read_text()) for name in ("one", "two")]
            assert all(map(_is_there, running))
        finally:
            matrix.send_signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while any(map(_is_there, running)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(_is_there, running))
