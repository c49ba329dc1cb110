"""How soon what comes in is seen: events at a steady rate and new items, from acceptance to the online features.

    .venv/bin/python -m benchmarks.intake --dataset amazon-beauty --order published

The workspace must be materialized; it is copied to a home of the benchmark's own, on SQLite and on a Redis. The writer
is the service's process, events are accepted one by one as a worker does it, and a reader looks for each user's newest
item. Writes benchmarks/results/intake.{json,md}.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread

import numpy as np

from benchmarks import measured
from core import settings, storage
from core.data import kept, tables, vocabulary
from core.errors import LlmcfError
from core.progress import say
from core.settings import Workspace
from llm import models
from llmcf.feature_store import jobs, registry
from llmcf.online.reader import OnlineFeatures
from llmcf.service import additions, intake, state
from llmcf.service.inbox import Inbox
from llmcf.service.intake_messages import EventIn, ItemIn
from llmcf.service.reception import Reception
from llmcf.service.store import Store
from tests.redis_server import run_redis
from tests.synthetic_release import write_release

_ITEMS_EVERY_S = 3.0
_LOOK_S = 0.002
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Milliseconds from before acceptance until it is seen; `accept_p95_ms` is the judgement and the commit alone."""

    store: str
    what: str
    count: int
    p50_ms: float
    p95_ms: float
    most_ms: float
    accept_p95_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="movielens-100k")
    parser.add_argument("--order", help="(default: the data set's own)")
    parser.add_argument("--rate", type=float, default=20.0, help="events a second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long (default: %(default)s)")
    arguments = parser.parse_args()
    ws, figures = Workspace(arguments.dataset, arguments.order or kept.default_order(arguments.dataset)), []
    for name, place in (("SQLite", _on_sqlite), ("Redis", _on_redis)):
        try:
            with place(ws), _writer(ws):
                figures += measure(name, ws, arguments.rate, arguments.seconds)
        except LlmcfError as error:
            say(f"{name} is not timed: {error}")
    command = (
        f"python -m benchmarks.intake --dataset {ws.dataset} --order {ws.order} --rate {arguments.rate:g}"
        f" --seconds {arguments.seconds:g}"
    )
    measured.write("intake", {"figures": [asdict(one) for one in figures]}, _page(ws, arguments, figures, command))
    say((measured.RESULTS / "intake.md").read_text(encoding="utf-8"))


def measure(store: str, ws: Workspace, rate: float, seconds: float) -> list[Figure]:
    """The figures of one store."""
    path = state.folder(ws.dataset) / "service.db"
    reception, online = Reception(ws.dataset, Inbox(path), Store(path)), OnlineFeatures(ws)
    watch = _Watch(ws, online)
    watcher = Thread(target=watch.run)
    watcher.start()
    random, start = np.random.default_rng(0), time.perf_counter()
    users, items = (table["raw_id"].to_pylist() for table in (tables.users(ws), tables.items(ws)))
    persons = random.permutation(len(users))
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, start + number / rate - time.perf_counter()))
        user, item = users[persons[number % len(users)]], items[random.integers(len(items))]
        event = EventIn(id=f"e{number}", kind="interaction", user=user, item=item)
        watch.accept("event", (user, item), lambda event=event: reception.events(ws, [event])[0].status == "accepted")
        if number % int(rate * _ITEMS_EVERY_S) == 0:
            new = ItemIn(id=f"new {number}", title=f"A novelty, the {number}th", brand="Nobody")
            watch.accept("item", (str(new.id),), lambda new=new: bool(reception.items(ws, [new])))
    watch.ended = True
    watcher.join()
    return [_figure(store, kind, watch) for kind in ("event", "item")]


