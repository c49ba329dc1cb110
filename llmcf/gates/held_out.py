"""The held-out rows of the day that is released, as requests of their moment: what was known then and what came.

Suffixes: C items that one user was asked about at one moment, L history length, T items taken before, N rows.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from core.contracts import DENSE
from core.data import tables
from core.settings import Workspace
from llmcf.serving import releases
from llmcf.serving.manifest import Release, Unreadable

_SPLIT = "test"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moment:
    """One user before one interaction that no compared model was trained on.

    Args:
        item_C, label_C: what was taken (1), and what is held against it (0).
        dense_CX: their as-of features in the contract's order.
        seen_T: all that the user had taken before.
    """

    user: int
    position: int
    day: int
    history_L: np.ndarray
    item_C: np.ndarray
    label_C: np.ndarray
    dense_CX: np.ndarray
    seen_T: np.ndarray

    @property
    def taken(self) -> int:
        """The item that came."""
        return int(self.item_C[self.label_C == 1][0])


def moments(ws: Workspace, compared: Sequence[Release], users: int) -> list[Moment]:
    """The test rows of a workspace, by day; of at most so many users, the same each time.

    A row that a compared release, or the one whose weights it has, may have learnt from is left out: rows of training
    and validation of the workspace it was made of, where that is another.

    Raises:
        Missing: if the workspace's rows, or those of a compared release, are not there.
    """
    rows = tables.training_rows(ws)
    tested = rows.filter(pa.array(rows["split"].to_numpy(zero_copy_only=False) == _SPLIT))
    tested = tested.filter(pa.array(_unlearnt(tested, _others(ws, compared))))
    known = np.unique(tested["user"].to_numpy())
    if len(known) > users:
        chosen = np.random.default_rng(0).choice(known, users, replace=False)
        tested = tested.filter(pa.array(np.isin(tested["user"].to_numpy(), chosen)))
    return of_rows(tested, tables.interactions(ws))


def of_rows(rows: pa.Table, taken: pa.Table) -> list[Moment]:
    """The moments that rows of `schemas.TRAINING_ROWS` are of, by day, user and position; each has its positive.

    Args:
        taken: the interactions that the rows were made of, sorted by user and position.
    """
    return sorted(_moments(rows, taken), key=lambda one: (one.day, one.user, one.position))


def _others(ws: Workspace, compared: Sequence[Release]) -> set[Workspace]:
    """Other workspaces that the weights may come from."""
    return {place for one in compared for place in _lineage(one)} - {ws}


def _lineage(release: Release) -> Iterator[Workspace]:
    """A release's workspace, and those of the releases whose weights it froze anew, as far as they are still there."""
    yield release.workspace
    if release.refreshed is not None and release.refreshed in releases.numbers(release.dataset):
        try:
            yield from _lineage(releases.read(release.dataset, release.refreshed))
        except Unreadable:
            return


def _unlearnt(tested: pa.Table, others: set[Workspace]) -> np.ndarray:
    """Which rows belong to no interaction that one of the workspaces trains or validates on, (N,)."""
    learnt: set[tuple[int, int, int]] = set()
    for place in others:
        rows = tables.training_rows(place)
        split, label = rows["split"].to_numpy(zero_copy_only=False), rows["label"].to_numpy()
        learnt |= set(_interactions(rows.filter(pa.array(np.isin(split, ("train", "valid")) & (label == 1)))))
    positive_N = tested["label"].to_numpy() == 1
    own = list(_interactions(tested))
    place_N = list(zip(*(tested[name].to_pylist() for name in ("user", "position")), strict=True))
    bad = {place_N[row] for row in np.flatnonzero(positive_N).tolist() if own[row] in learnt}
    return np.array([place not in bad for place in place_N], dtype=bool)


def _interactions(rows: pa.Table) -> Iterator[tuple[int, int, int]]:
    """What an interaction is in every order and on every day: user, item, time."""
    return zip(*(rows[name].to_pylist() for name in ("user", "item", "timestamp")), strict=True)


def _moments(tested: pa.Table, taken: pa.Table) -> Iterator[Moment]:
    tested = tested.sort_by([("user", "ascending"), ("position", "ascending"), ("row", "ascending")])
    user, position, day, item, label = (
        tested[name].to_numpy().astype(np.int64) for name in ("user", "position", "day", "item", "label")
    )
    dense = np.stack([tested[name].to_numpy() for name in DENSE], axis=1).astype(np.float32)
    history = np.array(tested["history"].to_pylist(), dtype=np.int64)
    own_N, item_N = taken["user"].to_numpy(), taken["item"].to_numpy().astype(np.int64)  # by user and position
    starts = np.flatnonzero(np.append(True, (np.diff(user) != 0) | (np.diff(position) != 0)))
    for first, end in itertools.pairwise([*starts, len(user)]):
        if not (label[first:end] == 1).any():
            continue
        of_user = int(np.searchsorted(own_N, user[first]))
        yield Moment(
            user=int(user[first]),
            position=int(position[first]),
            day=int(day[first]),
            history_L=history[first],
            item_C=item[first:end],
            label_C=label[first:end],
            dense_CX=dense[first:end],
            seen_T=np.unique(item_N[of_user : of_user + position[first]]),
        )
