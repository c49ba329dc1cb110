"""Indexes of examples: building, memory, recall and time of a search, on Milvus Lite and a Milvus server.

    .venv/bin/python -m benchmarks.index

Reads the prepared examples of a data set: real keys, and for larger sizes jittered copies of them. Requests are real
rows of the test split; each asks for two examples of each label of strictly earlier days. Every case is a process
of its own, so that its memory is its own. Writes benchmarks/results/index.{json,md}.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import index_page, measured
from core import schemas, storage
from core.data import tables
from core.errors import LlmcfError
from core.progress import say
from core.settings import Workspace
from ict import milvus
from ict.examples import ExampleSet, Requests, keys
from ict.filters import Filter
from ict.index import records
from ict.milvus.indexes import IndexConfig
from ict.milvus.records import Column
from ict.replica import Selection, ServingReplica
from tests import in_memory
from tests.milvus_server import TOKEN, run_milvus

KIND = "cot"
CASES = ",".join(
    [f"{server}:{kind}:30000" for server in ("lite", "server") for kind in ("FLAT", "IVF_FLAT", "HNSW")]
    + [f"{server}:{kind}:300000" for server in ("lite", "server") for kind in ("FLAT", "IVF_FLAT")]
)
JITTER = 0.3  # length of what is added to a key of length 1
CANDIDATES, WARM_UP = 100, 5
EFFORTS = {"HNSW": ("ef", (64, 128, 256, 512, 1024)), "IVF_FLAT": ("nprobe", (16, 32, 64, 128, 256))}
CHANGED = 0.01  # of the rows are new in a refresh


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="amazon-beauty")
    parser.add_argument("--order", default="published")
    parser.add_argument("--set", default="tenth", dest="cot_set", help="set of chains of thought")
    parser.add_argument("--cases", default=CASES, help="Milvus:index:examples (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=100, help="searches that are timed (default: %(default)s)")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        case(arguments, Path(arguments.case))
        return
    found = [one for one in cases(arguments) if one]
    command = f"python -m benchmarks.index --cases {arguments.cases} --requests {arguments.requests}"
    account = {
        "command": command,
        "dataset": f"{arguments.dataset} {arguments.order}, set {arguments.cot_set}",
        "jitter": JITTER,
        "seed": 0,
        "cases": found,
    }
    measured.write("index", account, index_page.page(account, measured.sentence()))
    say((measured.RESULTS / "index.md").read_text(encoding="utf-8"))


def cases(arguments: argparse.Namespace) -> Iterator[dict[str, Any] | None]:
    """The replica, then each case, in a process each."""
    yield run({"server": "replica", "kind": "exact", "size": 0})
    for words in arguments.cases.split(","):
        server, kind, size = words.split(":")
        yield run({"server": server, "kind": kind, "size": int(size)})


def run(what: dict[str, Any]) -> dict[str, Any] | None:
    """One case in a process of its own; None where it cannot be measured here."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "case.json"
        path.write_text(json.dumps(what), encoding="utf-8")
        try:
            spent = measured.run([sys.executable, "-m", "benchmarks.index", *sys.argv[1:], "--case", str(path)])
        except LlmcfError as error:
            say(f"{what} is not measured: {error}")
            return None
        found = {**json.loads(path.read_text(encoding="utf-8")), "process_mib": spent.peak_mib}
        say(json.dumps({name: value for name, value in found.items() if name != "efforts"}))
        return found


