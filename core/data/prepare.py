"""`llmcf data prepare`: raw tables -> interactions, comments, items, users and rows with frozen negatives."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core import environments, schemas, settings, steps, storage
from core.contracts import CATEGORIES, FIRST_ID, ON_SALE, PAD, SPLITS
from core.data import added, datasets, intake, quiet, rejects, texts, vocabulary
from core.data.adding import adopt
from core.data.dataset import Dataset, RawTables
from core.data.protocol import Protocol
from core.errors import LlmcfError, check_choice, from_json
from core.progress import say
from core.result import Estimate, Result
from core.settings import LATEST, Workspace

ENGINES = ("duckdb", "spark")
TABLES = ("interactions", "comments", "items", "users", "rows")
_INTAKE = ("dataset", "described", "events", "intake", "people", "rejects", "sources", "times")
_OWN = ("added", "adding", "prepare", "protocol", "quiet", "relational", "engines", "vocabulary", "texts")
CODE = (
    "core/data/files",
    *(f"core/data/{name}.py" for name in (*_INTAKE, *_OWN)),
)  # with those of the data set's own reader


def prepare(
    ws: Workspace,
    *,
    source: Path | None,
    seed: int,
    engine: str = "duckdb",
    negative_draws: int = 1,
    max_rejects: float = 0.01,
    quiet_days: int = quiet.ANY,
) -> Result:
    """Fill `data/`.

    Args:
        source: where the data set's files are; None takes the default place. A described data set is kept under its
            name, and needs no source from then on.
        negative_draws: negatives that a training row has; an epoch uses one of them.
        max_rejects: share of the lines of interactions that may be unusable.
        quiet_days: of a live data set, days before `as_of` on which nothing was taken that are allowed; `quiet.ANY`
            warns of them alone.

    Raises:
        UsageError: for an unknown data set, a malformed source, too many rejects, or no data before `as_of`.
        Unavailable: for too many quiet days.
    """
    adopt(ws.dataset, source)
    dataset = datasets.find(ws.dataset)
    check_choice("engine", engine, ENGINES)
    files = dataset.files(source)
    rules = Protocol(order=ws.order, seed=seed, end=_end(ws), draws=negative_draws)
    limits = max_rejects, quiet_days
    done = steps.run(
        _step(ws, dataset, files, rules), lambda folder: _fill(ws, dataset, files, rules, engine, limits, folder)
    )
    rejects.judge_again(done.summary["lost"], max_rejects, done.folder / "rejects.jsonl")  # made with other limits
    quiet.judge(done.summary["quiet_days"], ws.as_of, quiet_days)
    for line in intake.lines(done.summary["intake"]):
        say(f"{ws.dataset}: {line}")
    return Result(
        verb="data prepare",
        workspace=ws,
        seed=seed,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={name: str(done.folder / f"{name}.parquet") for name in TABLES},
        details=done.summary | {"text": _in_short(done.summary)},
    )


def _step(ws: Workspace, dataset: Dataset, files: Sequence[Path], rules: Protocol) -> steps.Step:
    config = {
        "dataset": ws.dataset,
        "as_of": ws.as_of,
        "order": ws.order,
        "seed": rules.seed,
        "draws": rules.draws,
        "said": dict(dataset.said),
        "words": asdict(dataset.words),
    }
    folders = ["/".join(part for part in file.parts if "=" in part) for file in files]
    if any(folders):
        config["partitions"] = folders  # whose names are values
    if came := added.digest(ws):
        config["added"] = came
    return steps.Step(folder=ws.path("data"), config=config, inputs=files, code=(*CODE, *dataset.code))


def _fill(
    ws: Workspace,
    dataset: Dataset,
    files: Sequence[Path],
    rules: Protocol,
    engine: str,
    limits: tuple[float, int],
    folder: Path,
) -> dict[str, Any]:
    """Write all tables into `folder`; the summary tells what the intake met.

    Args:
        limits: of rejects, and of quiet days.
    """
    max_rejects, quiet_days = limits
    tables = dataset.read(files)
    rejects.judge(tables.rejects, max_rejects, folder / "rejects.jsonl", ws.path("rejects.jsonl"))
    intake.check_span(tables.interactions)
    known = {"items": tables.items, "users": tables.users}
    found = intake.account(tables.interactions, known, tables.rejects, tables.notes)
    tables = replace(tables, items=added.beside(ws, tables.items))
    made = interactions(tables.interactions, ws, folder, engine, rules)
    lacking = quiet.days(folder / "interactions.parquet", ws.as_of) if dataset.live and ws.as_of != LATEST else 0
    quiet.judge(lacking, ws.as_of, quiet_days)
    if lacking:
        found["warnings"].append(quiet.told(lacking, ws.as_of))
    prepared = {
        "comments": _comments(ws, folder, tables.comments),
        "items": _items(ws, folder, tables),
        "users": _users(ws, folder, tables.users),
    }
    for name, table in prepared.items():
        storage.write_table(folder / f"{name}.parquet", table, _SCHEMAS[name])
    storage.write_json(folder / "words.json", asdict(dataset.words))  # texts depend on them: content tells of it
    summary = _summary(folder)
    if dataset.published and ws.as_of == LATEST:
        summary["table2"] = _table2(ws.dataset, summary, dataset.counts)
    told = {"rejects": tables.rejects.counts(), "lost": rejects.share(tables.rejects)}
    told |= {"intake": found, "quiet_days": lacking}
    return summary | told | _without_negative(made, found)


def _in_short(summary: dict[str, Any]) -> str:
    rows, found = summary["rows"], summary["intake"]
    splits = ", ".join(f"{count:,} {split}" for split, count in rows.items())
    return f"  rows: {splits}; from {found['first_day']} to {found['last_day']}, {len(found['warnings'])} warnings"


def estimate_prepare(ws: Workspace) -> Estimate:
    """What `prepare` would take for the complete data set."""
    interactions, items, users = datasets.find(ws.dataset).counts
    return Estimate(
        seconds=3 + interactions * 2e-5,
        memory_mib=150 + interactions * 1.5e-3,
        disk_mib=22 + interactions * 3e-5,
        basis=f"{interactions:,} interactions, {items:,} items, {users:,} users at about 50,000 interactions a second "
        "on one core, and a carrier wheel of at most 22 MiB",
    )


_SCHEMAS = {"comments": schemas.COMMENTS, "items": schemas.ITEMS, "users": schemas.USERS}


def interactions(raw_events: pa.Table, ws: Workspace, folder: Path, engine: str, rules: Protocol) -> dict[str, Any]:
    """Write interactions.parquet and rows.parquet into `folder`; what was counted. Spark has an environment of its own.

    Raises:
        UsageError: if nothing is left, or a split would be empty.
    """
    from core.data import relational

    raw_file = folder / "raw.parquet"
    pq.write_table(raw_events.append_column("index", pa.array(np.arange(raw_events.num_rows))), raw_file)
    job = relational.Job(dataset=ws.dataset, raw=str(raw_file), folder=str(folder), engine=engine, protocol=rules)
    try:
        return _run_on_spark(job, folder / "job.json") if engine == "spark" else relational.run(job)
    finally:
        raw_file.unlink()


def _run_on_spark(job: Any, path: Path) -> dict[str, Any]:
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
        raise from_json(account["error"])
    return account["done"]


def _without_negative(made: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Who has no negatives, for the result; said among the warnings, too."""
    users = made["took_everything"]
    if users:
        some = ", ".join(repr(user) for user in users[: intake.SAMPLES])
        found["warnings"].append(
            f"users who have taken every item there is, so that their rows have no negatives: {len(users):,}, {some}"
        )
    return {"users_without_negatives": len(users)}


