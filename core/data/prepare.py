"""`llmcf data prepare`: raw tables -> interactions, items, users and rows with frozen negatives."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core import environments, schemas, settings, steps, storage
from core.contracts import CATEGORIES, FIRST_ID, ON_SALE, PAD, SPLITS
from core.data import rejects, texts, vocabulary
from core.data.dataset import Dataset
from core.data.datasets import DATASETS
from core.data.protocol import Protocol
from core.errors import LlmcfError, UsageError, check_choice, unknown
from core.progress import say
from core.result import Estimate, Result
from core.settings import LATEST, Workspace

ENGINES = ("duckdb", "spark")
TABLES = ("interactions", "items", "users", "rows")
_CODE = ("prepare", "dataset", "protocol", "relational", "engines", "vocabulary", "texts")


def prepare(
    ws: Workspace,
    *,
    source: Path | None,
    seed: int,
    engine: str = "duckdb",
    negative_draws: int = 1,
    max_rejects: float = 0.01,
) -> Result:
    """Fill `data/`.

    Args:
        source: where the data set's files are; None takes the default place.
        negative_draws: negatives that a training row has; an epoch uses one of them.
        max_rejects: share of the lines of interactions that may be unusable.

    Raises:
        UsageError: for an unknown data set, a malformed source, too many rejects, or no data before `as_of`.
    """
    dataset = _dataset(ws)
    check_choice("engine", engine, ENGINES)
    files = dataset.files(source)
    rules = Protocol(order=ws.order, seed=seed, end=_end(ws), draws=negative_draws)
    step = steps.Step(
        folder=ws.path("data"),
        config={"dataset": ws.dataset, "as_of": ws.as_of, "order": ws.order, "seed": seed, "draws": negative_draws},
        inputs=files,
        code=(*(f"core/data/{name}.py" for name in _CODE), *dataset.code),
    )

    def work(folder: Path) -> dict[str, Any]:
        tables = dataset.read(files)
        rejects.judge(tables.rejects, max_rejects, folder / "rejects.jsonl", ws.path("rejects.jsonl"))
        interactions(tables.interactions, ws, folder, engine, rules)
        for name, table in (("items", _items(ws, folder, tables.items)), ("users", _users(ws, folder, tables.users))):
            storage.write_table(folder / f"{name}.parquet", table, _SCHEMAS[name])
        summary = _summary(folder)
        if dataset.published and ws.as_of == LATEST:
            summary["table2"] = _table2(ws.dataset, summary, dataset.counts)
        return summary | {"rejects": tables.rejects.counts()}

    done = steps.run(step, work)
    return Result(
        verb="data prepare",
        workspace=ws,
        seed=seed,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={name: str(done.folder / f"{name}.parquet") for name in TABLES},
        details=done.summary,
    )


def estimate_prepare(ws: Workspace) -> Estimate:
    """What `prepare` would take for the complete data set."""
    interactions, items, users = _dataset(ws).counts
    return Estimate(
        seconds=3 + interactions * 2e-5,
        memory_mib=150 + interactions * 1.5e-3,
        disk_mib=22 + interactions * 3e-5,
        basis=f"{interactions:,} interactions, {items:,} items, {users:,} users at about 50,000 interactions a second "
        "on one core, and a carrier wheel of at most 22 MiB",
    )


_SCHEMAS = {"items": schemas.ITEMS, "users": schemas.USERS}


def interactions(raw_events: pa.Table, ws: Workspace, folder: Path, engine: str, rules: Protocol) -> None:
    """Write interactions.parquet and rows.parquet into `folder`; Spark runs in an environment of its own.

    Raises:
        UsageError: if nothing is left, a split would be empty, or a user has taken every item.
    """
    from core.data import relational

    raw_file = folder / "raw.parquet"
    pq.write_table(raw_events.append_column("index", pa.array(np.arange(raw_events.num_rows))), raw_file)
    job = relational.Job(dataset=ws.dataset, raw=str(raw_file), folder=str(folder), engine=engine, protocol=rules)
    try:
        if engine == "spark":
            _run_on_spark(job, folder / "job.json")
        else:
            relational.run(job)
    finally:
        raw_file.unlink()


def _run_on_spark(job: Any, path: Path) -> None:
    job.save(path)
    command = [str(environments.python("spark")), "-m", "core.data.relational", str(path)]
    done = subprocess.run(command, cwd=settings.PROJECT, capture_output=True, text=True, check=False)
    path.unlink()
    try:
        account = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        words = "\n".join(line for line in done.stderr.splitlines()[-8:])
        raise LlmcfError(f"Spark failed on {settings.spark_master()}:\n{words}") from None
    if "error" in account:
        raise (UsageError if account["exit_code"] == UsageError.exit_code else LlmcfError)(account["error"])


def _dataset(ws: Workspace) -> Dataset:
    if ws.dataset not in DATASETS:
        raise unknown("dataset", ws.dataset, DATASETS)
    return DATASETS[ws.dataset]


def _end(ws: Workspace) -> int | None:
    """The first second that no longer counts."""
    return None if ws.as_of == LATEST else int(datetime.fromisoformat(ws.as_of).replace(tzinfo=UTC).timestamp())


def _items(ws: Workspace, folder: Path, known: pa.Table) -> pa.Table:
    """All rows of the vocabulary up to the last that appeared, so that row i is item i + FIRST_ID."""
    raw_ids = _raw_ids(ws, folder, "item")
    found = _take(known, raw_ids)
    titles = [texts.clean(title, texts.TITLE_LIMIT) for title in found["title"].to_pylist()]
    brands = [texts.clean(brand, texts.LABEL_LIMIT) for brand in found["brand"].to_pylist()]
    labels = [
        [label for name in names or [] if (label := texts.clean(name, texts.LABEL_LIMIT))]
        for names in found["categories"].to_pylist()
    ]
    brand_rows = vocabulary.grow(ws.dataset, "brands", (brand for brand in brands if brand))
    category_rows = vocabulary.grow(ws.dataset, "categories", (label for names in labels for label in names))
    return pa.table(
        {
            "item": pa.array(range(FIRST_ID, FIRST_ID + len(raw_ids)), pa.int64()),
            "raw_id": raw_ids,
            "title": titles,
            "brand": brands,
            "categories": pa.array(labels, pa.list_(pa.string())),
            "brand_id": pa.array([brand_rows.get(brand, PAD) for brand in brands], pa.int64()),
            "category_ids": [[category_rows[label] for label in names[:CATEGORIES]] for names in labels],
            "text": [texts.item_text(*parts) for parts in zip(titles, brands, labels, strict=True)],
        }
    )


def _users(ws: Workspace, folder: Path, known: pa.Table) -> pa.Table:
    raw_ids = _raw_ids(ws, folder, "user")
    found = _take(known, raw_ids)
    columns = [found[name].to_pylist() for name in ("age", "gender", "occupation")]
    profiles = [texts.user_profile(*parts) for parts in zip(*columns, strict=True)]
    ids = pa.array(range(FIRST_ID, FIRST_ID + len(raw_ids)), pa.int64())
    return (
        found.drop_columns("raw_id")
        .add_column(0, "user", ids)
        .append_column("raw_id", raw_ids)
        .append_column("profile", pa.array(profiles, pa.string()))
    )


def _raw_ids(ws: Workspace, folder: Path, kind: str) -> pa.ChunkedArray:
    """Raw ids of the vocabulary's rows up to the last one that the interactions name."""
    last = int(pq.read_table(folder / "interactions.parquet", columns=[kind])[kind].to_numpy().max())
    return vocabulary.load(ws.dataset, f"{kind}s")["raw_id"].slice(0, last + 1 - FIRST_ID)