def case(arguments: argparse.Namespace, path: Path) -> None:
    """Measure the case that the file names, and write what was found into it."""
    what = json.loads(path.read_text(encoding="utf-8"))
    ws = Workspace(arguments.dataset, arguments.order)
    rows = tables.training_rows(ws)
    examples = ExampleSet.load(ws, arguments.cot_set, rows)
    generator = np.random.default_rng(0)
    test = rows.filter(rows["split"].to_numpy() == "test")
    asked = Requests.of(test.take(np.sort(generator.choice(len(test), arguments.requests, replace=False))))
    if what["server"] == "replica":
        found = replica(examples, asked)
    else:
        path_of_texts = ws.cot("texts", arguments.cot_set) / "texts.parquet"
        texts = storage.read_table(path_of_texts, schemas.COT_TEXTS, "llmcf cot generate")["text"].to_pylist()
        made = jittered(examples, texts, what["size"], IndexConfig(kind=what["kind"]), generator)
        query_BX = keys(examples.item_vectors_VE, asked.history_BL, asked.item_B).numpy()
        del rows, examples
        with at(what["server"]) as (home, pid):
            found = index(home, made, query_BX, asked.day_B.tolist())
            found["server_mib"] = resident(pid) if pid else None
    path.write_text(json.dumps({**what, **found}), encoding="utf-8")


