"""`llmcf kar embed`: KAR's texts as unit vectors of the frozen sentence encoder, a row for each user and item."""

from pathlib import Path
from typing import Any

import numpy as np

from core import schemas, steps, storage
from core.contracts import FIRST_ID
from core.data import tables
from core.result import Result
from core.settings import Workspace
from llm import models
from llm.texts.encoder import Encoder
from llm.vector_cache import VectorCache

CODE = ("llm/kar/embed.py", "llm/texts/encoder.py", "llm/vector_cache.py")


def embed(ws: Workspace, *, encoder: str = models.ENCODER) -> Result:
    """Fill kar/vectors: `user` (U, E) and `item` (V, E), zero where there is no text, and `prefix` (U,), int32.

    A row may use a user's vector from position `prefix` on; it is -1 where there is none.

    Raises:
        LlmcfError: if the texts or the encoder are missing, naming the verb that makes them.
    """
    steps.require(ws.path("kar", "texts"), tables.remedy(ws, "kar generate"))
    content = models.model_hash(models.encoder_path(encoder))
    step = steps.Step(
        folder=ws.path("kar", "vectors"),
        config={"encoder": encoder, "hash": content},
        inputs=[ws.path("kar", "texts"), ws.path("data")],
        code=CODE,
    )
    done = steps.run(step, lambda folder: _work(ws, encoder, content, folder))
    return Result(
        verb="kar embed",
        workspace=ws,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={"vectors": str(done.folder / "vectors.safetensors")},
        details=done.summary,
    )


def _work(ws: Workspace, encoder: str, content: str, folder: Path) -> dict[str, Any]:
    from safetensors.numpy import save_file

    path = ws.path("kar", "texts", "texts.parquet")
    texts = storage.read_table(path, schemas.KAR_TEXTS, tables.remedy(ws, "kar generate"))
    vectors, fresh = VectorCache(content).vectors(texts["text"].to_pylist(), Encoder(encoder))
    kind, number = np.array(texts["kind"].to_pylist()), texts["id"].to_numpy()
    rows = {"user": tables.users(ws).num_rows, "item": tables.items(ws).num_rows}
    made = {name: np.zeros((count + FIRST_ID, vectors.shape[1]), np.float32) for name, count in rows.items()}
    for name, table in made.items():
        table[number[kind == name]] = vectors[kind == name]
    prefix = np.full(len(made["user"]), -1, dtype=np.int32)
    prefix[number[kind == "user"]] = texts["prefix"].to_numpy()[kind == "user"]
    save_file({**made, "prefix": prefix}, folder / "vectors.safetensors")
    counts = {f"{name}s": int((kind == name).sum()) for name in rows}
    return {"encoder": encoder, "width": vectors.shape[1], **counts, "fresh": fresh}
