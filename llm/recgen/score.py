"""`llmcf recgen score`: P(Yes) of training rows, for knowledge distillation (METHOD 8), out of fold.

The rows that trained the model are never scored by it, nor is any row of the same user and position: pairs are drawn
whole, for training and here alike. scores/<model>/ holds the scores and, for the audit, the rows behind the model.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core import steps, storage
from core.data import sampling, tables
from core.errors import LlmcfError, Missing, UsageError
from core.progress import track
from core.result import Result
from core.settings import Workspace
from llm import models, packs
from llm.contexts import training_split
from llm.defaults import PINNED
from llm.recgen import mixing
from llm.recgen.scoring import Scorer
from llm.vector_cache import VectorCache

VERB = "recgen score"
PROMPT_TOKENS = 512
_PART = 512  # rows that are kept at a time
_OWN = ("loss", "mixing", "recipes", "score", "scoring")
_SHARED = ("budget", "contexts", "prompts", "vector_cache")
CODE = (
    *(f"llm/recgen/{name}.py" for name in _OWN),
    *(f"llm/{name}.py" for name in _SHARED),
    *(f"core/{name}.py" for name in ("data/sampling", "data/texts", "metrics")),
)


def score(ws: Workspace, *, model: str, seed: int, rows: int | None) -> Result:
    """Fill scores/<model>/ with the P(Yes) of `rows` training rows (None for all) that did not train the model.

    Raises:
        UsageError: if fewer than two rows are asked for, or the pinned model.
        Missing: if the model is not trained, or on rows of another preparation, or has seen every row.
    """
    if rows is not None and rows < 2:
        raise UsageError(f"--rows {rows}: a pair is two rows")
    name, path = _teacher(ws, model, seed)
    step = steps.Step(
        folder=ws.path("scores", name),
        config={"model": models.model_hash(path), "rows": rows, "seed": seed},
        inputs=[ws.path("data"), ws.path("training")],
        code=CODE,
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


def pack(ws: Workspace, name: str, *, model: str, seed: int, folder: Path = packs.PACKS) -> Result:
    """Keep what `score` has written as the pack `name`: scored rows, and trained rows without a score.

    Raises:
        Missing: if nothing was scored, or rows of before.
    """
    author, path = _teacher(ws, model, seed)
    place = ws.path("scores", author)
    made = steps.require_current(place, tables.remedy(ws, "recgen score"))
    scores, trained = (pq.read_table(place / f"{file}.parquet") for file in ("scores", "trained"))
    rows = pa.concat_arrays([*scores["row"].chunks, *trained["row"].chunks])
    p_yes = pa.concat_arrays([*scores["p_yes"].chunks, pa.nulls(trained.num_rows, pa.float32())])
    manifest = {
        "verb": VERB,
        "author": author,
        "seed": seed,
        "rows": _digest(ws, rows),
        "summary": made["summary"],
        "terms": "numbers by the named model",
        **packs.origin(ws, path, VERB, {"model": model, "seed": seed, "rows": made["config"]["rows"] or 0}),
    }
    file = packs.save(ws, name, pa.table({"row": rows, "p_yes": p_yes}), manifest, folder)
    details = {"scored": scores.num_rows, "bytes": file.stat().st_size}
    return Result(verb="recgen pack", workspace=ws, seed=seed, artifacts={"pack": str(file)}, details=details)


def restore(ws: Workspace, name: str, *, folder: Path = packs.PACKS) -> Result:
    """Fill scores/<model>/ from the pack `name`.

    Raises:
        UsageError: for an unknown pack, or one of another verb, data set, order or day.
        LlmcfError: if the rows are not those that were scored.
    """
    table, manifest = packs.opened(ws, name, VERB, folder)
    scored = table.filter(table["p_yes"].is_valid())
    trained = table.filter(table["p_yes"].is_null())

    def work(target: Path) -> dict[str, Any]:
        if _digest(ws, table["row"].combine_chunks()) != manifest["rows"]:
            raise LlmcfError(f"the pack {name!r} is of other data or another seed of `data prepare`: its rows differ")
        _write(target, manifest["author"], scored, trained)
        return manifest["summary"] | {"pack": name}

    step = steps.Step(
        folder=ws.path("scores", manifest["author"]),
        config={"pack": name, "sha256": manifest["sha256"]},
        inputs=[ws.path("data")],
    )
    done = steps.run(step, work)
    return Result(
        verb="recgen restore",
        workspace=ws,
        seed=manifest["seed"],
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={"scores": str(done.folder / "scores.parquet")},
        details=done.summary,
    )


def _teacher(ws: Workspace, model: str, seed: int) -> tuple[str, Path]:
    if model == PINNED:
        raise UsageError(f"--model {model}: rows have other numbers each day, so what it has seen is not known here")
    return models.find_model(ws, model, seed=seed)


def _digest(ws: Workspace, rows: pa.Array) -> str:
    """What the rows of these numbers are."""
    table = tables.rows(ws)
    some = table.filter(np.isin(table["row"].to_numpy(), rows.to_numpy()))
    return storage.digest([some[name].to_pylist() for name in ("row", "user", "item", "position", "label", "day")])


def _write(folder: Path, author: str, scored: pa.Table, trained: pa.Table) -> None:
    """`scored` has row and p_yes, `trained` row; both files name the model in each line."""
    for file, table in (("scores", scored.select(["row", "p_yes"])), ("trained", trained.select(["row"]))):
        named = table.append_column("model", pa.array([author] * table.num_rows, pa.string()))
        with storage.atomic_path(folder / f"{file}.parquet") as beside:
            pq.write_table(named, beside, compression="zstd")


def _content(ws: Workspace) -> bytes:
    return steps.content_of(ws.path("training")).encode()


def unseen(ws: Workspace, model: Path) -> tuple[pa.Table, pa.Table]:
    """The training rows that the model has not seen, and those (`row`) that trained it.

    Raises:
        Missing: if it was tuned on rows of another preparation, whose numbers mean other rows here.
    """
    split, seen = training_split(ws), model / "rows.parquet"
    trained = pq.read_table(seen) if seen.is_file() else pa.table({"row": pa.array([], pa.int64())})
    if seen.is_file() and (trained.schema.metadata or {}).get(mixing.ROWS_OF) != _content(ws):
        raise Missing(f"{model} was tuned on rows of before, or of elsewhere", tables.remedy(ws, "recgen train"))
    return split.filter(~np.isin(split["row"].to_numpy(), trained["row"].to_numpy())), trained


def _work(ws: Workspace, name: str, model: Path, rows: int | None, seed: int, folder: Path) -> dict[str, Any]:
    from core import metrics

    left, trained = unseen(ws, model)
    if not left.num_rows:
        raise Missing(f"{name} was trained on every row", tables.remedy(ws, "recgen train --rows 320"))
    some = sampling.draw_pairs(left, None if rows is None else rows // 2, seed=seed, purpose="teacher")
    p_yes = _p_yes(ws, model, some)
    _write(folder, name, pa.table({"row": some["row"], "p_yes": p_yes}), trained)
    label = some["label"].to_numpy()
    return {
        "model": name,
        "scored": len(p_yes),
        "of": tables.training_rows(ws).num_rows,
        "trained_on": trained.num_rows,
        "auc": round(metrics.auc(label, p_yes), 4),
        "logloss": round(metrics.logloss(label, p_yes), 4),
    }


def _p_yes(ws: Workspace, model: Path, rows: pa.Table) -> NDArray[np.float32]:
    """P(Yes) of each row, kept part by part: a killed run goes on, and a larger sample keeps those of a smaller."""
    scorer, cache = Scorer(model), VectorCache(storage.digest(VERB, models.model_hash(model)))
    texts = mixing.task_texts(ws, rows, scorer.tokenizer, PROMPT_TOKENS)
    place = {text: at for at, text in enumerate(texts)}

    def score(new: list[str]) -> NDArray[np.float32]:
        some = rows.take([place[text] for text in new])
        return scorer.p_yes(mixing.branched(new, some), len(new))[:, None].astype(np.float32)

    starts = range(0, len(texts), _PART)
    parts = [cache.vectors(texts[at : at + _PART], score)[0] for at in track(starts, total=len(starts), what="parts")]
    return np.concatenate(parts)[:, 0]
