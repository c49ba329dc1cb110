"""Runs and releases as training leaves them, of invented scores: for what reads runs, without any training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from core import metrics, steps, storage
from core.contracts import TRITON_MODELS
from core.data import tables
from core.homes import home_id
from core.settings import Workspace
from llmcf.serving import manifest, releases
from llmcf.serving.manifest import Release, Stage
from ranking import recipes as rankers
from retrieval_stage import recipes as retrievers

EVALUATED = ("valid", "test")


def rank(ws: Workspace, *, signal: float = 1.0, framework: str = "none", seed: int = 2023, **changed: Any) -> Path:
    """A ranker's folder: scores that hold `signal` times the label beside noise, and their metrics."""
    config = rankers.resolve(ws, model="deepfm", framework=framework, recipe="strict", seed=seed)
    config = replace(config, **changed)

    def work(folder: Path) -> dict[str, Any]:
        rows = tables.training_rows(ws)
        rows = rows.filter(pa.array(np.isin(rows["split"].to_numpy(), EVALUATED)))
        noise = np.random.default_rng(seed).normal(size=len(rows))
        label = rows["label"].to_numpy()
        score = 1 / (1 + np.exp(-(signal * (label - 0.5) + noise)))
        table = rows.select(["split", "row", "label"]).append_column("score", pa.array(score, pa.float32()))
        pq.write_table(table, folder / "scores.parquet")
        _weights(folder, table)
        split, user = rows["split"].to_numpy(), rows["user"].to_numpy()
        found = {
            name: metrics.binary_metrics(label[split == name], score[split == name], user[split == name])
            for name in EVALUATED
        }
        return {"metrics": found, "training": {"epochs": [], "best_epoch": 1, "parameters": 10}}

    step = steps.Step(
        folder=ws.path("ranking", config.name), config=config, inputs=[ws.path("data"), ws.path("training")]
    )
    return steps.run(step, work).folder


def retrieve(ws: Workspace, *, worst: int = 30, framework: str = "none", seed: int = 2023) -> Path:
    """A retrieval model's folder: ranks between 1 and `worst`, and their metrics."""
    config = retrievers.resolve(model="sasrec", framework=framework, recipe="strict", seed=seed)

    def work(folder: Path) -> dict[str, Any]:
        rows = tables.training_rows(ws)
        rows = rows.filter(pa.array(np.isin(rows["split"].to_numpy(), EVALUATED) & (rows["label"].to_numpy() == 1)))
        rank = np.random.default_rng(seed).integers(1, worst + 1, len(rows))
        ranks = {"rank_masked": pa.array(rank), "rank_unmasked": pa.array(rank + 1)}
        table = rows.select(["split", "row", "user", "item"])
        for name, values in ranks.items():
            table = table.append_column(name, values)
        pq.write_table(table, folder / "scores.parquet")
        _weights(folder, table)
        split = rows["split"].to_numpy()
        found = {
            name: {
                which.removeprefix("rank_"): metrics.full_ranking(values.to_numpy()[split == name])
                for which, values in ranks.items()
            }
            for name in EVALUATED
        }
        return {"metrics": found, "epochs": 3, "best_epoch": 1, "parameters": 10}

    step = steps.Step(
        folder=ws.path("retrieval", config.name), config=config, inputs=[ws.path("data"), ws.path("training")]
    )
    return steps.run(step, work).folder


def release(ws: Workspace, ranker: Path, tower: Path, *, live: bool = True, refreshed: int | None = None) -> Release:
    """A release of two runs: its manifest and no graph."""
    number = releases.next_number(ws.dataset)
    runs = {"ranker": ranker, "user_vector": tower}
    with releases.making(ws.dataset), releases.staged(ws.dataset, number) as folder:
        made = Release(
            number=number,
            source=storage.digest(number),
            home=home_id(),
            dataset=ws.dataset,
            order=ws.order,
            as_of=ws.as_of,
            stages={model: _stage(runs[model], number) for model in TRITON_MODELS},
            users_end=10,
            items_end=10,
            collections={"items": f"tiny_items_v{number}_0123456789ab"},
            item_vectors="",
            features={},
            created="2026-01-31T00:00:00Z",
            refreshed=refreshed,
            inputs={steps.name_of(ws.path("data")): steps.content_of(ws.path("data"))},
        )
        made.write(folder)
    if live:
        releases.promote(made)
    return made


def _weights(folder: Path, scores: pa.Table) -> None:
    """As good as what would have given these scores: others for other ones."""
    save_file({"scores": scores[scores.column_names[-1]].to_numpy()}, folder / manifest.WEIGHTS)


def _stage(run: Path, number: int) -> Stage:
    stamp = storage.read_json(run / steps.STAMP)
    config = stamp["config"]
    return Stage(
        framework=config["framework"],
        backbone=config["model"],
        recipe=config["recipe"],
        seed=config["seed"],
        version=number,
        inputs=(),
        outputs=(),
        run=storage.sha256(run / manifest.WEIGHTS),
        metrics=stamp["summary"]["metrics"],
    )