def _end(ws: Workspace) -> int | None:
    """The first second that no longer counts."""
    return None if ws.as_of == LATEST else int(datetime.fromisoformat(ws.as_of).replace(tzinfo=UTC).timestamp())


def _comments(ws: Workspace, folder: Path, said: pa.Table) -> pa.Table:
    """Each comment at the place of its interaction; those of interactions that do not count are left out.

    They pass no engine: a user's item and time name an interaction on each of them.
    """
    if not said.num_rows:
        return schemas.COMMENTS.empty_table()
    events = pq.read_table(folder / "interactions.parquet").drop_columns(["rating"])
    for place, kind in enumerate(("user", "item")):
        rows = vocabulary.rows(ws.dataset, f"{kind}s")
        said = said.set_column(place, kind, pa.array([rows.get(one) for one in said[kind].to_pylist()], pa.int64()))
    found = events.join(said, ["user", "item", "timestamp"], join_type="inner")
    return found.sort_by([("user", "ascending"), ("position", "ascending")])


def _items(ws: Workspace, folder: Path, raw: RawTables) -> pa.Table:
    """All rows of the vocabulary up to the last of this catalogue, so that row i is item i + FIRST_ID.

    The catalogue is what was taken before `as_of`, and what the items' own table names and nobody ever took. Other rows
    of the vocabulary belong to other days or sources: they are not offered, and say nothing.
    """
    taken = pq.read_table(folder / "interactions.parquet", columns=["item"])["item"].unique().to_pylist()
    ever = set(raw.interactions["item"].unique().to_pylist())
    untaken = [raw_id for raw_id in raw.items["raw_id"].to_pylist() if raw_id not in ever]
    rows = vocabulary.grow(ws.dataset, "items", untaken)
    catalogue = np.array([*taken, *(rows[raw_id] for raw_id in untaken)])
    offered = np.zeros(catalogue.max() + 1 - FIRST_ID, dtype=bool)
    offered[catalogue - FIRST_ID] = True
    raw_ids = vocabulary.load(ws.dataset, "items")["raw_id"].slice(0, len(offered))
    found = _take(raw.items, raw_ids, offered)
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
            "offered": offered,
        }
    )


