"""A service as people run it: `llmcf serve` in a process of its own, and an HTTP client to it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Running:
    """Where it listens, its process, and what it says."""

    http: httpx.Client
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def admin(self) -> str:
        """The address at which it is looked after, where it has one of its own (`--admin-port 0`)."""
        assert self.said("it is looked after at ")
        found = re.search(r"looked after at (http://\S+) alone", self.log.read_text(encoding="utf-8"))
        assert found
        return found[1]

    def said(self, words: str, seconds: float = 30.0) -> bool:
        """Whether it says so within some seconds."""
        end = time.monotonic() + seconds
        while words not in self.log.read_text(encoding="utf-8", errors="replace"):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True


@contextmanager
def run_service(dataset: str, log: Path, *options: str) -> Iterator[Running]:
    """`llmcf serve` on a free port until the block ends; it reads the test's home from the environment."""
    command = [sys.executable, "-m", "llmcf", "serve", "--dataset", dataset, "--port", "0", *options]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        with httpx.Client(base_url=_address(process, log), timeout=30.0) as http:
            yield Running(http, process, log)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + _WITHIN_S
    while process.poll() is None and time.monotonic() < end:
        if found := re.search(r"at (http://\S+) \(", log.read_text(encoding="utf-8", errors="replace")):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"the service did not come up: {log.read_text(encoding='utf-8', errors='replace')[-3000:]}")
