"""Feast for a workspace: apply, point-in-time join, materialize, push, and online reads.

Feast runs in `llmcf.feast_worker`, a process of its own, except for online reads.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from core import schemas, settings, steps, storage
from core.data import asof, features, tables
from core.errors import LlmcfError
from core.progress import say
from core.runs import Result
from core.settings import Workspace

REPO = settings.PROJECT / "feature_repo"
APPLIED, MATERIALIZED = "applied.json", "materialized.json"


def apply(ws: Workspace) -> Result:
    """Copy `feature_repo/` into the workspace's feast/ and register it there. Skipped when nothing has changed."""
    wanted = _release(ws)
    folder = ws.path("feast")
    start = time.monotonic()
    with _locked(ws):
        skipped = _marker(folder, APPLIED) == wanted
        if not skipped:
            _remove_old(folder)
            _copy_repo(ws, wanted)
            _feast(ws, "apply")
            storage.write_json(folder / APPLIED, wanted)
    return Result(
        verb="features apply",
        workspace=ws,
        skipped=skipped,
        seconds=time.monotonic() - start,
        artifacts={"feast": str(folder)},
        details={"project": wanted["project"], "online_store": wanted["online_store"]},
    )


def join(ws: Workspace) -> Result:
    """Fill `training/`: the prepared rows with Feast's `ranking` features, checked against the reference.

    Raises:
        LlmcfError: if a joined feature is not what the interactions before the row say.
    """
    _require_applied(ws)
    step = steps.Step(
        folder=ws.path("training"),
        config={"service": "ranking"},
        inputs=[ws.path("data"), ws.path("features")],
        code=["feature_repo", "llmcf/feature_store.py", "llmcf/feast_worker.py", "core/data/asof.py"],
    )

    def work(folder: Path) -> dict[str, Any]:
        rows, interactions = tables.rows(ws), tables.interactions(ws)
        joined = _joined(ws, rows, interactions)
        _check(joined, asof.attach(rows, interactions))
        storage.write_table(folder / "rows.parquet", joined, schemas.TRAINING_ROWS)
        return {"rows": joined.num_rows, "checked": asof.FEATURES}

    done = steps.run(step, work)
    return Result(
        verb="features join",
        workspace=ws,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={"rows": str(done.folder / "rows.parquet")},
        details=done.summary,
    )


def _joined(ws: Workspace, rows: pa.Table, interactions: pa.Table) -> pa.Table:
    with tempfile.TemporaryDirectory(dir=ws.root, prefix=".join.") as scratch:
        entities, joined = Path(scratch, "entities.parquet"), Path(scratch, "joined.parquet")
        pq.write_table(_entities(rows, interactions), entities)
        _feast(ws, "join", "ranking", str(entities), str(joined))
        found = pq.read_table(joined).sort_by("row")
    if not found["row"].equals(rows["row"]):
        raise LlmcfError(f"Feast's join returned {found.num_rows} rows for {rows.num_rows}; run `features apply` again")
    for name in asof.FEATURES:
        rows = rows.append_column(name, found[name])
    return rows.cast(schemas.TRAINING_ROWS)


def _entities(rows: pa.Table, interactions: pa.Table) -> pa.Table:
    """Who, what and when, and how many states the join will look at for each row."""
    user, item, day, position = (rows[name].to_numpy().astype(np.int64) for name in ("user", "item", "day", "position"))
    states = sum(np.bincount(interactions[name], minlength=ids.max() + 1)[ids] for name, ids in (("user", user), ("item", item)))
    return rows.select(["row", "user", "item"]).append_column(
        "event_timestamp", features.event_times(day, position, rows["label"].to_numpy() == 0)
    ).append_column("pairs", pa.array(states + 1))


def _check(joined: pa.Table, expected: pa.Table) -> None:
    for name, wrong in asof.differences(joined, expected).items():
        raise LlmcfError(
            f"the joined {name} breaks the leak rule on {len(wrong)} of {expected.num_rows} rows, first row {wrong[0]}: "
            f"{joined[name][wrong[0]]} instead of {expected[name][wrong[0]]}; run `features build` and `features apply`"
        )


def _release(ws: Workspace) -> dict[str, Any]:
    """What decides whether Feast must be applied again. The project name changes with the features' content."""
    stamp = steps.require(ws.path("features"), tables.remedy(ws, "features build"))
    redis = settings.redis_connection()
    return {
        "project": f"{ws.collection_prefix}_{stamp['content'][:8]}",
        "repo": storage.digest([(f.name, storage.sha256(f)) for f in _repo_files()]),
        "online_store": "redis" if redis else "sqlite",
        "connection": storage.digest(redis) if redis else None,
    }


def _repo_files() -> list[Path]:
    return sorted(f for f in REPO.iterdir() if f.suffix in {".py", ".yaml"})


def _copy_repo(ws: Workspace, release: dict[str, Any]) -> None:
    import yaml

    folder = ws.path("feast")
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for source in _repo_files():
        shutil.copy(source, folder / source.name)
    config = yaml.safe_load((REPO / "feature_store.yaml").read_text(encoding="utf-8")) | {"project": release["project"]}
    if release["online_store"] == "redis":  # Feast expands the variable, so no credential is written
        config["online_store"] = {"type": "redis", "connection_string": "${LLMCF_REDIS}"}
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    for name in features.SCHEMAS:
        with storage.atomic_path(folder / "data" / f"{name}.parquet") as beside:
            shutil.copy(ws.path("features", f"{name}.parquet"), beside)


def _remove_old(folder: Path) -> None:
    """Forget an older release: registry, online store, markers."""
    for name in (APPLIED, MATERIALIZED, "registry.db", "online.db"):
        (folder / name).unlink(missing_ok=True)


def _require_applied(ws: Workspace) -> None:
    if _marker(ws.path("feast"), APPLIED) != _release(ws):
        raise LlmcfError(f"the feature store does not match the features; run `{tables.remedy(ws, 'features apply')}` first")


def _marker(folder: Path, name: str) -> Any:
    path = folder / name
    return storage.read_json(path) if path.exists() else None


def _locked(ws: Workspace) -> FileLock:
    ws.root.mkdir(parents=True, exist_ok=True)
    return FileLock(ws.path(".feast.lock"))


def _feast(ws: Workspace, *job: str) -> None:
    """Run one job of the worker in the workspace's feast/.

    Raises:
        LlmcfError: with the end of what it printed, if it fails.
    """
    command = [sys.executable, "-m", "llmcf.feast_worker", *job]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(command, cwd=ws.path("feast"), stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout
        for line in process.stdout:
            say(f"feast: {line.rstrip()}") if line.strip() else None
        if process.wait() != 0:
            errors.seek(0)
            lines = [line for line in errors.read().splitlines() if not line.startswith((" - leaked", "nanobind"))]
            raise LlmcfError(f"Feast's {job[0]} failed: " + "\n".join(lines[-5:]))
