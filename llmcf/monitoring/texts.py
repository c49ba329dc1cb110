"""Chains of thought: how old they are, and what speaks against them."""

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from core import drift, measurements, schemas, steps, storage
from core.data import tables
from core.errors import LlmcfError
from core.settings import Workspace
from llmcf.monitoring import samples
from llmcf.monitoring.figures import Part

NAME = "texts"
FAULTS = ("empty", "repetition", "language", "refusal", "truncated")  # of `llm.quality.FLAGS`; the rest is cut out
SCORES = {"score": "text_score", "label_probe": "label_probe"}  # of `report cot`, and how they are called here


def compare(ws: Workspace, reference: Workspace | None, *, now: float) -> Part:
    """The part of the texts. `now` is in Unix seconds."""
    part = Part(name=NAME)
    stamp = steps.Step(folder=ws.cot("texts"), config=None).stamp()
    if stamp is None:
        part.missing.append("texts: there are none")
        return part
    before = steps.Step(folder=reference.cot("texts"), config=None).stamp() if reference else None
    if reference and before is None:
        part.missing.append("texts of the reference: there are none")
    made = date.fromisoformat(stamp["summary"]["date"])
    part.add("text_days", (datetime.fromtimestamp(now, UTC).date() - made).days)
    flags = _flags(ws)
    older = _flags(reference) if reference and before else None
    _flagged(part, flags, older)
    _behind(part, ws)
    _scores(part, ws, stamp, reference, before)
    part.facts.append(f"{len(flags):,} texts by {stamp['summary']['model']}, put together on {made}.")
    return part


def _table(ws: Workspace) -> pa.Table:
    return storage.read_table(ws.cot("texts") / "texts.parquet", schemas.COT_TEXTS, tables.remedy(ws, "cot generate"))


def _flags(ws: Workspace) -> list[list[str]]:
    return _table(ws)["flags"].to_pylist()


def _flagged(part: Part, flags: list[list[str]], older: list[list[str]] | None) -> None:
    for name in FAULTS:
        now_N = np.array([name in some for some in flags], dtype=float)
        before_N = None if older is None else np.array([name in some for some in older], dtype=float)
        part.add(
            "flagged",
            now_N.mean() if len(now_N) else float("nan"),
            of=name,
            before=None if before_N is None or not len(before_N) else float(before_N.mean()),
            chance=0.0 if before_N is None else drift.gap_by_chance(before_N, now_N),
        )


def _behind(part: Part, ws: Workspace) -> None:
    """How many days the newest example is behind the data."""
    try:
        rows, interactions = tables.rows(ws), tables.interactions(ws)
    except LlmcfError as error:
        part.missing.append(f"how far the texts are behind the data: {error}")
        return
    number = _table(ws)["row"].to_numpy()
    if len(number):
        day_N = rows["day"].to_numpy()[np.searchsorted(rows["row"].to_numpy(), number)]
        part.add("text_days_behind", samples.end_day(ws, interactions) - 1 - int(day_N.max()))


def _scores(
    part: Part, ws: Workspace, stamp: dict[str, Any], reference: Workspace | None, before: dict[str, Any] | None
) -> None:
    """What `llmcf report cot --keep` measured of these texts, and of the reference's."""
    now_line = _line(ws, stamp)
    then_line = _line(reference, before) if reference and before else None
    if now_line is None:
        part.missing.append(f"scores of the texts: `{tables.remedy(ws, 'report cot --keep')}` measures them")
        return
    for measured, name in SCORES.items():
        then = then_line["figures"].get(measured) if then_line else None
        part.add(name, now_line["figures"][measured], before=then)


def _line(ws: Workspace, stamp: dict[str, Any]) -> dict[str, Any] | None:
    """The newest line of these very texts; None if they were not measured."""
    lines = measurements.read(measurements.file("cot", ws.dataset))
    return next((line for line in reversed(lines) if line.get("texts") == stamp["content"]), None)
