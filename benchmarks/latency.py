"""How long Triton takes to answer: p50 and p99 of one row and of 100 candidates in one batch, one client on loopback.

    .venv/bin/python -m benchmarks.latency

Times the newest release in triton_models/, or invented weights of the same shapes where nothing is exported. Beside
each figure stand the same graph run in this process (what is left is the cost of serving) and a call without a model.
Writes benchmarks/results/latency.{json,md}.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from core import machine, settings, steps, storage
from core.contracts import FIRST_ID, TRITON_MODELS
from core.data import tables
from core.progress import say
from core.settings import PROJECT, Workspace
from llmcf.serving import releases
from llmcf.serving.releases import Release
from llmcf.serving.triton_client import Client, canary, open_locally
from llmcf.serving.triton_server import run_triton
from tests import synthetic_release

BATCHES = (1, 100)
TRITON, LOCAL, EMPTY = "Triton", "ONNX Runtime in process", "HTTP call without a model"
RESULTS = PROJECT / "benchmarks" / "results"
_WARM_UP = 20
_POOL = 200  # different questions


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Milliseconds of `requests` calls, one after the other."""

    what: str
    model: str
    batch: int
    requests: int
    p50_ms: float
    p99_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.5, help="time for each of 9 figures (default: %(default)s)")
    parser.add_argument("--synthetic", action="store_true", help="time invented weights even where a release is there")
    arguments = parser.parse_args()
    with _repository(arguments.synthetic) as (repository, release):
        figures, server_version = measure(repository, release, arguments.seconds)
    write(RESULTS, figures, release, server_version, f"python -m benchmarks.latency --seconds {arguments.seconds:g}")
    say((RESULTS / "latency.md").read_text(encoding="utf-8"))


@contextmanager
def _repository(synthetic: bool) -> Iterator[tuple[Path, Release]]:
    """The exported release, else a synthetic one for the length of the block."""
    release = None if synthetic else releases.newest(settings.triton_models())
    if release:
        yield settings.triton_models(), release
        return
    settings.home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.home(), prefix="latency-") as folder:
        yield Path(folder), synthetic_release.write_release(Path(folder), Workspace("synthetic", "shuffled-ties"))


def measure(repository: Path, release: Release, seconds: float) -> tuple[list[Figure], str]:
    """All figures, and the version of the server."""
    figures = []
    with run_triton(repository) as server, Client(server) as client:
        canary(server, repository)
        for model in TRITON_MODELS:
            local = open_locally(repository / model / str(release.number) / "model.onnx", model)
            for batch in BATCHES:
                pool = _questions(release, batch)
                for what, call in ((TRITON, partial(client.infer, model)), (LOCAL, local)):
                    figures.append(_figure(what, model, batch, [partial(call, arrays) for arrays in pool], seconds))
        figures.append(_figure(EMPTY, "", 0, [client.server_version], seconds))
        return figures, client.server_version()


def _questions(release: Release, batch: int) -> list[dict[str, np.ndarray]]:
    """Different requests: one user's row and `batch` items, as the service asks."""
    generator = np.random.default_rng(0)
    limits = _limits(release)
    made = []
    for _ in range(_POOL):
        question = {}
        for tensor in (tensor for inputs, _ in TRITON_MODELS.values() for tensor in inputs):
            shape = (batch, *tensor.shape)
            if tensor.dtype == "int64":
                values = generator.integers(0, limits[tensor.name], shape)
            else:
                values = generator.random(shape, dtype=np.float32)
            shared = tensor.name in ("user", "history")
            question[tensor.name] = np.repeat(values[:1], batch, axis=0) if shared else values
        made.append(question)
    return made


def _limits(release: Release) -> dict[str, int]:
    """The number of rows of the table behind each id input."""
    names = ("user", "item", "history", "examples")
    if _is_synthetic(release):
        return dict.fromkeys(names, synthetic_release.ROWS)
    ws = release.workspace
    users, items = tables.users(ws).num_rows + FIRST_ID, tables.items(ws).num_rows + FIRST_ID
    index = steps.Step(folder=ws.path("cot", "index"), config=None).stamp()
    examples = index["summary"]["count"] + 1 if index else 1
    return dict(zip(names, (users, items, items, examples), strict=True))


def _figure(what: str, model: str, batch: int, calls: list[Callable[[], object]], seconds: float) -> Figure:
    for number in range(_WARM_UP):
        calls[number % len(calls)]()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        calls[len(taken) % len(calls)]()
        taken.append(time.perf_counter() - start)
    p50, p99 = np.percentile(taken, [50, 99]) * 1e3
    return Figure(what=what, model=model, batch=batch, requests=len(taken), p50_ms=round(p50, 3), p99_ms=round(p99, 3))


def write(folder: Path, figures: list[Figure], release: Release, server_version: str, command: str) -> None:
    """Write the figures with all that they were measured on."""
    here = {**machine.describe(), "triton": server_version, "load": os.getloadavg()[0]}
    timed = {"backbones": release.backbones, "dataset": release.dataset, "framework": release.framework}
    account = {"command": command, "release": timed, "machine": here, "figures": [asdict(f) for f in figures]}
    storage.write_json(folder / "latency.json", account)
    with storage.atomic_path(folder / "latency.md") as beside:
        beside.write_text(_page(figures, release, here, command), encoding="utf-8")


def _page(figures: list[Figure], release: Release, here: Mapping[str, object], command: str) -> str:
    backbones = " and ".join(release.backbones.values()) if not _is_synthetic(release) else "invented weights"
    lines = [
        "# Latency of serving",
        "",
        f"{backbones}, {release.framework}, {release.dataset}; one client, one call after the other, on loopback.",
        f"Triton {here['triton']} on {machine.sentence()}, load average {here['load']:.1f}. `{command}`",
        "",
        "| model | rows in the batch | what | p50 ms | p99 ms | calls |",
        "|---|---|---|---|---|---|",
    ]
    for f in figures:
        lines.append(f"| {f.model} | {f.batch or ''} | {f.what} | {f.p50_ms:.2f} | {f.p99_ms:.2f} | {f.requests:,} |")
    return "\n".join([*lines, ""])


def _is_synthetic(release: Release) -> bool:
    return release.source.startswith(synthetic_release.SOURCE)


if __name__ == "__main__":
    main()
