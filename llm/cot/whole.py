"""`llmcf cot embed --whole`: vectors of the whole texts x^t, which queries of kind `text` are compared with.

A text asks whether the person will like the target, with the newest history and the target in words: what fine-tuning
asks the language model (arXiv, Figure 2 and section 5.2). A query is the same text of another row, so it needs the
encoder; requests are served by factorised queries, which do not.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from core import schemas, steps, storage
from core.data import tables
from core.progress import say
from core.result import Result
from core.settings import Workspace
from llm import models
from llm.contexts import Context, contexts
from llm.prompts import Domain, domain, task_prompt
from llm.texts.encoder import Encoder
from llm.vector_cache import VectorCache

VERB = "cot embed --whole"
FILE = "whole.safetensors"
CODE = (
    "core/data/texts.py",
    *(f"llm/{name}.py" for name in ("contexts", "cot/whole", "prompts", "texts/encoder", "vector_cache")),
)


def embed_whole(ws: Workspace, *, encoder: str) -> Result:
    """Fill cot/whole: the vectors of the whole texts of the rows of cot/texts, (M, E), and the rows' numbers.

    A text that was ever encoded by this encoder is not encoded again.

    Raises:
        LlmcfError: if the texts or the encoder are missing, naming the verb that makes them.
    """
    steps.require(ws.cot("texts"), tables.remedy(ws, "cot generate"))
    step = steps.Step(
        folder=ws.cot("whole"),
        config={"encoder": encoder, "hash": models.model_hash(models.encoder_path(encoder))},
        inputs=[ws.path("data"), ws.path("training"), ws.cot("texts")],
        code=CODE,
    )
    done = steps.run(step, lambda folder: _work(ws, encoder, step.config["hash"], folder))
    return Result(
        verb=VERB,
        workspace=ws,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={"vectors": str(done.folder / FILE)},
        details=done.summary,
    )


def whole_text(context: Context, words: Domain) -> str:
    """x^t of one row, in words; the label is not among them."""
    return task_prompt(context, words)[-1]["content"]


def queries(ws: Workspace, rows: pa.Table) -> np.ndarray:
    """The unit vectors of rows in words, float32 (n, E), by the encoder of cot/whole.

    Args:
        rows: with the columns of `schemas.TRAINING_ROWS` that say what a row is.

    Raises:
        Missing: if there is none; names the verb.
    """
    encoder = steps.require(ws.cot("whole"), tables.remedy(ws, VERB))["config"]["encoder"]
    words = domain(ws.dataset)
    return Encoder(encoder)([whole_text(context, words) for context in contexts(ws, rows)])


def _work(ws: Workspace, encoder: str, content: str, folder: Path) -> dict[str, Any]:
    from safetensors.numpy import save_file

    path = ws.cot("texts") / "texts.parquet"
    numbers = storage.read_table(path, schemas.COT_TEXTS, tables.remedy(ws, "cot generate"))["row"].to_numpy()
    rows = tables.training_rows(ws)
    sampled = rows.take(pa.array(np.searchsorted(rows["row"].to_numpy(), numbers)))
    words = domain(ws.dataset)
    texts = [whole_text(context, words) for context in contexts(ws, sampled)]
    say(f"{len(texts):,} whole texts to embed")
    vectors, fresh = VectorCache(content).vectors(texts, Encoder(encoder))
    save_file({"rows": numbers.astype(np.int64), "whole": vectors}, folder / FILE)
    return {"encoder": encoder, "width": int(vectors.shape[1]), "texts": len(texts), "fresh": fresh}
