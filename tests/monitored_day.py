"""Two equal days of a small workspace with all that is monitored, invented where it would take training: to spoil one.

The reference has the as-of day after the newest interaction, so that both end alike; the day is `latest`.
"""

import shutil
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

from core import schemas, settings, steps, storage
from core.contracts import EXAMPLES, FIRST_ID
from core.data import tables, vocabulary
from core.homes import home_id
from core.settings import Workspace
from llmcf.monitoring import limits
from llmcf.service import state, store
from llmcf.service.store import Store
from llmcf.serving import manifest, releases
from llmcf.serving.manifest import Release, Stage

WIDTH = 8
ENCODER = "0123456789abcdef"
TODAY = date(2026, 1, 31)
NOW = float(int((TODAY - date(1970, 1, 1)).days) * 86_400)
STAGES = {"ranker": "deepfm-llm-cf-strict-s7", "user_vector": "sasrec-none-strict-s7"}


def made(ws: Workspace) -> tuple[Workspace, Workspace]:
    """The day, which is `ws` filled up with what it lacks, and the reference, its copy."""
    _texts(ws)
    _vectors(ws)
    _neighbours(ws)
    scored(ws, 0.9)
    newest = int(tables.interactions(ws)["day"].to_numpy().max()) + 1
    reference = Workspace(ws.dataset, ws.order, (date(1970, 1, 1) + timedelta(days=newest)).isoformat())
    shutil.copytree(ws.root, reference.root)
    _release(reference)
    limits.path(ws.dataset).write_text("[limits]\nleast_rows = 20\nleast_shown = 100\ndays = 60\n", encoding="utf-8")
    return ws, reference


def stamped(folder: Path, *, config: dict[str, Any] | None = None, summary: dict[str, Any] | None = None) -> None:
    """Note a folder as a finished step that holds what it holds now."""
    old = storage.read_json(folder / steps.STAMP) if (folder / steps.STAMP).exists() else {"config": {}, "summary": {}}
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != steps.STAMP)
    stamp = {
        "key": "invented",
        "config": old["config"] | (config or {}),
        "summary": old["summary"] | (summary or {}),
        "content": storage.digest([(path.name, storage.sha256(path)) for path in files]),
        "outputs": {path.name: path.stat().st_size for path in files},
        "seconds": 0.0,
    }
    storage.write_json(folder / steps.STAMP, stamp)


def changed(path: Path, name: str, change: Callable[[list[Any]], Sequence[Any]]) -> None:
    """Change a column of a step's Parquet file."""
    table = pq.read_table(path)
    field = table.schema.field(name)
    values = pa.array(change(table[name].to_pylist()), field.type)
    pq.write_table(table.set_column(table.schema.get_field_index(name), field, values), path)
    stamped(path.parent)


def turned(path: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change a tensor of a step's safetensors file."""
    tensors = load_file(path)
    save_file(tensors | {name: np.ascontiguousarray(change(tensors[name]).astype(np.float32))}, path)
    stamped(path.parent)


def scored(ws: Workspace, high: float) -> None:
    """Scores of the test rows: `high` and 1 - `high`, right for nine of ten, so that .9 is calibrated."""
    rows = tables.rows(ws)
    rows = rows.filter(pa.array(rows["split"].to_numpy(zero_copy_only=False) == "test"))
    label = rows["label"].to_numpy()
    place = np.where(label == 1, np.cumsum(label) - 1, np.cumsum(1 - label) - 1)
    right = place % 10 != 0
    score = np.where((label == 1) == right, high, 1 - high)
    folder = ws.path("ranking", STAGES["ranker"])
    folder.mkdir(parents=True, exist_ok=True)
    columns = {"row": rows["row"], "split": rows["split"], "label": rows["label"], "score": score}
    pq.write_table(pa.table(columns), folder / "scores.parquet")
    stamped(folder)


def answered(ws: Workspace, items: Sequence[int], *, an_answer: int = 10) -> None:
    """Replace what the service has kept by answers that show these rows, ten in each."""
    place = state.folder(ws.dataset)
    shutil.rmtree(place, ignore_errors=True)
    raw = {row: name for name, row in vocabulary.rows(ws.dataset, "items").items()}
    kept = Store(place / store.FILE)
    for start in range(0, len(items), an_answer):
        names = [raw[row] for row in items[start : start + an_answer]]
        kept.keep(f"request-{start}", {"release": 1, "items": [*names, "not shown"], "start": 0, "k": len(names)})


def _texts(ws: Workspace) -> None:
    rows = tables.rows(ws)
    chosen = np.flatnonzero(rows["split"].to_numpy(zero_copy_only=False) == "train")[:200:2]
    numbers = rows["row"].to_numpy()[chosen]
    table = pa.table(
        {
            "row": numbers,
            "prompt_hash": [f"{number}" for number in numbers],
            "text": [f"Text of {number}." for number in numbers],
            "tokens": np.full(len(numbers), 9, dtype=np.int32),
            "finish": ["stop"] * len(numbers),
            "flags": [[]] * len(numbers),
            "model": ["invented"] * len(numbers),
            "engine": ["none"] * len(numbers),
        }
    )
    storage.write_table(ws.cot("texts") / "texts.parquet", table, schemas.COT_TEXTS)
    summary = {"model": "invented", "prompt": "cot-5", "style": "guided", "date": TODAY.isoformat()}
    stamped(ws.cot("texts"), config={"recipe": "strict"}, summary=summary)


def _vectors(ws: Workspace) -> None:
    random = np.random.default_rng(3)
    folder = ws.cot("vectors")
    folder.mkdir(parents=True)
    items = _unit(random.standard_normal((FIRST_ID + tables.items(ws).num_rows, WIDTH)) + 0.6)
    items[:FIRST_ID] = 0
    save_file(
        {"items": items, "cot": _unit(random.standard_normal((100, WIDTH)) + 0.6)}, folder / "vectors.safetensors"
    )
    stamped(folder, config={"hash": ENCODER})


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _neighbours(ws: Workspace) -> None:
    folder, rows = ws.path("neighbours", "ranking-strict"), tables.training_rows(ws).num_rows
    folder.mkdir(parents=True)
    similarity = np.random.default_rng(4).uniform(0.6, 0.9, (rows, EXAMPLES)).astype(np.float32)
    save_file(
        {"examples": np.ones((rows, EXAMPLES), dtype=np.int32), "similarity": similarity},
        folder / "neighbours.safetensors",
    )
    stamped(folder, config={"stage": "ranking", "recipe": "strict", "cot_set": ""})


def _release(ws: Workspace) -> None:
    """A live release of a workspace, without anything that could be served."""
    stages = {}
    for model, folder in STAGES.items():
        backbone, framework, recipe, seed = folder.replace("llm-cf", "llm_cf").split("-")
        names = {
            "backbone": backbone,
            "framework": framework.replace("_", "-"),
            "recipe": recipe,
            "seed": int(seed[1:]),
        }
        stages[model] = Stage(**names, version=1, inputs=(), outputs=(), run="invented")
    release = Release(
        number=1,
        source="invented",
        home=home_id(),
        dataset=ws.dataset,
        order=ws.order,
        as_of=ws.as_of,
        stages=stages,
        users_end=9,
        items_end=9,
        collections={},
        item_vectors="",
        features={},
        created="2026-01-01T00:00:00Z",
    )
    place = manifest.folder(ws.dataset, 1)
    place.mkdir(parents=True)
    release.write(place)
    releases.promote(release)


def home() -> Path:
    return settings.home()
