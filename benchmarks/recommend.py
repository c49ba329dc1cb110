"""How long a request takes, stage by stage: one client, ten items out of 100 and of 200 candidates.

    .venv/bin/python -m benchmarks.recommend --dataset amazon-beauty

Times the newest release whose ranker is LLM-CF and the newest of the plain backbone, each on a Triton server of its
own, with the online store on SQLite and, where there is a Redis, on that. All take turns on the same users, so that a
busy moment hits all alike, and so do the floors: a call to Triton without a model, the ranker's graph in this process,
the bytes of the user's rows, and the two products that finding items and examples rests on.
Writes benchmarks/results/recommend.{json,md}.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from unittest import mock

import numpy as np

from benchmarks import measured, online_stores, recommend_page
from benchmarks.recommend_page import ALL, Figure
from core.data import tables
from core.errors import LlmcfError
from core.progress import say
from core.settings import Workspace
from llmcf.feature_store.opening import open_store
from llmcf.online.reader import USER
from llmcf.online.views import views
from llmcf.serving import recommender as serving
from llmcf.serving import releases
from llmcf.serving.manifest import Release
from llmcf.serving.recommender import Recommender
from llmcf.serving.triton_client import Client, canary, open_locally
from llmcf.serving.triton_server import run_triton

K = 10
_USERS, _WARM_UP = 200, 10
_START = """
import resource, sys, time
from llmcf.serving import releases
from llmcf.serving.recommender import Recommender
loaded = Recommender.load(releases.read(sys.argv[1], int(sys.argv[2])))
print(time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@dataclass(slots=True)
class Served:
    """A release that is loaded and has a server."""

    name: str
    recommender: Recommender
    client: Client
    taken: dict[tuple[int, str], list[float]] = field(default_factory=dict)

    def ask(self, user: str, candidates: int, *, count: bool) -> None:
        """Recommend, and keep what each stage took."""
        with mock.patch.object(serving, "CANDIDATES", candidates):
            start = time.perf_counter()
            answer = self.recommender.recommend(self.client, user, K)
            whole = (time.perf_counter() - start) * 1e3
        if count:
            for stage, spent in (answer.milliseconds | {ALL: whole}).items():
                self.taken.setdefault((candidates, stage), []).append(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="movielens-100k", help="whose releases (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=200, help="requests of each kind (default: %(default)s)")
    parser.add_argument("--candidates", type=int, nargs="+", default=[100, 200], help="(default: %(default)s)")
    parser.add_argument(
        "--ahead", action="store_true", help="time ahead of all other processes, by real-time scheduling; Linux, root"
    )
    arguments = parser.parse_args()
    try:
        chosen = newest(arguments.dataset)
    except LlmcfError as error:
        say(f"requests are not timed: {error}")
        return
    ws = next(iter(chosen.values())).workspace
    start = {name: started(release) for name, release in chosen.items()}
    figures: list[Figure] = []
    for store, opened in (("SQLite", online_stores.sqlite), ("Redis", online_stores.redis)):
        try:
            with opened(ws) as bare:
                figures += measure(store, chosen, bare, arguments.candidates, arguments.rounds, ahead=arguments.ahead)
        except LlmcfError as error:
            say(f"{store} is not timed: {error}")
    command = f"python -m benchmarks.recommend --dataset {arguments.dataset} --rounds {arguments.rounds}"
    command += " --ahead" if arguments.ahead else ""
    text = recommend_page.page(figures, chosen, start, command)
    account = {"command": command, "start": start, "figures": [asdict(one) for one in figures]}
    measured.write("recommend", account, text)
    say(text)


def newest(dataset: str) -> dict[str, Release]:
    """The newest releases with LLM-CF and without, by the framework of the ranker.

    Raises:
        LlmcfError: if there is none.
    """
    found: dict[str, Release] = {}
    for release in sorted(releases.of(dataset), key=lambda one: one.number, reverse=True):
        found.setdefault(release.stages["ranker"].framework, release)
    chosen = {name: found[name] for name in ("llm-cf", "none") if name in found}
    if not chosen:
        releases.require(dataset)
        raise LlmcfError(f"no release of {dataset} is of framework llm-cf or none; `llmcf export` makes one")
    return chosen


def started(release: Release) -> dict[str, float]:
    """Seconds from starting Python to a loaded Recommender, those on the processor, and MiB; in a fresh process."""
    start = time.perf_counter()
    command = [sys.executable, "-c", _START, release.dataset, str(release.number)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    busy, peak = done.stdout.split()[-2:]
    return {"seconds": round(time.perf_counter() - start, 1), "cpu_seconds": round(float(busy), 1), "mib": int(peak)}


@contextmanager
def served(chosen: dict[str, Release], *, ahead: bool) -> Iterator[list[Served]]:
    """Each release loaded and on a server; with `ahead` from there on nobody else is computed for first."""
    loaded = {name: Recommender.load(release) for name, release in chosen.items()}
    for recommender in loaded.values():
        recommender.prepare()
    with ExitStack() as stack:
        if ahead:  # the servers inherit it
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
            stack.callback(os.sched_setscheduler, 0, os.SCHED_OTHER, os.sched_param(0))
        made = []
        for name, release in chosen.items():
            server = stack.enter_context(run_triton(release.models))
            canary(server, release.models, release.stages)
            made.append(Served(name, loaded[name], stack.enter_context(Client(server, release.stages))))
        yield made


def measure(
    store: str,
    chosen: dict[str, Release],
    bare: online_stores.Bare,
    candidates: Sequence[int],
    rounds: int,
    *,
    ahead: bool,
) -> list[Figure]:
    """All figures with one online store."""
    with served(chosen, ahead=ahead) as all_served:
        ws = all_served[0].recommender.release.workspace
        users = active(ws)
        floors = {
            (one.name, count, f"{what}, floor"): call
            for one in all_served
            for count in candidates
            for what, call in _floors(one, ws, bare, users, count).items()
        }
        taken: dict[tuple[str, int, str], list[float]] = {key: [] for key in floors}
        for number in range(-_WARM_UP, rounds):
            for one in all_served:
                for place, count in enumerate(candidates):  # users of each one's own: what is kept of one is no help
                    user = users[(number + place * len(users) // len(candidates)) % len(users)]
                    one.ask(user, count, count=number >= 0)
            for key, call in floors.items():
                start = time.perf_counter()
                call()
                if number >= 0:
                    taken[key].append((time.perf_counter() - start) * 1e3)
        for one in all_served:
            taken |= {(one.name, count, stage): spent for (count, stage), spent in one.taken.items()}
    return [_figure(store, *key, spent) for key, spent in taken.items()]


def _figure(store: str, release: str, candidates: int, stage: str, spent: list[float]) -> Figure:
    p50, p99 = np.percentile(spent, [50, 99])
    return Figure(
        store=store,
        release=release,
        candidates=candidates,
        stage=stage,
        requests=len(spent),
        p50_ms=round(float(p50), 2),
        p99_ms=round(float(p99), 2),
    )


def _floors(
    one: Served, ws: Workspace, bare: online_stores.Bare, users: Sequence[str], candidates: int
) -> dict[str, Callable[[], object]]:
    """What no stage can be quicker than, by the stage's name."""
    recommender, release = one.recommender, one.recommender.release
    row = recommender.users.row_of(users[0])
    assert row is not None
    asked: dict[str, dict[str, np.ndarray]] = {}
    infer = one.client.infer
    with (
        mock.patch.object(serving, "CANDIDATES", candidates),
        mock.patch.object(
            one.client, "infer", lambda model, arrays: infer(model, asked.setdefault(model, dict(arrays)))
        ),
    ):
        recommender.recommend(one.client, users[0], K)
    found = {
        "features": bare([(view, [row]) for view in views(open_store(ws.path("feast")), USER)]),
        "user vector": one.client.server_version,
        "item search": product(recommender.items.exact.vectors_NX),
        "ranker": graph(release, "ranker", asked["ranker"]),
    }
    if recommender.examples is not None:
        key_MX = recommender.examples.stored.key_MX
        found["examples"] = product(key_MX[:, : key_MX.shape[1] // 2])
    return found


def graph(release: Release, model: str, arrays: dict[str, np.ndarray]) -> Callable[[], object]:
    """The graph in this process, with what Triton was sent; an optional input is zero."""
    stage = release.stages[model]
    rows = len(next(iter(arrays.values())))
    feed = {
        tensor.name: arrays.get(tensor.name, np.zeros((rows, *tensor.shape), dtype=tensor.dtype))
        for tensor in stage.inputs
    }
    run = open_locally(release.models / model / str(stage.version) / "model.onnx", model)
    return lambda: run(feed)


def product(vectors_NX: np.ndarray) -> Callable[[], object]:
    """One vector times all rows, which lie as they are multiplied fastest (ict/exact.py)."""
    query_X, across_XN = np.full(vectors_NX.shape[1], 0.1, dtype=np.float32), np.ascontiguousarray(vectors_NX.T)
    return lambda: query_X @ across_XN


def active(ws: Workspace) -> list[str]:
    """Raw ids of users drawn from those who have taken something here."""
    users = tables.users(ws)
    raw_ids = dict(zip(users["user"].to_pylist(), users["raw_id"].to_pylist(), strict=True))
    known = np.unique(tables.interactions(ws)["user"].to_numpy())
    drawn = np.random.default_rng(0).choice(known, min(_USERS, len(known)), replace=False)
    return [raw_ids[int(user)] for user in drawn]


if __name__ == "__main__":
    main()