def _take(known: pa.Table, raw_ids: pa.ChunkedArray) -> pa.Table:
    """The rows of `known` that `raw_ids` name, in their order; nulls where it has none."""
    places = {raw_id: place for place, raw_id in enumerate(known["raw_id"].to_pylist())}
    return known.take(pa.array([places.get(raw_id) for raw_id in raw_ids.to_pylist()], pa.int64()))


def _table2(name: str, summary: dict[str, Any], counts: tuple[int, int, int]) -> dict[str, Any]:
    """How the counts compare with the paper's Table 2."""
    expected = dict(zip(("interactions", "items", "users"), counts, strict=True))
    found = {what: summary[what] for what in expected}
    verdict = "as in" if found == expected else f"NOT as in ({expected})"
    say(f"{name}: {', '.join(f'{count:,} {what}' for what, count in found.items())}, {verdict} the paper's Table 2")
    return {"expected": expected, "found": found, "equal": found == expected}


def _summary(folder: Path) -> dict[str, Any]:
    events = pq.read_table(folder / "interactions.parquet", columns=["user", "item"])
    rows = pq.read_table(folder / "rows.parquet", columns=["split"])["split"].value_counts().to_pylist()
    items, users = (len(events[name].unique()) for name in ("item", "user"))
    counted = {entry["values"]: entry["counts"] for entry in rows}
    return {
        "interactions": events.num_rows,
        "items": items,
        "users": users,
        "density": events.num_rows / (items * users),
        "rows": {split: counted.get(split, 0) for split in (*SPLITS, ON_SALE)},
    }
