"""The HTTP service under closed-loop load: LLM-CF beside the plain backbone, with floors in the same run.

    .venv/bin/python -m benchmarks.service --dataset amazon-beauty

Starts `llmcf serve` in a home of its own, with Redis where there is one, on the newest release whose ranker is LLM-CF
and the newest of the plain backbone; both are loaded, and each is made live in turn, so that a busy moment hits both.
Clients ask from another process, each one request after the other; some of the answers of each load are held against
what the release gives by ONNX Runtime in this process. Then, under load, the other release is promoted and rolled back
from again and again. Floors: the same calls to a Triton whose models do
nothing, the bytes of the user's rows, the product that item search rests on, and an HTTP answer without any work.
Writes benchmarks/results/service.{json,md}.
"""

import argparse
import http.client
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks import load, measured, online_stores, promotion, service_page
from benchmarks.expected import faults
from benchmarks.load import Answer, Asked
from benchmarks.recommend import K, active, newest, product
from core.errors import LlmcfError, UsageError
from core.progress import say
from core.settings import Workspace
from llmcf.feature_store.opening import open_store
from llmcf.online.reader import USER
from llmcf.online.views import views
from llmcf.service import keys
from llmcf.service.asking import CANDIDATES
from llmcf.serving import loading, releases
from llmcf.serving.manifest import Release
from llmcf.serving.question import Question
from llmcf.serving.recommender import Recommender
from llmcf.serving.triton_client import Client
from llmcf.serving.triton_server import run_triton
from tests.running_service import Running, run_service

_A_KEY = 4  # clients: so that rates of keys refuse nobody
_PROMOTION_S = 60.0
_FLOOR_CALLS = 300
_BESIDE_S = 0.05  # between two looks at how quick an answer without work is beside the most clients
_NO_OP = """
import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.outputs = json.loads(args["model_config"])["output"]

    def execute(self, requests):
        return [pb_utils.InferenceResponse([self.zeros(one, request) for one in self.outputs]) for request in requests]

    def zeros(self, output, request):
        rows = request.inputs()[0].as_numpy().shape[0]
        dims = [] if "reshape" in output else [int(size) for size in output["dims"]]
        return pb_utils.Tensor(output["name"], np.zeros([rows, *dims], dtype=np.float32))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="movielens-100k", help="whose releases (default: %(default)s)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64], help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--held", type=int, default=300, help="answers of a load that are compared (%(default)s)")
    parser.add_argument("--starts", type=int, default=3, help="cold ones (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="of the service (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        chosen = newest(arguments.dataset)
        ws = next(iter(chosen.values())).workspace
        name, store = a_store()
        with store(ws) as bare, repository(chosen):
            found = measure(ws, chosen, bare, arguments)
    except LlmcfError as error:
        say(f"the service is not timed: {error}")
        return
    command = f"python -m benchmarks.service --dataset {arguments.dataset} --seconds {arguments.seconds:g}"
    command += f" --rounds {arguments.rounds} --workers {arguments.workers}"
    command += f" --clients {' '.join(map(str, arguments.clients))}"
    account = {"command": command, **asdict(found)}
    page = service_page.page(found, chosen, name, arguments.workers, command)
    measured.write("service", account, page)
    say(page)


def measure(
    ws: Workspace, chosen: Mapping[str, Release], bare: online_stores.Bare, arguments: argparse.Namespace
) -> service_page.Found:
    """All figures, in the home that the environment names.

    Raises:
        LlmcfError: if the service does not come up.
    """
    secrets = [keys.add(f"load {n}", "read") for n in range(-(-max(arguments.clients) // _A_KEY))]
    admin, users = keys.add("admin", "admin"), active(ws)
    with tempfile.TemporaryDirectory(prefix="llmcf-service-") as name:
        folder = Path(name)
        first = next(iter(chosen.values()))
        releases.promote(first)
        loading.keep(first)  # as `llmcf export` has in the home where it was made
        starts = [_cold_start(ws, folder, arguments.workers) for _ in range(arguments.starts)]
        with run_service(ws.dataset, folder / "log", "--workers", str(arguments.workers)) as service:
            service.said("intake of", 120)
            url = service.http.base_url
            live = partial(_live, url.host, url.port or 0)
            idle, beside = _floor(live), list[float]()
            plan = load.Plan(
                host=url.host, port=url.port or 0, users=users, clients=_A_KEY, seconds=_PROMOTION_S, k=K, keys=secrets
            )
            asked, answers = _loads(service, chosen, plan, folder, admin, arguments, lambda: beside.append(_ms(live)))
            promoted = None
            if len(chosen) > 1:
                numbers = [release.number for release in chosen.values()]
                say(f"promotions and rollbacks under {plan.clients} clients for {plan.seconds:g} s")
                promoted = promotion.measure(service, ws.dataset, numbers, plan, folder, admin, arguments.held)
        wrong = faults(ws.dataset, answers, K)
        loaded = {f"an HTTP answer without work, beside {max(arguments.clients)} clients": _percentiles(beside)}
        floors = {"an HTTP answer without work": idle, **loaded, **_floors(ws, first, bare, users, folder)}
    seconds = arguments.seconds * arguments.rounds
    return service_page.Found(
        levels=[service_page.level(*which, rows, seconds) for which, rows in asked.items()],
        stages={one: service_page.stages(asked[one, min(arguments.clients), False]) for one in chosen},
        floors=floors,
        starts=starts,
        held=len(answers),
        wrong=wrong,
        promotion=promoted,
    )


def _loads(
    service: Running,
    chosen: Mapping[str, Release],
    plan: load.Plan,
    folder: Path,
    admin: str,
    arguments: argparse.Namespace,
    beside: Callable[[], object],
) -> tuple[dict[tuple[str, int, bool], list[Asked]], list[Answer]]:
    """The requests by framework, clients and whether they were patient, and the answers to compare.

    Each release is made live in turn; the most clients ask once more, patiently. `beside` is called now and then while
    they ask and are not.
    """
    asked: dict[tuple[str, int, bool], list[Asked]] = {}
    answers: list[Answer] = []
    most = max(arguments.clients)
    for _ in range(arguments.rounds):
        for framework, release in chosen.items():
            promotion.make_live(service, release.dataset, release.number, admin)
            for clients, patient in [*((number, False) for number in arguments.clients), (most, True)]:
                say(f"{framework}: {clients} {'patient ' * patient}clients for {arguments.seconds:g} s")
                given = replace(plan, clients=clients, seconds=arguments.seconds, stages=True, patient=patient)
                outcome = _loaded(given, folder, beside if clients == most and not patient else lambda: None)
                asked.setdefault((framework, clients, patient), []).extend(outcome.asked)
                answers += outcome.answers[: arguments.held]
    return asked, answers


def a_store() -> tuple[str, Callable[[Workspace], AbstractContextManager[online_stores.Bare]]]:
    """Redis where there is one."""
    from core import environments

    try:
        environments.redis_server()
    except LlmcfError:
        return "SQLite", online_stores.sqlite
    return "Redis", online_stores.redis


@contextmanager
def repository(chosen: Mapping[str, Release]) -> Iterator[None]:
    """A Triton repository of the benchmark's own, whose pointer may move: links to the releases."""
    with tempfile.TemporaryDirectory(prefix="llmcf-releases-") as name:
        for release in chosen.values():
            place = Path(name) / "releases" / release.dataset / str(release.number)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(release.models.parent.resolve())
        with mock.patch.dict(os.environ, {"LLMCF_TRITON_MODELS": name}):
            yield


