"""How near the in-context examples of the newest interactions are: the similarity of the best one, and who has none.

Suffixes: N rows, K examples.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors.numpy import load_file

from core import drift, storage
from core.data import tables
from core.errors import LlmcfError
from core.settings import Workspace
from core.steps import STAMP
from llmcf.monitoring import samples
from llmcf.monitoring.figures import Part

NAME = "examples"
BINS = np.linspace(-1, 1, 41)


def compare(ws: Workspace, reference: Workspace | None, *, days: int) -> Part:
    """The part of the examples, of both workspaces' newest interactions."""
    part = Part(name=NAME)
    now = _best(ws, days)
    if isinstance(now, str):
        part.missing.append(f"examples: {now}")
        return part
    before = _best(reference, days) if reference else None
    if isinstance(before, str):
        part.missing.append(f"examples of the reference: {before}")
        before = None
    has_now, has_before = np.isfinite(now), None if before is None else np.isfinite(before)
    chance = 0.0 if has_before is None else drift.gap_by_chance(has_before, has_now)
    lonely = None if has_before is None else 1 - float(has_before.mean())
    part.add("lonely", 1 - float(has_now.mean()), before=lonely, chance=chance)
    near, near_before = now[has_now], None if before is None else before[np.isfinite(before)]
    if len(near):
        there = near_before is not None and len(near_before)
        chance = drift.gap_by_chance(near_before, near) if there else 0.0  # pyright: ignore[reportArgumentType]
        mean = float(near_before.mean()) if there else None  # pyright: ignore[reportOptionalMemberAccess]
        part.add("similarity", float(near.mean()), before=mean, chance=chance)
        shown = [None if near_before is None else near_before, near]
        counts = [None if one is None else np.histogram(np.clip(one, -1, 1), BINS)[0].tolist() for one in shown]
        part.drawn["similarity"] = counts
    part.facts.append(f"The examples of {len(now):,} interactions of the newest {days} days.")
    return part


def _best(ws: Workspace, days: int) -> NDArray[np.float64] | str:
    """The similarity of each new interaction's nearest example, -inf where it has none; or why there are none."""
    folders = sorted(path.parent for path in ws.path("neighbours").glob(f"[!.]*/{STAMP}"))
    configs = {folder: storage.read_json(folder / STAMP)["config"] for folder in folders}
    plain = [folder for folder, one in configs.items() if one["recipe"] != "paper" and not one["cot_set"]]
    of_ranking = [folder for folder in plain if configs[folder]["stage"] == "ranking"]
    if not plain:
        return f"nobody looked for them; `{tables.remedy(ws, 'rank train --model deepfm --framework llm-cf')}` does"
    try:
        rows = tables.training_rows(ws)
        end = samples.end_day(ws, tables.interactions(ws))
    except LlmcfError as error:
        return str(error)
    found = load_file([*of_ranking, *plain][0] / "neighbours.safetensors")["similarity"]
    if len(found) != rows.num_rows:
        return "the neighbours are of other rows than these; train again"
    newest = samples.newest_rows(rows, end, days)
    if not newest.num_rows:
        return f"nobody did anything in the {days} days before the workspace's end"
    return _nearest(found, rows, newest)


def _nearest(found_NK: NDArray, rows: pa.Table, newest: pa.Table) -> NDArray[np.float64]:
    places = np.searchsorted(rows["row"].to_numpy(), newest["row"].to_numpy())
    return found_NK[places].max(axis=1, initial=-np.inf).astype(np.float64)
