"""`llmcf audit leaks`: proves the leak rule (METHOD section 1) on what a workspace holds, table by table."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from core import schemas, steps, storage
from core.contracts import DENSE, SEQUENCE
from core.data import asof, audit, tables
from core.errors import Missing, NotPassed
from core.remedies import cot_verbs, maker
from core.result import Result
from core.settings import Workspace
from ict.neighbours import NeighbourConfig, neighbours_step
from llm import contexts, quality
from llm.texts import wording

_PARTS = {
    "training rows joined by Feast (features join)": ("training", "rows.parquet"),
    "in-context examples (cot generate)": ("cot", "texts", "texts.parquet"),
    "neighbours (rank train, retrieve train)": ("neighbours",),
    "scores of other models": ("scores",),
}
RULES = ("strict", "best")  # recipes that must obey; `paper` keeps the published protocol's flaws on purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One claim, how many rows it was checked on, and the rows that break it."""

    claim: str
    rows: int
    violations: np.ndarray

    def as_json(self) -> dict[str, Any]:
        first = [int(row) for row in self.violations[:5]]
        return {"claim": self.claim, "rows": self.rows, "violations": len(self.violations), "first": first}


def leaks(ws: Workspace) -> Result:
    """Check everything that the workspace holds; `details["violations"]` counts what breaks the rule."""
    start = time.monotonic()
    checks = list(_checks(ws))
    found = sum(len(check.violations) for check in checks)
    missing = [f"not there yet: {what}" for what, path in _PARTS.items() if not ws.path(*path).exists()]
    missing += [f"stale, so no training reads it: {path.name}" for path in _neighbours(ws) if _stale(ws, path)]
    return Result(
        verb="audit leaks",
        workspace=ws,
        seconds=time.monotonic() - start,
        details={
            "violations": found,
            "checks": [check.as_json() for check in checks],
            "missing": missing,
            "text": _text(checks, missing),
        },
    )


def require_none(result: Result) -> None:
    """Raises NotPassed if the audit found a violation."""
    if found := result.details["violations"]:
        raise NotPassed(f"the leak rule is broken {found:,} times; what to believe must be built again")


def _checks(ws: Workspace) -> Iterator[Check]:
    interactions, items = tables.interactions(ws), tables.items(ws)
    joined = ws.path("training", "rows.parquet").exists()
    prepared = tables.rows(ws)
    rows = tables.training_rows(ws) if joined else asof.attach(prepared, interactions, items)
    if not rows["row"].equals(prepared["row"]):
        raise Missing("the training rows are not the prepared ones", tables.remedy(ws, "features join"))
    simple: dict[str, Callable[[pa.Table, pa.Table], np.ndarray]] = {
        "a history holds its user's last 20 items at earlier positions, in order": audit.history_violations,
        "no validation or test item is in a history before it is taken": audit.held_out_violations,
        "popularity counts strictly earlier days": audit.popularity_violations,
        "no negative is ever taken by its user": audit.negative_violations,
        "a negative of test_on_sale was taken by somebody on an earlier day": audit.on_sale_violations,
    }
    for claim, check in simple.items():
        yield Check(claim=claim, rows=len(rows), violations=check(rows, interactions))
    if joined:
        wrong = asof.differences(rows, asof.attach(prepared, interactions, items))
        for name in DENSE:
            claim = f"{name} is what strictly earlier days (and the user's earlier positions) say"
            yield Check(claim=claim, rows=len(rows), violations=rows["row"].to_numpy()[wrong.get(name, [])])
    claim = "no training row comes after a held-out one"
    yield Check(claim=claim, rows=len(rows), violations=audit.split_violations(rows, ws.order))
    yield from _said(ws, interactions)
    yield from _examples(ws, rows)
    yield from _scores(ws, rows)


def _said(ws: Workspace, interactions: pa.Table) -> Iterator[Check]:
    """Where there are comments: a prompt shows those whose day is before the row's, so their day has to be true."""
    comments = tables.comments(ws)
    if comments.num_rows:
        claim = "a comment has the user, the position and the day of its interaction"
        wrong = audit.comment_violations(comments, interactions)
        yield Check(claim=claim, rows=len(comments), violations=wrong)


