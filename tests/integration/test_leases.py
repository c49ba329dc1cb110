"""Leases between real processes: one of several takers gets what a dead or sleeping holder had, and this notices."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core import leases
from core.leases import Lease
from core.settings import PROJECT

pytestmark = pytest.mark.integration
LEASE_S = 1.0
# Takes the lease, says so, and says whether it still has it at each line it is given.
HOLDER = """
import sys
from pathlib import Path
from core.leases import Lease
lease = Lease(Path(sys.argv[1]))
assert lease.take(wait=True)
print("took", flush=True)
for line in sys.stdin:
    print(lease.held, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMCF_LEASE_SECONDS", str(LEASE_S))
    return tmp_path / "lease"


def started(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def holds(process: subprocess.Popen[str]) -> bool:
    assert process.stdin
    process.stdin.write("?\n")
    process.stdin.flush()
    return said(process) == "True"


def taken(lease: Lease) -> float:
    """Seconds until the lease could be taken."""
    start = time.monotonic()
    while not lease.take():
        assert time.monotonic() - start < 30 * LEASE_S
        time.sleep(0.05)
    return time.monotonic() - start


def test_a_living_holder_keeps_its_lease_beyond_its_time(path: Path) -> None:
    with started(path) as holder:
        assert said(holder) == "took"
        other, until = Lease(path), time.monotonic() + 3 * LEASE_S
        while time.monotonic() < until:
            assert not other.take()
            time.sleep(0.1)
        assert holds(holder)
        found = leases.owner(path)
        assert found
        assert found.pid == holder.pid
        assert found.age < LEASE_S
        holder.kill()


def test_the_lease_of_a_killed_holder_is_taken_when_its_time_is_over(path: Path) -> None:
    with started(path) as holder:
        assert said(holder) == "took"
        holder.kill()
    lease = Lease(path)
    assert taken(lease) >= LEASE_S / 2
    assert lease.held
    lease.release()


def test_a_stopped_holder_loses_its_lease_and_notices(path: Path) -> None:
    with started(path) as holder:
        assert said(holder) == "took"
        assert holds(holder)
        holder.send_signal(signal.SIGSTOP)
        lease = Lease(path)
        taken(lease)
        holder.send_signal(signal.SIGCONT)
        assert not holds(holder)
        assert lease.held
        lease.release()
        assert not holds(holder), "what was lost does not come back"
        holder.kill()


def test_of_several_takers_one_takes_over(path: Path) -> None:
    with started(path) as holder:
        assert said(holder) == "took"
        takers = [started(path) for _ in range(4)]
        time.sleep(LEASE_S)
        holder.kill()
        deadline = time.monotonic() + 10 * LEASE_S
        while (found := leases.owner(path)) is None or found.pid == holder.pid:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(2 * LEASE_S)
        now = leases.owner(path)
        assert now
        assert now.pid == found.pid, "it keeps what it took"
        (winner,) = [taker for taker in takers if taker.pid == now.pid]
        assert said(winner) == "took"
        assert holds(winner)
        for taker in takers:
            taker.kill()
        others = [taker for taker in takers if taker is not winner]
        assert [taker.communicate()[0] for taker in others] == ["", "", ""]
        winner.communicate()
