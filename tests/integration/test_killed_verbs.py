"""A verb that is killed takes its worker along: otherwise that would write on while the verb's lock is free."""

import os
import signal
import subprocess
import sys
import time

import pytest

from core.settings import PROJECT

pytestmark = pytest.mark.integration
VERB = """
import subprocess, sys
with subprocess.Popen([sys.executable, "-c", sys.argv[1]]) as worker:
    pass
"""
WAITS = "import os, sys, time\ndef wait(*_): print(os.getpid(), file=sys.__stdout__, flush=True); time.sleep(600)\n"
WORKERS = {
    "features": "from llmcf.feature_store import worker\nworker.JOBS['wait'] = wait\nsys.argv = ['', 'wait']\n",
    "data prepare on Spark": "from core.data import relational as worker\nworker.Job.load = wait\nsys.argv *= 2\n",
}


@pytest.mark.parametrize("which", WORKERS)
def test_the_worker_ends_with_its_verb(which: str) -> None:
    script = f"{WAITS}{WORKERS[which]}worker.main()"
    command = [sys.executable, "-c", VERB, script]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as verb:
        assert verb.stdout
        worker = int(verb.stdout.readline())
        verb.send_signal(signal.SIGKILL)
    try:
        assert gone(worker, within=10)
    finally:
        if not gone(worker, within=0):
            os.kill(worker, signal.SIGKILL)


def gone(process: int, *, within: float) -> bool:
    """Whether it has ended; one that nobody waited for yet has, too."""
    end = time.monotonic() + within
    while True:
        state = subprocess.run(["ps", "-o", "stat=", str(process)], capture_output=True, text=True).stdout.strip()
        if state[:1] in ("", "Z"):
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)