class _Watch:
    """Looks for what was accepted until all of it is seen."""

    def __init__(self, ws: Workspace, online: OnlineFeatures) -> None:
        self._ws, self._online = ws, online
        self._rows = {kind: vocabulary.rows(ws.dataset, kind) for kind in ("users", "items")}
        self._followed = additions.Followed(ws.dataset)
        self._open: dict[tuple[str, ...], tuple[str, float]] = {}
        self.seen: dict[str, list[float]] = {"event": [], "item": []}
        self.accepted: dict[str, list[float]] = {"event": [], "item": []}
        self.ended = False

    def accept(self, kind: str, what: tuple[str, ...], offer: object) -> None:
        start = time.perf_counter()
        assert callable(offer)
        assert offer(), what
        self.accepted[kind].append(time.perf_counter() - start)
        self._open[what] = kind, start

    def run(self) -> None:
        end = None
        while self._open or not self.ended:
            for what, (kind, start) in list(self._open.items()):
                if self._sees(what):
                    self.seen[kind].append(time.perf_counter() - start)
                    del self._open[what]
            end = end or (time.monotonic() + _PATIENCE_S if self.ended else None)
            if end and time.monotonic() > end:
                raise AssertionError(f"never seen: {list(self._open)[:5]}")
            time.sleep(_LOOK_S)

    def _sees(self, what: tuple[str, ...]) -> bool:
        if len(what) == 1:
            found = self._followed.current().at.get(what[0])
            return found is not None and self._online.items([int(self._followed.current().row_N[found])]) != [None]
        user, item = what
        told = self._online.user(self._rows["users"][user])
        return told is not None and self._rows["items"][item] in told["history"][-1:]


def _figure(store: str, kind: str, watch: _Watch) -> Figure:
    seen, accepted = (np.array(found[kind]) * 1e3 for found in (watch.seen, watch.accepted))
    return Figure(
        store=store,
        what=kind,
        count=len(seen),
        p50_ms=round(float(np.percentile(seen, 50)), 1),
        p95_ms=round(float(np.percentile(seen, 95)), 1),
        most_ms=round(float(seen.max()), 1),
        accept_p95_ms=round(float(np.percentile(accepted, 95)), 1),
    )


@contextmanager
def _on_sqlite(ws: Workspace) -> Iterator[None]:
    """A copy of the workspace, with its store if that is SQLite, and a release that names the carried encoder."""
    home = settings.home()
    registry.materialized(ws)
    with tempfile.TemporaryDirectory(prefix="llmcf-intake-") as folder, _variables(LLMCF_REDIS=""):
        copy = Path(folder)
        shutil.copytree(home / ws.dataset / "vocabulary", copy / ws.dataset / "vocabulary")
        for name in ("data", "features", "feast"):
            shutil.copytree(ws.path(name), copy / ws.path(name).relative_to(home))
        shutil.copy(home / "home.json", copy)
        for path in (home / ws.dataset).glob("dataset.*"):
            shutil.copy(path, copy / ws.dataset)
        (copy / "models").symlink_to(home / "models")
        with _variables(LLMCF_HOME=folder, LLMCF_TRITON_MODELS=str(copy / "triton")):
            digest = models.model_hash(models.encoder_path(models.ENCODER))[:12]
            write_release(ws, encoder=f"{models.ENCODER}@{digest}")
            jobs.apply(ws)
            jobs.materialize(ws)
            yield


@contextmanager
def _on_redis(ws: Workspace) -> Iterator[None]:
    with run_redis() as server, _on_sqlite(ws), _variables(LLMCF_REDIS=server.connection):
        jobs.apply(ws)
        jobs.materialize(ws)
        yield


@contextmanager
def _writer(ws: Workspace) -> Iterator[None]:
    """The service's writer, from when it is ready."""
    process, note = (
        subprocess.Popen([sys.executable, "-m", "llmcf.service.intake", ws.dataset]),
        intake.note(ws.dataset),
    )
    try:
        while not note.exists():
            if process.poll() is not None:
                raise LlmcfError(f"the writer ended with {process.returncode}")
            time.sleep(0.05)
        say(f"the writer was ready after {storage.read_json(note)['seconds']} s")
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _variables(**values: str) -> Iterator[None]:
    before: Mapping[str, str | None] = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _page(ws: Workspace, arguments: argparse.Namespace, figures: list[Figure], command: str) -> str:
    rows = [
        f"| {one.store} | {one.what} | {one.count} | {one.p50_ms:.0f} | {one.p95_ms:.0f} | {one.most_ms:.0f} |"
        f" {one.accept_p95_ms:.0f} |"
        for one in figures
    ]
    return "\n".join(
        [
            "# How soon what comes in is seen",
            "",
            f"{ws.dataset}, {arguments.rate:g} events a second for {arguments.seconds:g} s, each accepted by itself,",
            f"and a new item every {_ITEMS_EVERY_S:g} s. An event is seen when the online features of its user have",
            "it, an item when it is in the file of additions and its row is online. Sender, writer and reader share",
            "this machine.",
            f"{measured.sentence()}. `{command}`",
            "",
            "| store | what | how many | p50 ms | p95 ms | most ms | p95 ms until accepted |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    main()
