"""`llmcf recgen score`: P(Yes) of training rows, for knowledge distillation (METHOD 8), out of fold.

The rows that trained the model are never scored by it, nor is any row of the same user and position: pairs are drawn
whole, for training and here alike. scores/<model>/ holds the scores and, for the audit, the rows behind the model.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core import steps, storage
from core.data import sampling, tables
from core.errors import LlmcfError, UsageError
from core.runs import Result
from core.settings import Workspace
from llm import models
from llm.contexts import training_split
from llm.recgen import mixing, tuning
from llm.recgen.scoring import Scorer

PROMPT_TOKENS = 512
_CODE = ("recgen/teacher", "recgen/scoring", "recgen/mixing", "prompts", "contexts", "budget")


def score(ws: Workspace, *, model: str, seed: int, rows: int | None) -> Result:
    """Fill scores/<model>/ with the P(Yes) of `rows` training rows (None for all) that did not train the model.

    Raises:
        UsageError: if fewer than two rows are asked for.
        LlmcfError: if the model is not trained, or has seen every row.
    """
    if rows is not None and rows < 2:
        raise UsageError(f"--rows {rows}: a pair is two rows")
    name, path = tuning.find_model(ws, model, seed=seed)
    step = steps.Step(
        folder=ws.path("scores", name),
        config={"model": models.model_hash(path), "rows": rows, "seed": seed},
        inputs=[ws.path("data"), ws.path("training")],
        code=[f"llm/{part}.py" for part in _CODE],
    )
    done = steps.run(step, lambda folder: _work(ws, name, path, rows, seed, folder))
    return Result(
        verb="recgen score",
        workspace=ws,
        seed=seed,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={"scores": str(done.folder / "scores.parquet"), "trained": str(done.folder / "trained.parquet")},
        details=done.summary,
    )


def unseen(ws: Workspace, model: Path) -> tuple[pa.Table, pa.Table]:
    """The training rows that the model has not seen, and those (`row`) that trained it."""
    split, seen = training_split(ws), model / "rows.parquet"
    trained = pq.read_table(seen) if seen.is_file() else pa.table({"row": pa.array([], pa.int64())})
    return split.filter(~np.isin(split["row"].to_numpy(), trained["row"].to_numpy())), trained


def _work(ws: Workspace, name: str, model: Path, rows: int | None, seed: int, folder: Path) -> dict[str, Any]:
    from core import metrics

    left, trained = unseen(ws, model)
    if not left.num_rows:
        raise LlmcfError(f"{name} was trained on every row; train one on fewer (`recgen train --rows N`) for this")
    some = sampling.draw_pairs(left, None if rows is None else rows // 2, seed=seed, purpose="teacher")
    scorer = Scorer(model)
    texts = mixing.task_texts(ws, some, scorer.tokenizer, PROMPT_TOKENS)
    p_yes = scorer.p_yes(mixing.branched(texts, some), len(texts))
    scores = {"row": some["row"], "model": [name] * len(p_yes), "p_yes": p_yes.astype(np.float32)}
    behind = {"row": trained["row"], "model": [name] * trained.num_rows}
    for file, table in (("scores", pa.table(scores)), ("trained", pa.table(behind))):
        with storage.atomic_path(folder / f"{file}.parquet") as beside:
            pq.write_table(table, beside, compression="zstd")
    label = some["label"].to_numpy()
    return {
        "model": name,
        "scored": len(p_yes),
        "of": tables.training_rows(ws).num_rows,
        "trained_on": trained.num_rows,
        "auc": round(metrics.auc(label, p_yes), 4),
        "logloss": round(metrics.logloss(label, p_yes), 4),
    }