def _cold_start(ws: Workspace, folder: Path, workers: int) -> float:
    """Seconds from the command to the first answer that the service is ready."""
    start = time.perf_counter()
    with run_service(ws.dataset, folder / "start.log", "--workers", str(workers)) as service:
        while service.http.get("/health/ready").status_code != 200:
            time.sleep(0.02)
        return round(time.perf_counter() - start, 2)


def _loaded(plan: load.Plan, folder: Path, beside: Callable[[], object]) -> load.Outcome:
    process = load.start(plan, folder)
    while process.poll() is None:
        time.sleep(_BESIDE_S)
        beside()
    if process.returncode:
        raise LlmcfError(f"the load ended with {process.returncode}")
    return load.read(folder)


def _live(host: str, port: int) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    connection.request("GET", "/health/live")
    connection.getresponse().read()
    connection.close()


def _floors(
    ws: Workspace, release: Release, bare: online_stores.Bare, users: Sequence[str], folder: Path
) -> dict[str, tuple[float, float]]:
    """What no stage can be quicker than: p50 and p99 in milliseconds."""
    recommender = Recommender.load(release)
    recommender.prepare()
    row = recommender.users.row_of(users[0])
    if row is None:
        raise UsageError(f"nothing is known of {users[0]!r}")
    found = {
        "features: the bytes of a user's rows": _floor(
            bare([(view, [row]) for view in views(open_store(ws.path("feast")), USER)])
        ),
        "item search: one product": _floor(product(recommender.items.exact.vectors_NX)),
    }
    asked: dict[str, dict[str, np.ndarray]] = {}
    with run_triton(_without_work(release, folder / "no-op")) as server, Client(server, release.stages) as client:
        infer = client.infer
        with mock.patch.object(client, "infer", lambda m, a: infer(m, asked.setdefault(m, dict(a)))):
            recommender.rank(client, Question(user=users[0], count=CANDIDATES))
        for model, stage in (("user_vector", "user vector"), ("ranker", "ranker")):
            arrays = asked[model]
            found[f"{stage}: Triton with a model that does nothing"] = _floor(lambda m=model, a=arrays: infer(m, a))
    return found


def _without_work(release: Release, repository: Path) -> Path:
    """A model repository with the release's configurations whose models answer zeros."""
    for name, stage in release.stages.items():
        place = repository / name / str(stage.version)
        place.mkdir(parents=True)
        (place.parent / "config.pbtxt").write_bytes((release.models / name / "config.pbtxt").read_bytes())
        (place / "model.py").write_text(_NO_OP, encoding="utf-8")
        (place / "model.onnx").touch()
    return repository


def _floor(call: Callable[[], object]) -> tuple[float, float]:
    return _percentiles([_ms(call) for _ in range(10 + _FLOOR_CALLS)][10:])


def _ms(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def _percentiles(spent: Sequence[float]) -> tuple[float, float]:
    p50, p99 = np.percentile(spent, [50, 99])
    return round(float(p50), 3), round(float(p99), 3)


if __name__ == "__main__":
    main()
