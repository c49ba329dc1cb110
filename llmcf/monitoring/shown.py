"""What is recommended: how much of the catalogue, and how popular it is.

From the answers that the service has kept; without them from its sample of served requests; without that from the
account of the retrieval run that the live release was made of, on the test rows.
Suffixes: N shown items, V items on offer.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core import drift, steps
from core.contracts import FIRST_ID
from core.data import tables, vocabulary
from core.errors import LlmcfError
from core.settings import Workspace
from llmcf.monitoring import samples
from llmcf.monitoring.figures import Part
from llmcf.service import served_log, state, store
from llmcf.serving.manifest import Release

NAME = "recommended"
ANSWERS, SAMPLE, ACCOUNT = "answers", "sample", "account"  # where it was taken from
_TOP = 10  # items of an account, of each test row
_MOST = 5000  # answers that are looked at
_ALIKE = 2.0  # so many times as many shown items are not held against each other: coverage grows with them


@dataclass(frozen=True, slots=True)
class Earlier:
    """What was found of the reference day: from where, how many items were shown, and figures by name."""

    source: str
    shown: int
    figures: dict[str, float]


def compare(
    ws: Workspace,
    reference: Workspace | None,
    release: Release | None,
    earlier: Earlier | None,
    *,
    days: int,
    least: int,
) -> tuple[Part, Earlier | None]:
    """The part of what is recommended, and what to keep of it for later days.

    Args:
        earlier: of the reference, as it was found on its day: the service does not remember it.
        least: below so many shown items nothing is said.
    """
    part = Part(name=NAME)
    try:
        interactions, offered_V = tables.interactions(ws), tables.offered(ws)
    except LlmcfError as error:
        part.missing.append(f"what is recommended: {error}")
        return part, None
    source, shown_N = _shown(ws, part, offered_V, least)
    if shown_N is None:
        return part, _of_account(part, ws, reference, release, earlier)
    item_M = interactions["item"].to_numpy().astype(np.int64)
    lately_M = item_M[interactions["day"].to_numpy() >= samples.end_day(ws, interactions) - days]
    taken_M = lately_M if len(lately_M) else item_M
    takings = np.bincount(item_M, minlength=int(offered_V.max(initial=FIRST_ID)) + 1)
    kept = Earlier(source, len(shown_N), _figures(shown_N, offered_V, takings, taken_M))
    _add(part, kept, earlier)
    part.drawn["exposure"] = _exposure(shown_N, offered_V)
    part.drawn["popularity"] = _popularity(shown_N, taken_M, takings, offered_V)
    return part, kept


def _shown(ws: Workspace, part: Part, offered_V: NDArray[np.int64], least: int) -> tuple[str, NDArray[np.int64] | None]:
    """Rows of the shown items that are on offer, once for each time, and where they come from; None for too few."""
    place = state.folder(ws.dataset)
    row = vocabulary.rows(ws.dataset, "items")
    answers = store.shown(place / store.FILE, _MOST)
    found = {
        ANSWERS: np.array([row[item] for one in answers for item in one.items if item in row], dtype=np.int64),
        SAMPLE: served_log.read(place)["item"].to_numpy(),
    }
    what = {ANSWERS: "the kept answers of the service", SAMPLE: "the sample of served requests"}
    for source, item_N in found.items():
        item_N = item_N[np.isin(item_N, offered_V)]
        if len(item_N) >= least:
            part.facts.append(f"{len(item_N):,} shown items, from {what[source]}.")
            return source, item_N
        part.missing.append(f"{what[source]}: {len(item_N)} shown items are fewer than {least}")
    return "", None


def _figures(
    shown_N: NDArray[np.int64], offered_V: NDArray[np.int64], takings: NDArray[np.int64], taken_M: NDArray[np.int64]
) -> dict[str, float]:
    exposure_V = np.bincount(shown_N, minlength=len(takings))[offered_V]
    return {
        "coverage": float((exposure_V > 0).mean()),
        "gini": drift.gini(exposure_V),
        "popularity_lift": _lift(float(takings[shown_N].mean()), float(takings[taken_M].mean())),
    }


def _of_account(
    part: Part, ws: Workspace, reference: Workspace | None, release: Release | None, earlier: Earlier | None
) -> Earlier | None:
    """From the account of a retrieval run; the reference's is still there, whether it was monitored or not."""
    if release is None:
        part.missing.append("what is recommended: no release that can be read is live")
        return None
    name = release.stages["user_vector"].run_name
    found = _account(ws, name)
    if found is None:
        part.missing.append(f"what is recommended: the workspace has no account of a retrieval run {name}")
        return None
    _add(part, found, (_account(reference, name) if reference else None) or earlier)
    part.facts.append(f"The ten best items of each test row, by the run {name}.")
    return found


