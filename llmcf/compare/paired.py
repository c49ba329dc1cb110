"""Two runs on the same test rows: each metric of both, and the interval of their difference over resampled users.

Suffixes: N rows, the same ones of both runs, in one order.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core import metrics, steps
from core.data import tables
from core.errors import Missing, UsageError
from core.progress import track
from core.segments import COLD, SEGMENTS
from core.uncertainty import Statistic, auc_of, bootstrap, difference, gauc_of, logloss_of, mean_of
from llmcf.compare.sides import Run
from llmcf.lineage.folders import verb_of

DRAWS = 500
LEVEL = 0.95
SCORES = "scores.parquet"
HEADLINE = {"ranking": "auc", "retrieval": "ndcg@10 masked"}  # what segments are measured by
BETTER_BELOW = {"logloss", "ece"}
_KEY = ["user", "item", "position", "label"]  # what a row is, whatever its number in a workspace
Numbers = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A metric of two runs on the same rows; `low` and `high` bound second less first, None where not resampled."""

    rows: int
    first: float
    second: float
    low: float | None = None
    high: float | None = None

    @property
    def gap(self) -> float:
        """Second less first."""
        return self.second - self.first

    @property
    def differs(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "gap": self.gap, "differs": self.differs}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two runs of a stage on the test rows that both have scored.

    Args:
        counts: test rows of the first, of the second, and of both.
        whole: by metric, over all common rows.
        segments: the headline metric by part of the rows, with intervals that hold for all parts together.
    """

    stage: str
    counts: tuple[int, int, int]
    users: int
    whole: Mapping[str, Compared]
    segments: Mapping[str, Compared]

    @property
    def same_rows(self) -> bool:
        return len(set(self.counts)) == 1

    def as_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "rows": dict(zip(("first", "second", "common"), self.counts, strict=True)),
            "same_rows": self.same_rows,
            "users": self.users,
            "metrics": {name: one.as_json() for name, one in self.whole.items()},
            "segments_by": HEADLINE[self.stage],
            "segments": {name: one.as_json() for name, one in self.segments.items()},
        }


def compare(first: Run, second: Run, *, draws: int = DRAWS, seed: int = 0) -> Pair:
    """Hold two runs of one stage against each other.

    Args:
        draws: of the bootstrap over users.

    Raises:
        UsageError: if no test row was scored by both.
        Missing: if a run's scores are of other rows than its workspace holds now, so that nobody knows which they are.
    """
    one, other = _scored(first), _scored(second)
    both, every = _common(one, other), tables.training_rows(second.ws)
    if not len(both):
        raise UsageError(
            f"{first.folder} and {second.folder} have no test row in common: "
            f"{len(one):,} rows of {first.ws.order} {first.ws.as_of}, {len(other):,} of {second.ws.order} "
            f"{second.ws.as_of}"
        )
    measures = _measures(first.stage, both)
    headline = measures[HEADLINE[first.stage]]
    facts = every.take(np.searchsorted(every["row"].to_numpy(), both["row"].to_numpy()))
    parts = _parts(facts, every, headline)
    level = 1 - (1 - LEVEL) / max(len(parts), 1)  # Bonferroni's
    everywhere = np.ones(len(both), dtype=bool)
    every_part = track(parts.items(), total=len(parts), what=f"{second.name} by segment")
    return Pair(
        stage=first.stage,
        counts=(len(one), len(other), len(both)),
        users=len(np.unique(both["user"].to_numpy())),
        whole={name: one.compared(everywhere, draws, seed, LEVEL) for name, one in measures.items()},
        segments={name: headline.compared(at_N, draws, seed, level) for name, at_N in every_part},
    )


def alone(run: Run, *, draws: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """One run's test rows by segment: rows, the headline metric, and its 95 % interval over users.

    Raises:
        Missing: as `compare`.
    """
    scored, every = _scored(run), tables.training_rows(run.ws)
    twice = scored
    for name in [name for name in scored.column_names if name.startswith(("score", "rank_"))]:
        twice = twice.append_column(f"{name}_other", scored[name])
    headline = _measures(run.stage, twice.sort_by("row"))[HEADLINE[run.stage]]
    facts = every.take(np.searchsorted(every["row"].to_numpy(), np.sort(scored["row"].to_numpy())))
    return {
        "segments_by": HEADLINE[run.stage],
        "segments": {name: headline.own(at_N, draws, seed) for name, at_N in _parts(facts, every, headline).items()},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measure:
    """A metric of both runs on any of the rows.

    Args:
        value: of a run's column on some rows.
        statistic: the same under weights of users, and their number; None where it is not resampled.
    """

    columns: tuple[Numbers, Numbers]
    value: Callable[[Numbers, NDArray[np.bool_]], float]
    statistic: Callable[[Numbers, NDArray[np.bool_]], tuple[Statistic, int]] | None
    label_N: Numbers | None = None

    def known(self, at_N: NDArray[np.bool_]) -> bool:
        """Whether these rows have the metric: some, and of clicks both kinds."""
        return len(np.unique(self.label_N[at_N])) > 1 if self.label_N is not None else bool(at_N.any())

    def compared(self, at_N: NDArray[np.bool_], draws: int, seed: int, level: float) -> Compared:
        first, second = (self.value(column_N, at_N) for column_N in self.columns)
        rows = int(at_N.sum())
        if self.statistic is None:
            return Compared(rows=rows, first=first, second=second)
        (of_first, users), (of_second, _) = (self.statistic(column_N, at_N) for column_N in self.columns)
        found = bootstrap(difference(of_second, of_first), users, draws=draws, seed=seed, level=level)
        return Compared(rows=rows, first=first, second=second, low=found.low, high=found.high)

    def own(self, at_N: NDArray[np.bool_], draws: int, seed: int) -> dict[str, Any]:
        """Of the first run alone: rows, value and its interval."""
        assert self.statistic is not None
        found = bootstrap(*self.statistic(self.columns[0], at_N), draws=draws, seed=seed, level=LEVEL)
        value = self.value(self.columns[0], at_N)
        return {"rows": int(at_N.sum()), "value": value, "low": found.low, "high": found.high}


def _parts(facts: pa.Table, every: pa.Table, headline: _Measure) -> dict[str, NDArray[np.bool_]]:
    """The segments of which the headline metric can be told, as masks of the rows."""
    parts = {name: segment(facts) for name, segment in SEGMENTS.items()}
    parts |= {name: cold(facts, every) for name, cold in COLD.items()}
    return {name: at_N for name, at_N in parts.items() if headline.known(at_N)}


def _measures(stage: str, both: pa.Table) -> dict[str, _Measure]:
    return _of_clicks(both) if stage == "ranking" else _of_ranks(both)


def _of_clicks(both: pa.Table) -> dict[str, _Measure]:
    label_N, user_N = both["label"].to_numpy(), both["user"].to_numpy()
    columns = both["score"].to_numpy(), both["score_other"].to_numpy()

    def measure(value: Callable[..., float], statistic: Callable[..., tuple[Statistic, int]] | None) -> _Measure:
        return _Measure(
            columns=columns,
            value=lambda score_N, at_N: value(label_N[at_N], score_N[at_N], user_N[at_N]),
            statistic=statistic and (lambda score_N, at_N: statistic(label_N[at_N], score_N[at_N], user_N[at_N])),
            label_N=label_N,
        )

    return {
        "auc": measure(lambda label, score, _: metrics.auc(label, score), auc_of),
        "gauc": measure(metrics.gauc, gauc_of),
        "logloss": measure(lambda label, score, _: metrics.logloss(label, score), logloss_of),
        "ece": measure(lambda label, score, _: metrics.ece(label, score), None),
    }


def _of_ranks(both: pa.Table) -> dict[str, _Measure]:
    user_N, found = both["user"].to_numpy(), {}
    for which in ("masked", "unmasked"):
        columns = both[f"rank_{which}"].to_numpy(), both[f"rank_{which}_other"].to_numpy()
        for name, gain in _GAINS.items():
            found[f"{name} {which}"] = _Measure(
                columns=columns,
                value=lambda rank_N, at_N, gain=gain: float(gain(rank_N[at_N]).mean()),
                statistic=lambda rank_N, at_N, gain=gain: mean_of(gain(rank_N[at_N]), user_N[at_N]),
            )
    return found


def _gain(k: int, *, discounted: bool) -> Callable[[Numbers], Numbers]:
    return lambda rank_N: (rank_N <= k) / (np.log2(1 + rank_N) if discounted else 1.0)


_GAINS = {
    **{f"hit@{k}": _gain(k, discounted=False) for k in (5, 10)},
    **{f"ndcg@{k}": _gain(k, discounted=True) for k in (5, 10)},
}


def _scored(run: Run) -> pa.Table:
    """The run's test rows with what each is, as its workspace's training rows say.

    Raises:
        Missing: if these are others than the run scored.
    """
    scores = pq.read_table(run.folder / SCORES, filters=[("split", "=", "test")])
    every = tables.training_rows(run.ws)
    row_N = every["row"].to_numpy()
    place_N = np.minimum(np.searchsorted(row_N, scores["row"].to_numpy()), len(row_N) - 1)
    facts = every.take(place_N)
    same = np.array_equal(facts["row"].to_numpy(), scores["row"].to_numpy())
    same &= set(facts["split"].unique().to_pylist()) <= {"test"}
    for name in {"label", "user", "item"} & set(scores.column_names):
        same &= np.array_equal(facts[name].to_numpy(), scores[name].to_numpy())
    if not same or run.rows not in ("", steps.content_of(run.ws.path("training"))):
        raise Missing(
            f"{run.folder} scored other rows than {run.ws.path('training')} holds now", verb_of(run.folder, run.stamp)
        )
    measured = [name for name in scores.column_names if name.startswith(("score", "rank_"))]
    found = facts.select(["row", *_KEY])
    for name in measured:
        found = found.append_column(name, scores[name])
    return found


def _common(one: pa.Table, other: pa.Table) -> pa.Table:
    """The rows of both in the order of the second, with its numbers; the first's values, and the second's `_other`."""
    found = one.drop_columns(["row"]).join(other, _KEY, join_type="inner", right_suffix="_other")
    return found.sort_by("row").combine_chunks()