def _users(ws: Workspace, folder: Path, known: pa.Table) -> pa.Table:
    """All rows of the vocabulary up to the last user that appeared; of users of other days nothing is said."""
    there = pq.read_table(folder / "interactions.parquet", columns=["user"])["user"].unique().to_numpy()
    appeared = np.zeros(there.max() + 1 - FIRST_ID, dtype=bool)
    appeared[there - FIRST_ID] = True
    raw_ids = vocabulary.load(ws.dataset, "users")["raw_id"].slice(0, len(appeared))
    found = _take(known, raw_ids, appeared)
    columns = [found[name].to_pylist() for name in ("age", "gender", "occupation")]
    profiles = [texts.user_profile(*parts) for parts in zip(*columns, strict=True)]
    ids = pa.array(range(FIRST_ID, FIRST_ID + len(raw_ids)), pa.int64())
    return (
        found.drop_columns("raw_id")
        .add_column(0, "user", ids)
        .append_column("raw_id", raw_ids)
        .append_column("profile", pa.array(profiles, pa.string()))
    )


def _take(known: pa.Table, raw_ids: pa.ChunkedArray, asked: np.ndarray) -> pa.Table:
    """The rows of `known` that `raw_ids` name, in their order; nulls where it has none, or where not asked for."""
    places = {raw_id: place for place, raw_id in enumerate(known["raw_id"].to_pylist())}
    named = zip(raw_ids.to_pylist(), asked.tolist(), strict=True)
    return known.take(pa.array([places.get(raw_id) if wanted else None for raw_id, wanted in named], pa.int64()))


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
        "comments": pq.ParquetFile(folder / "comments.parquet").metadata.num_rows,
        "items": items,
        "users": users,
        "offered": int(pq.read_table(folder / "items.parquet", columns=["offered"])["offered"].to_numpy().sum()),
        "density": events.num_rows / (items * users),
        "rows": {split: counted.get(split, 0) for split in (*SPLITS, ON_SALE)},
    }
