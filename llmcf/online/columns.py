"""The numbers of one feature service as arrays by id, for views whose rows only change with the release.

A row of a store is bytes a field; parsing those of 200 items takes ten times as long as computing with them. So a row
is parsed when it is first asked for, and then lies in arrays, out of which a request takes its items at once.

Suffixes: C ids that are asked for, N ids that there is room for, X width of a list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmcf.online.rows import Rows
from llmcf.online.table import count_states
from llmcf.online.views import Row, View, decoder

_NEVER = -np.inf  # the event time of a row that the store does not have


@dataclass(frozen=True, slots=True)
class Taken:
    """Of C ids the numbers, float64 (C,), NaN where there is none, or (C, X), zeros; and the stale rows a view."""

    values: dict[str, NDArray]
    stale: Mapping[str, int]


class Columns:
    """`lead` names the view without which nothing is known of an id. Fields that are no numbers are left out."""

    def __init__(self, rows: Rows, views: Sequence[View], *, lead: str) -> None:
        self._rows, self._decode, self._lock = rows, decoder(), Lock()
        self._views = [_Kept(view) for view in sorted(views, key=lambda view: view.name != lead)]  # it comes first
        assert self._views[0].view.name == lead, f"the service does not hold {lead}"

    def at(self, ids: Sequence[int], now: float) -> Taken:
        """The newest states, where they are not older than their views' TTL at `now`, Unix seconds; ids are >= 0.

        Raises:
            LlmcfError: if the store does not answer.
        """
        ids_C = np.asarray(ids, dtype=np.int64)
        self.load(ids_C)
        values, stale, known_C = {}, {}, np.ones(len(ids_C), dtype=bool)
        for kept in self._views:
            there_C, fresh_C = kept.states(ids_C, now)
            if old := count_states(kept.view, int((~there_C).sum()), int(fresh_C.sum()), len(ids_C)):
                stale[kept.view.name] = old
            if kept is self._views[0]:
                known_C = fresh_C
            values |= kept.taken(ids_C, fresh_C & known_C)
        return Taken(values, stale)

    def forget(self) -> None:
        """Drop what is kept."""
        with self._lock:
            self._views = [_Kept(kept.view) for kept in self._views]

    def load(self, ids: Sequence[int] | NDArray) -> None:
        """Read what is not here yet. A row that the store lacks may come yet, so it is asked for each time."""
        ids_C = np.asarray(ids, dtype=np.int64)
        if not any(kept.lacks(ids_C).size for kept in self._views):
            return
        with self._lock:
            wanted = [(kept, kept.lacks(ids_C).tolist()) for kept in self._views]
            asked = [(kept, missing) for kept, missing in wanted if missing]
            answers = self._rows.read([(kept.view, missing) for kept, missing in asked])
            for (kept, missing), rows in zip(asked, answers, strict=True):
                kept.put(missing, [row and (row[0], tuple(map(self._decode, row[1]))) for row in rows])


@dataclass(slots=True)
class _Kept:
    """One view's rows. Arrays are replaced when they grow, so that whoever reads has whole ones."""

    view: View
    times_N: NDArray = field(default_factory=lambda: np.empty(0))
    values: dict[str, NDArray] = field(default_factory=dict)

    def lacks(self, ids_C: NDArray) -> NDArray:
        """Those of the ids whose row is not here, each once."""
        times_N = self.times_N
        inside_C = ids_C < len(times_N)
        here_C = inside_C & (times_N[np.where(inside_C, ids_C, 0)] > _NEVER) if len(times_N) else inside_C
        return np.unique(ids_C[~here_C])

    def put(self, ids: Sequence[int], rows: Sequence[Row | None]) -> None:
        there = [(one, row) for one, row in zip(ids, rows, strict=True) if row is not None]
        self._grow(max((one for one, _ in there), default=-1) + 1)
        for place, name in enumerate(self.view.fields):
            found = [(one, row[1][place]) for one, row in there if _is_number(row[1][place])]
            if found:
                self._column(name, found[0][1])[[one for one, _ in found]] = [value for _, value in found]
        self.times_N[[one for one, _ in there]] = [row[0] for _, row in there]  # last: it says that the row is here

    def states(self, ids_C: NDArray, now: float) -> tuple[NDArray, NDArray]:
        """Whether the rows exist, and whether they are fresh as well, (C,)."""
        time_C = _at(self.times_N, ids_C, _NEVER)
        return time_C > _NEVER, time_C + self.view.ttl >= now

    def taken(self, ids_C: NDArray, usable_C: NDArray) -> dict[str, NDArray]:
        """The fields' numbers where `usable_C` says so."""
        found = {}
        for name, values in self.values.items():
            nothing = np.nan if values.ndim == 1 else 0
            found[name] = _at(values, ids_C, nothing)
            found[name][~usable_C] = nothing
        return found

    def _column(self, name: str, like: Any) -> NDArray:
        """The field's array, made when its first number comes."""
        if name not in self.values:
            shape = (len(self.times_N), len(like)) if isinstance(like, list) else (len(self.times_N),)
            self.values[name] = np.zeros(shape, dtype=np.int64) if len(shape) == 2 else np.full(shape, np.nan)
        return self.values[name]

    def _grow(self, wanted: int) -> None:
        if wanted <= (held := len(self.times_N)):
            return
        room = max(wanted, 2 * held)
        for name, values in self.values.items():
            nothing = np.nan if values.ndim == 1 else 0
            self.values[name] = np.concatenate(
                [values, np.full((room - held, *values.shape[1:]), nothing, values.dtype)]
            )
        self.times_N = np.concatenate([self.times_N, np.full(room - held, _NEVER)])


def _at(values: NDArray, ids_C: NDArray, nothing: float) -> NDArray:
    """A copy of the rows of some ids, which may lie beyond the end."""
    if len(ids_C) and ids_C.max() < len(values):
        return values[ids_C]
    found = np.full((len(ids_C), *values.shape[1:]), nothing, values.dtype)
    inside_C = ids_C < len(values)
    found[inside_C] = values[ids_C[inside_C]]
    return found


def _is_number(value: Any) -> bool:
    """A number, or a list of them that says how wide it is."""
    return isinstance(value, int | float) or (isinstance(value, list) and bool(value) and not isinstance(value[0], str))
