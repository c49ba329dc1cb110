"""How much of the exact answer a release's collections find when Milvus itself is asked."""

import numpy as np

from ict import milvus
from ict.exact import Exact
from ict.filters import Filter
from ict.milvus.verification import midpoints, recalls
from llmcf.gates.deciding import Figure
from llmcf.serving.manifest import Release

_K = 10
_SEARCHED = {"cot": ("key", ("day", "label")), "items": ("vector", ())}  # the vectors, and what filters read


def recall(release: Release) -> Figure:
    """The least recall@10 of a collection that the release names, over queries between its rows.

    Examples are asked for as requests ask: of days before one, with one label.

    Raises:
        LlmcfError: if a collection is gone, or answers with rows or scores that are wrong.
    """
    found = {}
    with milvus.connect(release.workspace) as client:
        for kind, name in release.collections.items():
            vector, columns = _SEARCHED[kind]
            opened = milvus.Collection.open(client, name, release.remedy)
            rows = opened.read([vector, *columns])
            exact = Exact(rows["id"], rows[vector], {column: rows[column] for column in columns})
            queries_BX, k = midpoints(exact.vectors_NX), min(_K, len(exact.ids_N))
            shares = [
                share for rule in _rules(kind, exact) for share in recalls(opened, exact, queries_BX, rule, vector, k)
            ]
            found[kind] = float(np.mean(shares))
    told = ", ".join(f"{kind} {share:.4f}" for kind, share in found.items())
    return Figure(value=min(found.values()), note=f"of {told}")


def _rules(kind: str, exact: Exact) -> list[Filter]:
    if kind != "cot":
        return [Filter()]
    middle = int(np.median(exact.columns["day"])) + 1
    return [Filter(), *(Filter(before=middle, label=label) for label in (1, 0))]
