"""How long Triton takes to answer: p50 and p99 of one row and of 100 candidates in one batch, one client on loopback.

    .venv/bin/python -m benchmarks.latency

Times the live release of a data set, or invented weights of the same shapes where nothing is exported. Beside
each figure stand the same graph run in this process (what is left is the cost of serving) and a call without a model.
Writes benchmarks/results/latency.{json,md}.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from safetensors import safe_open

from core import machine, settings, storage
from core.progress import say
from core.settings import PROJECT, Workspace
from ict import onnx
from llmcf.serving import releases
from llmcf.serving.manifest import Release
from llmcf.serving.triton_client import Client, LocalModels, canary
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
    parser.add_argument("--dataset", default="movielens-100k", help="whose live release (default: %(default)s)")
    parser.add_argument("--synthetic", action="store_true", help="time invented weights even where a release is there")
    arguments = parser.parse_args()
    with a_release(arguments.dataset, arguments.synthetic) as release:
        figures, server_version = measure(release, arguments.seconds)
        command = f"python -m benchmarks.latency --dataset {arguments.dataset} --seconds {arguments.seconds:g}"
        write(RESULTS, figures, release, server_version, command)
    say((RESULTS / "latency.md").read_text(encoding="utf-8"))


@contextmanager
def a_release(dataset: str, synthetic: bool) -> Iterator[Release]:
    """The live release, else a synthetic one for the length of the block."""
    release = None if synthetic else releases.live(dataset)
    if release:
        yield release
        return
    settings.home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.home(), prefix="latency-") as folder:
        os.environ["LLMCF_TRITON_MODELS"] = folder
        yield synthetic_release.write_release(Workspace(dataset, "shuffled-ties"))


def measure(release: Release, seconds: float) -> tuple[list[Figure], str]:
    """All figures, and the version of the server."""
    figures = []
    with run_triton(release.models) as server, Client(server, release.stages) as client:
        canary(server, release.models, release.stages)
        local = LocalModels(release.models, release.stages)
        for model in release.stages:
            for batch in BATCHES:
                pool = questions(release, model, batch)
                for what, call in ((TRITON, client.infer), (LOCAL, local.infer)):
                    calls = [partial(call, model, arrays) for arrays in pool]
                    figures.append(_figure(what, model, batch, calls, seconds))
        figures.append(_figure(EMPTY, "", 0, [client.server_version], seconds))
        return figures, client.server_version()


def questions(release: Release, model: str, batch: int) -> list[dict[str, np.ndarray]]:
    """Different requests: one user's row and `batch` items that the release knows, as the service asks."""
    generator = np.random.default_rng(0)
    limits = _limits(release)
    made = []
    for _ in range(_POOL):
        question = {}
        for tensor in release.stages[model].inputs:
            if tensor.optional:
                continue
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
    examples = synthetic_release.ROWS
    if not _is_synthetic(release):
        tables = release.models / "ranker" / str(release.stages["ranker"].version) / onnx.TABLES
        with safe_open(tables, framework="np") as stored:
            examples = stored.get_slice("tokens_M3W").get_shape()[0] if "tokens_M3W" in stored.keys() else 1  # noqa: SIM118
    return {"user": release.users_end, "item": release.items_end, "history": release.items_end, "examples": examples}


def _figure(what: str, model: str, batch: int, calls: Sequence[Callable[[], object]], seconds: float) -> Figure:
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
    timed = {"models": _models(release), "dataset": release.dataset, "release": release.number}
    account = {"command": command, "release": timed, "machine": here, "figures": [asdict(f) for f in figures]}
    storage.write_json(folder / "latency.json", account)
    with storage.atomic_path(folder / "latency.md") as beside:
        beside.write_text(_page(figures, release, here, command), encoding="utf-8")


def _page(figures: list[Figure], release: Release, here: Mapping[str, object], command: str) -> str:
    models = " and ".join(_models(release).values()) if not _is_synthetic(release) else "invented weights"
    lines = [
        "# Latency of serving",
        "",
        f"{models}, {release.dataset}; one client, one call after the other, on loopback.",
        f"Triton {here['triton']} on {machine.sentence()}, load average {here['load']:.1f}. `{command}`",
        "",
        "| model | rows in the batch | what | p50 ms | p99 ms | calls |",
        "|---|---|---|---|---|---|",
    ]
    for f in figures:
        lines.append(f"| {f.model} | {f.batch or ''} | {f.what} | {f.p50_ms:.2f} | {f.p99_ms:.2f} | {f.requests:,} |")
    return "\n".join([*lines, ""])


def _models(release: Release) -> dict[str, str]:
    return {model: f"{stage.backbone} {stage.framework}" for model, stage in release.stages.items()}


def _is_synthetic(release: Release) -> bool:
    return release.source.startswith(synthetic_release.SOURCE)


if __name__ == "__main__":
    main()
