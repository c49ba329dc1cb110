"""`llmcf cot embed`: the texts of items and the chains of thought as unit vectors of a frozen sentence encoder."""

from pathlib import Path
from typing import Any

import numpy as np

from core import schemas, steps, storage
from core.contracts import FIRST_ID
from core.data import tables
from core.errors import LlmcfError
from core.progress import say
from core.remedies import cot_verbs
from core.result import Estimate, Result
from core.settings import Workspace
from llm import models
from llm.texts.encoder import Encoder
from llm.vector_cache import VectorCache

_TEXTS_A_SECOND = 110  # all-MiniLM-L6-v2, short texts, 2 cores

CODE = ("llm/cot/embed.py", "llm/texts/encoder.py", "llm/vector_cache.py")


def embed(ws: Workspace, *, encoder: str = models.ENCODER, items_only: bool = False, cot_set: str = "") -> Result:
    """Fill cot/vectors: `items` (V, E), rows 0 and 1 zero, and `cot` (M, E) in the order of cot/texts.

    A text that was ever encoded by this encoder is not encoded again.

    Args:
        cot_set: a named set's texts and vectors in place of the main one's.
        items_only: before there are texts; representative rows are chosen by the vectors of items.

    Raises:
        LlmcfError: if the texts or the encoder are missing, naming the verb that makes them.
    """
    if not items_only:
        steps.require(ws.cot("texts", cot_set), tables.remedy(ws, cot_verbs(cot_set)[0]))
    path = models.encoder_path(encoder)
    step = steps.Step(
        folder=ws.cot("vectors", cot_set),
        config={"encoder": encoder, "hash": models.model_hash(path), "items_only": items_only},
        inputs=[ws.path("data", "items.parquet"), *([] if items_only else [ws.cot("texts", cot_set)])],
        code=CODE,
    )
    texts = None if items_only else ws.cot("texts", cot_set)
    done = steps.run(step, lambda folder: _work(ws, encoder, step.config["hash"], folder, texts))
    return Result(
        verb="cot embed",
        workspace=ws,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={"vectors": str(done.folder / "vectors.safetensors")},
        details=done.summary,
    )


def estimate_embed(ws: Workspace) -> Estimate:
    """What `embed` would take on two cores with the carried encoder."""
    count = tables.items(ws).num_rows + _texts(ws, ws.cot("texts")).num_rows
    return Estimate(
        seconds=15 + count / _TEXTS_A_SECOND,
        memory_mib=900,
        disk_mib=count * 384 * 4 / 2**20,
        basis=f"{count:,} texts at {_TEXTS_A_SECOND} a second, 15 s to start; 384 float32 numbers a text",
    )


def _work(ws: Workspace, encoder: str, content: str, folder: Path, of: Path | None) -> dict[str, Any]:
    from safetensors.numpy import save_file

    items, texts = tables.items(ws), [] if of is None else _texts(ws, of)["text"].to_pylist()
    cache, encode = VectorCache(content), Encoder(encoder)
    say(f"cot embed: {items.num_rows:,} item texts, {len(texts):,} chains of thought")
    of_items, new_items = cache.vectors(items["text"].to_pylist(), encode)
    of_texts, new_texts = cache.vectors(texts, encode) if texts else (np.empty((0, of_items.shape[1]), np.float32), 0)
    table = np.zeros((items.num_rows + FIRST_ID, of_items.shape[1]), dtype=np.float32)
    table[items["item"].to_numpy()] = of_items
    if not np.isfinite(table).all() or not np.isfinite(of_texts).all():
        raise LlmcfError(f"the encoder {encoder!r} answered with numbers that are not finite")
    save_file({"items": table, "cot": of_texts}, folder / "vectors.safetensors")
    return {
        "encoder": encoder,
        "width": table.shape[1],
        "items": items.num_rows,
        "texts": len(texts),
        "fresh": new_items + new_texts,
    }


def _texts(ws: Workspace, folder: Path) -> Any:
    return storage.read_table(folder / "texts.parquet", schemas.COT_TEXTS, tables.remedy(ws, "cot generate"))
