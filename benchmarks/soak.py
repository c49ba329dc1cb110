"""A service under load while its parts are killed in turn: are its answers right, in time, and does it grow?

    .venv/bin/python -m benchmarks.soak --dataset amazon-beauty --order published --minutes 30

Starts `llmcf serve` on the live release, in a home of its own with a Redis of its own, and has clients ask from another
process. Every two minutes a part is killed: a model process of Triton, Triton, Redis (which is then started again, as
an init system would), a worker. Every answer is held against the one that its rung and release must give, worked out
in this process. Writes benchmarks/results/soak.{json,md,svg}.
"""

import argparse
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from unittest import mock

import psutil

from benchmarks import load, measured, online_stores, soak_page
from benchmarks.expected import faults
from benchmarks.load import Outcome
from benchmarks.recommend import active
from core.contracts import TRITON_MODELS
from core.data import kept
from core.errors import LlmcfError, UsageError
from core.progress import say
from core.settings import Workspace
from llmcf.service import state
from llmcf.serving import releases
from tests.redis_server import RedisServer, run_redis
from tests.running_service import Running, run_service

PARTS = ("model process", "triton", "redis", "worker")
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long, how many clients, when the first part is killed and how often one is; all seconds.

    `rest` is how long there is load after the last kill at least; `back` after which Redis is started again.
    """

    seconds: float = 1800.0
    clients: int = 4
    users: int = 200
    k: int = 10
    timeout_ms: int = 1000
    first: float = 60.0
    every: float = 120.0
    rest: float = 30.0
    back: float = 3.0
    sample: float = 2.0
    workers: int = 2


@dataclass(frozen=True, slots=True)
class Kill:
    """When, in seconds from the start, and what."""

    at: float
    part: str


@dataclass(frozen=True, slots=True)
class Sample:
    """MiB of each process that there was, by its name and number: what it has to itself and its share of the rest."""

    at: float
    mib: dict[str, float]


@dataclass(slots=True)
class Account:
    """What happened. `start` is Unix time; `faults` are answers that were another than they must be."""

    plan: Plan
    start: float = 0.0
    kills: list[Kill] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    outcome: Outcome = field(default_factory=Outcome)
    faults: list[str] = field(default_factory=list)


class Store:
    """A Redis that keeps what it has, and can be killed and started again on its port."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stack = folder, ExitStack()
        self.server: RedisServer = self._stack.enter_context(run_redis(folder))

    def kill(self) -> None:
        os.kill(self.server.pid, signal.SIGKILL)

    def again(self) -> None:
        self.close()
        self._stack = ExitStack()
        self.server = self._stack.enter_context(run_redis(self._folder, like=self.server))

    def close(self) -> None:
        self._stack.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="movielens-100k", help="whose live release (default: %(default)s)")
    parser.add_argument("--order", help="(default: the data set's own)")
    parser.add_argument("--minutes", type=float, default=30.0, help="(default: %(default)s)")
    parser.add_argument("--clients", type=int, default=4, help="(default: %(default)s)")
    arguments = parser.parse_args()
    ws = Workspace(arguments.dataset, arguments.order or kept.default_order(arguments.dataset))
    try:
        plan = Plan(seconds=arguments.minutes * 60, clients=arguments.clients)
        release = releases.require(ws.dataset)
        with tempfile.TemporaryDirectory(prefix="llmcf-soak-") as folder:
            store = Store(Path(folder))
            try:
                with online_stores.own_home(ws, redis=store.server.connection):
                    online_stores.filled(ws)
                    account = soak(ws, store, plan, Path(folder))
            finally:
                store.close()
    except LlmcfError as error:
        say(f"there is no soak: {error}")
        return
    command = f"python -m benchmarks.soak --dataset {ws.dataset} --order {ws.order}"
    command += f" --minutes {arguments.minutes:g} --clients {arguments.clients}"
    found = soak_page.figures(account)
    measured.write("soak", {"command": command, **asdict(found)}, soak_page.page(account, found, release, command))
    soak_page.plot(account, measured.RESULTS / "soak.svg")
    say((measured.RESULTS / "soak.md").read_text(encoding="utf-8"))


