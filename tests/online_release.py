"""A release of invented weights over a real workspace: examples and item vectors lie in Milvus."""

import numpy as np
import torch

from core.contracts import FIRST_ID, RETRIEVAL_WIDTH
from core.data import tables
from core.settings import Workspace
from ict.examples import ExampleSet
from ict.index import index
from llmcf.serving.manifest import Release
from retrieval_stage import items
from tests.in_memory import item_vectors, stored, write_cot_set
from tests.synthetic_release import write_release


def make_release(ws: Workspace, seed: int, *, bias: float = 0.0, live: bool = True) -> Release:
    """Examples, item vectors and weights of a seed's own."""
    rows, count = tables.training_rows(ws), tables.items(ws).num_rows
    sample = np.flatnonzero(rows["split"].to_numpy() == "train")[seed::5].copy()
    cot = torch.nn.functional.normalize(torch.randn(len(sample), 16), dim=-1)
    text_vectors = item_vectors(items=count, seed=seed)
    examples = ExampleSet.of(rows, torch.from_numpy(sample), cot, text_vectors)
    write_cot_set(ws, examples, seed=seed)
    vectors = np.random.default_rng(seed).standard_normal((count, RETRIEVAL_WIDTH), dtype=np.float32)
    ids = np.arange(count) + FIRST_ID
    published = items.publish(ws, ids, vectors, items.Facts.of(ws, ids))
    collections = {"cot": index(ws).details["collection"], "items": published}
    return write_release(
        ws,
        seed=seed,
        collections=collections,
        item_vectors=text_vectors.numpy(),
        examples=stored(examples),
        users_end=tables.users(ws).num_rows + FIRST_ID,
        items_end=count + FIRST_ID,
        bias=bias,
        live=live,
    )
