"""What Triton's dynamic batching gives: requests a second and their times, with several clients, for each way to batch.

    .venv/bin/python -m benchmarks.batching --dataset amazon-beauty

A client is a process which asks as a worker of the service does, for one user's vector and then for the scores of 200
candidates, each request after the other. Every way gets a Triton of its own on the live release, or on invented weights
where nothing is exported; the ways take turns. Writes benchmarks/results/batching.{json,md}.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks import latency, measured
from core.markdown import table
from core.progress import say
from llmcf.service.asking import CANDIDATES
from llmcf.serving.manifest import Release
from llmcf.serving.triton_client import Client
from llmcf.serving.triton_server import Server, run_triton

SHIPPED = "dynamic_batching { }\n"
WAYS = {
    "one request after the other": "",
    "what waits together (shipped)": SHIPPED,
    "waits .5 ms for more": "dynamic_batching { max_queue_delay_microseconds: 500 }\n",
    "waits 2 ms for more": "dynamic_batching { max_queue_delay_microseconds: 2000 }\n",
}
_WARM_UP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Both calls of a request together."""

    way: str
    clients: int
    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="movielens-100k", help="whose live release (default: %(default)s)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16], help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="(default: %(default)s)")
    asked = parser.parse_args()
    with latency.a_release(asked.dataset, synthetic=False) as release:
        figures = measure(release, asked.clients, asked.seconds, asked.rounds)
        command = f"python -m benchmarks.batching --dataset {asked.dataset} --seconds {asked.seconds:g}"
        command += f" --rounds {asked.rounds} --clients {' '.join(map(str, asked.clients))}"
        text = page(figures, release, command)
    measured.write("batching", {"command": command, "figures": [asdict(one) for one in figures]}, text)
    say(text)


def measure(release: Release, clients: Sequence[int], seconds: float, rounds: int) -> list[Figure]:
    """Of every way and number of clients."""
    taken: dict[tuple[str, int], list[float]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="llmcf-batching-") as name,
        ProcessPoolExecutor(max(clients), mp_context=get_context("spawn")) as pool,
    ):
        for way, words in WAYS.items():
            batched(release, words, Path(name) / way)
        for _ in range(rounds):
            for way in WAYS:
                with run_triton(Path(name) / way) as server:
                    for count in clients:
                        say(f"{way}: {count} clients for {seconds:g} s")
                        asked = [pool.submit(ask, server, release, seconds, number) for number in range(count)]
                        taken.setdefault((way, count), []).extend(ms for one in asked for ms in one.result())
    return [_figure(way, count, ms, seconds * rounds) for (way, count), ms in taken.items()]


def batched(release: Release, words: str, folder: Path) -> None:
    """A model repository of the release in which `words` stand for how to batch."""
    shutil.copytree(release.models, folder)
    for model in release.stages:
        config = folder / model / "config.pbtxt"
        text = config.read_text(encoding="utf-8")
        if text.count(SHIPPED) != 1:
            raise AssertionError(f"{config} does not say {SHIPPED!r} once: what is shipped is another way now")
        config.write_text(text.replace(SHIPPED, words), encoding="utf-8")


def ask(server: Server, release: Release, seconds: float, number: int) -> list[float]:
    """One client; the milliseconds of its requests."""
    tower, ranker = (latency.questions(release, model, n) for model, n in (("user_vector", 1), ("ranker", CANDIDATES)))
    taken: list[float] = []
    with Client(server, release.stages) as client:
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            at = (number * 37 + len(taken)) % len(tower)
            client.infer("user_vector", tower[at])
            client.infer("ranker", ranker[at])
            taken.append((time.perf_counter() - start) * 1e3)
    return taken[_WARM_UP:]


def _figure(way: str, clients: int, ms: Sequence[float], seconds: float) -> Figure:
    p50, p99 = np.percentile(ms, [50, 99])
    return Figure(
        way=way,
        clients=clients,
        requests=len(ms),
        per_second=round(len(ms) / seconds, 1),
        p50_ms=round(float(p50), 2),
        p99_ms=round(float(p99), 2),
    )


def page(figures: Sequence[Figure], release: Release, command: str) -> str:
    """The figures with what they were measured on, as Markdown."""
    counts = list(dict.fromkeys(one.clients for one in figures))
    at = {(one.way, one.clients): one for one in figures}
    rows = [
        [way, *(f"{(one := at[way, count]).per_second:.0f}, {one.p50_ms:.1f} / {one.p99_ms:.1f}" for count in counts)]
        for way in WAYS
    ]
    models = " and ".join(f"{one.backbone} {one.framework} {one.recipe}" for one in release.stages.values())
    heads = [f"{count} client{'s' * (count > 1)}" for count in counts]
    lines = [
        "# Dynamic batching",
        "",
        f"Requests a second, and p50 / p99 in ms: a user's vector and the scores of {CANDIDATES} candidates, "
        f"{release.dataset}, {models}. Clients are processes on this machine, as Triton is.",
        f"{measured.sentence()}. `{command}`",
        "",
        *table(["Triton computes", *heads], rows),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