def soak(ws: Workspace, store: Store, plan: Plan, folder: Path) -> Account:
    """Run it in the home that the environment names, whose features lie in `store`; logs go to `folder`.

    Raises:
        UsageError: if the time is too short for a kill of each part.
        LlmcfError: if the service does not come up.
    """
    times = due(plan)
    if len(times) < len(PARTS):
        raise UsageError(f"{plan.seconds:g} s are too short to kill each of {len(PARTS)} parts, every {plan.every:g} s")
    users = active(ws)[: plan.users]
    account = Account(plan)
    with _unlimited(), run_service(ws.dataset, folder / "service.log", "--workers", str(plan.workers)) as service:
        if not service.said("intake of"):
            raise LlmcfError("the intake does not come up")
        url = service.http.base_url
        account.start = time.time()
        process = load.start(
            load.Plan(
                host=url.host,
                port=url.port or 80,
                users=users,
                clients=plan.clients,
                seconds=plan.seconds,
                k=plan.k,
                timeout_ms=plan.timeout_ms,
            ),
            folder,
        )
        try:
            _go(ws, service, store, times, account, lambda: process.poll() is not None)
        finally:
            process.terminate()
            process.wait()
    if process.returncode:
        raise LlmcfError(f"the load ended with {process.returncode}")
    account.outcome = load.read(folder)
    account.faults = faults(ws.dataset, account.outcome.answers, plan.k)
    return account


def due(plan: Plan) -> list[float]:
    """When a part is killed: the parts in turn, whole rounds of them."""
    count = max(0, int((plan.seconds - plan.rest - plan.first) // plan.every) + 1)
    return [plan.first + number * plan.every for number in range(count - count % len(PARTS))]


def _unlimited() -> AbstractContextManager[object]:
    """One client asks more often here than the service would take of a key."""
    return mock.patch.dict(os.environ, {"LLMCF_REQUESTS_PER_SECOND": "1000000"})


def _go(
    ws: Workspace, service: Running, store: Store, times: Sequence[float], account: Account, ended: Callable[[], bool]
) -> None:
    """Kill what is due and sample memory until the load ends."""
    start, left, back, sampled = time.monotonic(), list(times), None, 0.0
    while not ended():
        now = time.monotonic() - start
        if left and now >= left[0]:
            part = PARTS[len(account.kills) % len(PARTS)]
            _kill(part, ws, store, len(account.kills) // len(PARTS))
            account.kills.append(Kill(round(left.pop(0), 1), part))
            say(f"{now:6.1f} s: {part} is killed")
            back = now + account.plan.back if part == "redis" else None
        if back is not None and now >= back:
            store.again()
            back = None
        if now - sampled >= account.plan.sample:
            account.samples.append(Sample(round(now, 1), memory(service.process.pid, store.server.pid)))
            sampled = now
        time.sleep(_LOOK_S)


def _kill(part: str, ws: Workspace, store: Store, turn: int) -> None:
    serving = state.read(state.folder(ws.dataset))
    assert serving is not None
    if part == "redis":
        store.kill()
    elif part == "triton":
        os.kill(serving.server.pid, signal.SIGKILL)
    elif part == "worker":
        workers = sorted(state.workers(state.folder(ws.dataset)))
        os.kill(workers[turn % len(workers)], signal.SIGKILL)
    else:
        asked = sorted(TRITON_MODELS)  # by a recommendation: `score` is for others, and would not be missed
        _process_of(serving.server.pid, asked[turn % len(asked)]).kill()


def _process_of(server: int, model: str) -> psutil.Process:
    """The process of Triton that runs a model."""
    alive = (one for one in psutil.Process(server).children() if one.status() != psutil.STATUS_ZOMBIE)
    return next(one for one in alive if f"/{model}/" in " ".join(one.cmdline()))


def memory(supervisor: int, redis: int) -> dict[str, float]:
    """MiB of the service's processes and of Redis, by name and number."""
    found: dict[str, float] = {}
    try:
        processes = [psutil.Process(supervisor), *psutil.Process(supervisor).children(recursive=True)]
        processes += [psutil.Process(redis)]
    except psutil.NoSuchProcess:
        processes = []
    for one in processes:
        try:
            found[f"{_name(one)} {one.pid}"] = round(one.memory_full_info().pss / 2**20, 1)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def _name(process: psutil.Process) -> str:
    line = " ".join(process.cmdline())
    known = {
        "llmcf.service.worker": "worker",
        "llmcf.service.intake": "intake",
        "python_backend_stub": "model process",
        "tritonserver": "triton",
        "redis-server": "redis",
    }
    return next((name for words, name in known.items() if words in line), "supervisor")


if __name__ == "__main__":
    main()