def _account(ws: Workspace, name: str) -> Earlier | None:
    folder = ws.path("retrieval", name)
    stamp = steps.Step(folder=folder, config=None).stamp()
    if stamp is None or "coverage" not in stamp["summary"]:
        return None
    summary, tested = stamp["summary"], pq.read_table(folder / "scores.parquet", filters=[("split", "=", "test")])
    taken = _popularity_of_tested(ws, tested["row"].to_numpy())
    lift = _lift(float(summary["mean_popularity"]), taken)
    figures = {"coverage": float(summary["coverage"]), "popularity_lift": lift}
    return Earlier(ACCOUNT, _TOP * tested.num_rows, figures)


def _lift(shown: float, taken: float) -> float:
    """How much more popular is what is shown than what is taken; NaN where nothing of that was ever taken before."""
    return shown / taken - 1 if taken else float("nan")


def _popularity_of_tested(ws: Workspace, number_N: NDArray[np.int64]) -> float:
    """Of the test rows' own items, how often they were taken before the row's day."""
    rows = tables.training_rows(ws)
    place = np.searchsorted(rows["row"].to_numpy(), number_N)
    return float(np.expm1(rows["popularity"].to_numpy()[place].astype(np.float64)).mean())


def _add(part: Part, now: Earlier, earlier: Earlier | None) -> None:
    alike = earlier is not None and earlier.source == now.source
    alike = alike and earlier is not None and 1 / _ALIKE <= now.shown / earlier.shown <= _ALIKE
    if earlier is None:
        part.missing.append("what was recommended on the reference day: it was not monitored, or nothing was shown")
    elif not alike:
        part.missing.append(
            f"what is recommended against the reference: {now.shown:,} from {now.source} are not held against "
            f"{earlier.shown:,} from {earlier.source}"
        )
    part.add("shown", now.shown)
    for name, value in now.figures.items():
        part.add(name, value, before=earlier.figures.get(name) if alike and earlier else None)


def _exposure(shown_N: NDArray[np.int64], offered_V: NDArray[np.int64]) -> list[float]:
    """The Lorenz curve of exposure in 101 points: what share the least shown items have together."""
    exposure_V = np.sort(np.bincount(shown_N, minlength=int(offered_V.max()) + 1)[offered_V])
    curve = np.append(0, np.cumsum(exposure_V) / exposure_V.sum())
    return np.interp(np.linspace(0, 1, 101), np.linspace(0, 1, len(curve)), curve).tolist()


def _popularity(
    shown_N: NDArray[np.int64], taken_M: NDArray[np.int64], takings: NDArray[np.int64], offered_V: NDArray[np.int64]
) -> tuple[list[float], list[float]]:
    """What is shown and what is taken, by tenths of the catalogue from the least to the most popular: shares."""
    rank = np.empty(len(takings))
    rank[offered_V[np.argsort(takings[offered_V], kind="stable")]] = np.arange(len(offered_V))
    tenths = []
    for some in (shown_N, taken_M[np.isin(taken_M, offered_V)]):
        counts = np.bincount((rank[some] * 10 // len(offered_V)).astype(int), minlength=10)
        tenths.append((counts / max(1, counts.sum())).tolist())
    return tenths[0], tenths[1]
