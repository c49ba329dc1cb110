"""Which training rows get a chain of thought: a uniform sample, or the most representative rows (paper section 4.3)."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core import steps
from core.contracts import HISTORY
from core.data import sampling, tables
from core.settings import Workspace

_PURPOSE = "cot"
_DIMENSIONS = 48  # of the keys that are clustered
_COARSE = 64  # clusters of the first level
_DRAWN = 40  # rows a cluster is found from, at most


def choose(ws: Workspace, rows: pa.Table, count: int, *, selection: str, seed: int) -> pa.Table:
    """`count` rows, blind to labels, in the table's order. Rows stay chosen when others come (uniform selection).

    Args:
        selection: one of `recipes.SELECTIONS`.

    Raises:
        LlmcfError: if representative rows are asked for before items are embedded.
    """
    if selection == "uniform" or count >= rows.num_rows:
        return sampling.draw(rows, count, seed=seed, purpose=_PURPOSE)
    pool = sampling.draw(rows, count * _DRAWN, seed=seed, purpose=_PURPOSE)
    return pool.take(np.sort(medoids(keys(ws, pool), count, seed=seed)))


def keys(ws: Workspace, rows: pa.Table) -> NDArray[np.float32]:
    """What rows are compared by: the vectors of history and target, (N, 2E), as the example search has them."""
    from safetensors.numpy import load_file

    folder = ws.path("cot", "vectors")
    steps.require(folder, tables.remedy(ws, "cot embed --items-only"))
    vectors = load_file(folder / "vectors.safetensors")["items"]
    history = rows["history"].combine_chunks().flatten().to_numpy().reshape(-1, HISTORY)
    mean = vectors[history].sum(axis=1)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
    return np.concatenate([mean, vectors[rows["item"].to_numpy()]], axis=1)


def medoids(points: NDArray[np.float32], count: int, *, seed: int) -> NDArray[np.int64]:
    """The point nearest to each of `count` k-means centres, found in two levels so that the cost stays linear."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.decomposition import PCA

    reduced = PCA(min(_DIMENSIONS, *points.shape), random_state=seed).fit_transform(points)
    groups = min(_COARSE, count)
    coarse = MiniBatchKMeans(groups, random_state=seed, n_init="auto").fit_predict(reduced)
    sizes = np.bincount(coarse, minlength=groups)
    found = []
    for group, share in enumerate(_shares(sizes, count)):
        members = np.flatnonzero(coarse == group)
        if share:
            inner = MiniBatchKMeans(share, random_state=seed, n_init="auto", batch_size=1024).fit(reduced[members])
            distance = inner.transform(reduced[members])
            found.append(members[_nearest(distance)])
    return np.concatenate(found)


def _shares(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """`count` split in proportion to `sizes`, none above its size."""
    exact = sizes * (count / sizes.sum())
    shares = np.floor(exact).astype(np.int64)
    order = np.argsort(shares - exact)
    shares[order[: count - shares.sum()]] += 1
    return shares


def _nearest(distance: NDArray[np.floating]) -> NDArray[np.int64]:
    """A different point for each centre: its nearest one that no earlier centre took."""
    taken: set[int] = set()
    for centre in range(distance.shape[1]):
        order = np.argsort(distance[:, centre])
        taken.add(next(int(point) for point in order if int(point) not in taken))
    return np.array(sorted(taken), dtype=np.int64)
