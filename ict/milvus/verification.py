"""Whether a version may go live: its rows, their width, their days, what they are of, and how much of the exact answer
it finds."""

from collections.abc import Iterator

import numpy as np

from core.errors import LlmcfError
from ict.exact import NOTHING, Exact
from ict.filters import Filter
from ict.milvus.collection import Collection
from ict.milvus.records import Records

QUERIES = 16  # of each filter
_SLACK = 1e-4  # of a score: equally near rows may stand for each other, and servers round
_WORST = 1e-3  # by which a score may differ from the exact one


def verify(collection: Collection, records: Records) -> dict[str, dict[str, float]]:
    """Hold a version that is not live yet against the rows that it was made of.

    Returns:
        recall@k of every vector that is searched, under every filter of `records.checks`.

    Raises:
        LlmcfError: if it lacks rows, has vectors of another width, names another encoder or another of the facts than
            its rows are of, knows of a later day than it says, finds too little or scores wrongly; the version before
            stays live.
    """
    name = collection.name
    if collection.count != len(records.ids):
        raise LlmcfError(f"Milvus stored {collection.count} of {len(records.ids)} rows in {name}; run the verb again")
    for vector, values in records.vectors.items():
        if collection.widths.get(vector) != values.shape[1]:
            raise LlmcfError(
                f"{name}.{vector} holds vectors of {collection.widths.get(vector)} numbers, not {values.shape[1]}"
            )
    for what, wanted in records.facts.items():
        if (told := collection.account.get(what)) != wanted:
            raise LlmcfError(
                f"{name} names the {what} {told!r}, and its rows are of {wanted!r}; the old version stays live, "
                "run the verb again"
            )
    if records.until is not None and (late := collection.left(Filter(), also=f"day >= {records.until}")):
        raise LlmcfError(f"{late} rows of {name} are of day {records.until} or later, which it must not know")
    return {vector: _recalls(collection, records, vector) for vector in records.searched}


def _recalls(collection: Collection, records: Records, vector: str) -> dict[str, float]:
    exact, queries_BX = records.exact(vector), midpoints(records.vectors[vector])
    floor, found = records.index.recall_floor, {}
    for what, rules in records.checks.items():
        shares = [share for rule in rules for share in recalls(collection, exact, queries_BX, rule, vector, records.k)]
        if not shares:
            continue  # no row is let through: there is nothing to find
        found[what] = round(float(np.mean(shares)), 4)
        if found[what] < floor:
            raise LlmcfError(
                f"recall@{records.k} of {collection.name}.{vector} under {what} is {found[what]:.3f}, below {floor}, "
                f"with {records.index.as_json()}; choose a larger ef or nprobe, or FLAT; the old version stays live"
            )
    return found


def recalls(
    collection: Collection, exact: Exact, queries_BX: np.ndarray, rule: Filter, vector: str, k: int
) -> list[float]:
    """Which share of the exact k best rows each query finds; none where the filter leaves nothing.

    A row counts that is as near as the k-th best.

    Raises:
        LlmcfError: if a row is found that the filter forbids, or a score is wrong.
    """
    k = min(k, len(exact.ids_N))
    if not exact.mask(rule).any():
        return []
    _, wanted_Bk = exact.search(queries_BX, k, rule)
    ids_Bk, scores_Bk = collection.search(queries_BX, k, rule, vector=vector)
    _check_scores(collection.name, exact, queries_BX, rule, ids_Bk, scores_Bk)
    return list(_shares(wanted_Bk, scores_Bk))


def _shares(wanted_Bk: np.ndarray, scores_Bk: np.ndarray) -> Iterator[float]:
    for wanted_k, found_k in zip(wanted_Bk, scores_Bk, strict=True):
        there = wanted_k[wanted_k > NOTHING]
        yield min(1.0, int((found_k >= there[-1] - _SLACK).sum()) / len(there))


def _check_scores(
    name: str, exact: Exact, queries_BX: np.ndarray, rule: Filter, ids_Bk: np.ndarray, scores_Bk: np.ndarray
) -> None:
    """Every row that was found must be one that the filter lets through, and as near as it is said to be."""
    there_Bk = scores_Bk > NOTHING
    places_Bk = np.searchsorted(exact.ids_N, ids_Bk).clip(max=len(exact.ids_N) - 1)
    true_Bk = np.einsum("bkx,bx->bk", exact.vectors_NX[places_Bk], queries_BX)
    right_Bk = (exact.ids_N[places_Bk] == ids_Bk) & exact.mask(rule)[places_Bk]
    right_Bk &= np.isclose(true_Bk, scores_Bk, rtol=_WORST, atol=_WORST)
    if not right_Bk[there_Bk].all():
        raise LlmcfError(f"Milvus answers wrongly on {name}; the old version stays live, run the verb again")


def midpoints(vectors_NX: np.ndarray, count: int = QUERIES) -> np.ndarray:
    """Queries that lie between two rows each, (count, X), the same each time: a row would find itself too easily."""
    one, other = np.random.default_rng(0).integers(0, len(vectors_NX), (2, count))
    return (vectors_NX[one] + vectors_NX[other]) / 2