def _examples(ws: Workspace, rows: pa.Table) -> Iterator[Check]:
    """The CoT sets, and the neighbours of every row under each recipe that must obey."""
    named = {path.name: path for path in sorted(ws.path("cot", "sets").glob("[!.]*"))}
    sets = {"": ws.path("cot"), **named}
    number: dict[str, np.ndarray] = {}
    for name, folder in sets.items():
        texts = folder / "texts" / "texts.parquet"
        if not texts.exists():
            continue
        table = storage.read_table(texts, schemas.COT_TEXTS, tables.remedy(ws, cot_verbs(name)[0]))
        number[name] = table["row"].to_numpy()
        of_set = f" (set {name})" if name else ""
        wrong = audit.example_set_violations(rows, number[name])
        yield Check(claim=f"an in-context example is a training row{of_set}", rows=len(table), violations=wrong)
        claim = f"a chain of thought does not state the outcome{of_set}"
        yield Check(claim=claim, rows=len(table), violations=_told(ws, rows, folder / "texts", table))
    for folder in _neighbours(ws):
        if not _stale(ws, folder):
            claim = f"{folder.name}: examples are of earlier days, never the row itself, its pair or its position"
            shown_RK = load_file(folder / "neighbours.safetensors")["examples"]
            of_set = number[_config(folder)["cot_set"]]
            yield Check(claim=claim, rows=len(rows), violations=audit.example_violations(rows, shown_RK, of_set))


def _config(folder: Path) -> dict[str, Any]:
    """What the step that filled `folder` was asked for."""
    return steps.require(folder, maker(folder))["config"]


def _neighbours(ws: Workspace) -> list[Path]:
    """What was chosen under a recipe that must obey."""
    folders = sorted(stamp.parent for stamp in ws.path("neighbours").glob(f"[!.]*/{steps.STAMP}"))
    return [folder for folder in folders if _config(folder)["recipe"] in RULES]


def _stale(ws: Workspace, folder: Path) -> bool:
    """Whether the neighbours were chosen for other rows or texts than these; no training uses such."""
    config = NeighbourConfig(**_config(folder))
    if not (ws.cot("vectors", config.cot_set) / steps.STAMP).exists():
        return True
    return neighbours_step(ws, config).current() is None


def _scores(ws: Workspace, rows: pa.Table) -> Iterator[Check]:
    """Scores of other models: scores/<scorer>/{scores,trained}.parquet, which name the rows behind each score."""
    for folder in sorted(path for path in ws.path("scores").glob("*") if path.is_dir()):
        scores, trained = (pq.read_table(folder / f"{name}.parquet") for name in ("scores", "trained"))
        claim = f"scores of {folder.name} come from models that were not trained on the row, its pair or its position"
        yield Check(claim=claim, rows=len(scores), violations=audit.score_violations(rows, scores, trained))
        if folder.name == SEQUENCE:
            claim = f"scores of {folder.name} come from models of strictly earlier days"
            wrong = audit.later_score_violations(rows, scores, trained)
            yield Check(claim=claim, rows=len(scores), violations=wrong)


def _told(ws: Workspace, rows: pa.Table, folder: Path, texts: pa.Table) -> np.ndarray:
    """Examples whose text states the outcome, where the recipe of the texts in `folder` forbids it.

    The titles that a text quotes are not its words: "The Answer" is a film.
    """
    if _config(folder)["recipe"] not in RULES:
        return np.empty(0, dtype=np.int64)
    written = zip(*(texts[name].to_pylist() for name in ("row", "text")), strict=True)
    suspect = [(row, text) for row, text in written if quality.decided(text)]
    of_suspects = rows.filter(pa.array(np.isin(rows["row"].to_numpy(), [row for row, _ in suspect])))
    quoted = {one.row: wording.quoted(one) for one in contexts.contexts(ws, of_suspects)}
    told = [row for row, text in suspect if quality.decided(text, quoted.get(row, ()))]
    return np.array(told, dtype=np.int64)


def _text(checks: list[Check], missing: list[str]) -> str:
    lines = []
    for check in checks:
        first = ", ".join(map(str, check.violations[:5]))
        verdict, places = ("LEAK", f": {len(check.violations):,} rows, first {first}") if first else ("ok  ", "")
        lines.append(f"  {verdict} {check.rows:>9,} rows  {check.claim}{places}")
    return "\n".join([*lines, *(f"  --   {what}" for what in missing)])