def jittered(
    examples: ExampleSet, texts: Sequence[str], size: int, config: IndexConfig, generator: np.random.Generator
) -> milvus.Records:
    """`size` examples as `cot index` writes them: the real ones, then copies of them with noise on their keys."""
    real = records(examples, list(texts), index=config, until=int(examples.day_M[1:].max()) + 1)
    copies = -(-size // len(real.ids))
    of_M = np.sort(generator.permutation(np.tile(np.arange(len(real.ids)), copies))[:size])
    vectors = {name: values[of_M] for name, values in real.vectors.items()}
    again, key_MX = np.flatnonzero(np.diff(of_M, prepend=-1) == 0), vectors["key"]
    for at in np.array_split(again, max(1, len(again) // 20_000)):
        noise = generator.normal(size=(len(at), key_MX.shape[1])).astype(np.float32)
        key_MX[at] += JITTER * noise / np.sqrt(key_MX.shape[1])
        key_MX[at] /= np.linalg.norm(key_MX[at], axis=1, keepdims=True)
    scalars = {name: _taken(values, of_M) for name, values in real.scalars.items()}
    return replace(real, ids=np.arange(1, size + 1), vectors=vectors, scalars=scalars)


def _taken(column: Column, of_M: np.ndarray) -> Column:
    return column[of_M] if isinstance(column, np.ndarray) else [str(column[row]) for row in of_M]


def index(home: Path, made: milvus.Records, query_BX: np.ndarray, days: list[int]) -> dict[str, Any]:
    """Build a version, refresh it, and search it."""
    ws = Workspace("amazon-beauty", "published")
    most = int(len(made.ids) * (1 - CHANGED))
    part = replace(
        made,
        ids=made.ids[:most],
        vectors={name: values[:most] for name, values in made.vectors.items()},
        scalars={name: values[:most] for name, values in made.scalars.items()},
    )
    with milvus.connect(ws) as client:
        try:
            built = milvus.account_of(client, milvus.publish(client, ws, KIND, part))
        except LlmcfError as error:
            return {"milvus": str(milvus.Server.of(client)), "index": made.index.as_json(), "refused": str(error)}
    size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    with milvus.connect(ws) as client:
        refreshed = milvus.account_of(client, milvus.publish(client, ws, KIND, made))
        collection = milvus.open_live(client, ws, KIND, "")
        exact = [wanted(made, query, day) for query, day in zip(query_BX, days, strict=True)]
        efforts = [searched(one, query_BX, days, exact) for one in tried(collection)]
    return {
        "milvus": built["server"],
        "index": built["index"],
        "built": built["seconds"],
        "disk_mib": round(size / 2**20),
        "refreshed": refreshed["seconds"],
        "changes": refreshed["changes"],
        "efforts": efforts,
    }


def tried(collection: milvus.Collection) -> Iterator[milvus.Collection]:
    """The collection, searched with little and with much effort."""
    config = collection.index
    if config.exact:
        yield collection
        return
    name, values = EFFORTS[config.kind]
    for value in values:
        yield replace(collection, account={**collection.account, "index": {**config.as_json(), name: value}})


def searched(
    collection: milvus.Collection, query_BX: np.ndarray, days: list[int], exact: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Recall@4 of the requests, two of each label, and the milliseconds of a search for one label."""
    taken, shares = [], []
    for number, (query_X, day, best) in enumerate(zip(query_BX, days, exact, strict=True)):
        found = 0
        for label, least in zip((1, 0), best, strict=True):
            start = time.perf_counter()
            rule = Filter(before=day, label=label)
            _, scores = collection.search(query_X[None], 2, rule, vector="key", none_left=True)
            taken.append((time.perf_counter() - start) * 1e3)
            found += int((scores[0] >= least - 1e-4).sum())
        shares.append(min(1.0, found / 4))
        if number < WARM_UP:
            taken.clear()
    p50, p99 = np.percentile(taken, (50, 99))
    index = collection.index.as_json()
    return {
        "index": index,
        "recall": round(float(np.mean(shares)), 4),
        "p50_ms": round(p50, 2),
        "p99_ms": round(p99, 2),
    }


def wanted(made: milvus.Records, query_X: np.ndarray, day: int) -> np.ndarray:
    """The score of the second best example of each label, (2,): what is as near is as good."""
    score_M = made.vectors["key"] @ query_X
    columns = {name: np.asarray(made.scalars[name]) for name in ("day", "label")}
    return np.array([np.sort(score_M[(columns["day"] < day) & (columns["label"] == label)])[-2] for label in (1, 0)])


def replica(examples: ExampleSet, asked: Requests) -> dict[str, Any]:
    """A request's candidates by the serving replica, and by a masked product in NumPy over the same vectors."""
    chosen = {name: Selection(recipe="strict", seed=0) for name in ("ranking", "retrieval")}
    ours = ServingReplica(in_memory.stored(examples), examples.item_vectors_VE.numpy(), **chosen)
    key_MX = examples.candidates().key_MX.numpy()
    label_M, day_M = examples.label_M.numpy(), examples.day_M.numpy()
    items_C = torch.arange(2, 2 + CANDIDATES)

    def shown(row: int) -> object:
        return ours.for_ranking(
            user=int(asked.user_B[row]),
            position=int(asked.position_B[row]),
            day=int(asked.day_B[row]),
            history_L=asked.history_BL[row].numpy(),
            items_C=items_C.numpy(),
        )

    def product(row: int) -> object:
        history_CL = asked.history_BL[row].expand(CANDIDATES, -1)
        query_CX = keys(examples.item_vectors_VE, history_CL, items_C).numpy()
        score_CM = query_CX @ key_MX.T
        score_CM[:, day_M >= int(asked.day_B[row])] = -np.inf
        return [np.argpartition(score_CM[:, label_M == label], -2, axis=1)[:, -2:] for label in (1, 0)]

    def masked(row: int) -> object:
        history_CL = asked.history_BL[row].expand(CANDIDATES, -1)
        score_CM = keys(examples.item_vectors_VE, history_CL, items_C).numpy() @ key_MX.T
        score_CM[:, day_M >= int(asked.day_B[row])] = -np.inf
        return score_CM

    calls: dict[str, Callable[[int], object]] = {"replica": shown, "product": masked, "product and best": product}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for row in range(len(asked)):
        for name, call in calls.items():  # they take turns, so that a busy moment hits all alike
            start = time.perf_counter()
            call(row)
            if row >= WARM_UP:
                taken[name].append((time.perf_counter() - start) * 1e3)
    return {
        "rows": examples.count,
        "candidates": CANDIDATES,
        "milliseconds": {
            name: {"p50": round(float(np.percentile(times, 50)), 2), "p99": round(float(np.percentile(times, 99)), 2)}
            for name, times in taken.items()
        },
    }


@contextmanager
def at(server: str) -> Iterator[tuple[Path, int | None]]:
    """A home of the case's own, on Milvus Lite or on a server of its own, whose process is told."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["LLMCF_HOME"] = str(home)
        os.environ.pop("LLMCF_MILVUS_URI", None)
        pid = None
        if server == "server":
            running = stack.enter_context(run_milvus())
            os.environ.update(LLMCF_MILVUS_URI=running.uri, LLMCF_MILVUS_TOKEN=TOKEN)
            pid = running.pid
        yield home, pid


def resident(pid: int) -> int:
    """The largest resident set of a process, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
