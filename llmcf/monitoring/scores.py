"""Calibration and AUC of the ranker on a day's test rows, by the run that the live release was made of."""

from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core import metrics
from core.data import tables
from core.errors import LlmcfError
from core.settings import Workspace
from core.steps import STAMP
from llmcf.monitoring.figures import Part
from llmcf.serving.manifest import Release, Stage

NAME = "scores"
_FILE = "scores.parquet"
_SURE = 3.0  # standard errors


@dataclass(frozen=True, slots=True)
class Scored:
    """Test rows with their labels and scores, (N,)."""

    label_N: NDArray[np.int8]
    score_N: NDArray[np.float64]


def compare(ws: Workspace, reference: Workspace | None, release: Release | None) -> Part:
    """The part of the scores; of both workspaces by a run of the configuration that is live.

    A workspace that the release was not made of has them where it trained that configuration itself.
    """
    part = Part(name=NAME)
    if release is None:
        part.missing.append("calibration and AUC: no release that can be read is live")
        return part
    stage = release.stages["ranker"]
    now = _scored(ws, stage)
    if isinstance(now, str):
        part.missing.append(f"calibration and AUC: {now}")
        return part
    before = _scored(reference, stage) if reference else None
    if isinstance(before, str):
        part.missing.append(f"calibration and AUC of the reference: {before}")
        before = None
    _judged(part, now, before)
    of = "the live release's run" if ws == release.workspace else "this day's run of the live configuration"
    part.facts.append(f"{len(now.label_N):,} test rows, scored by {of}, {stage.run_name}.")
    part.drawn["reliability"] = metrics.reliability(now.label_N, now.score_N)
    return part


def _judged(part: Part, now: Scored, before: Scored | None) -> None:
    ece_before = metrics.ece(before.label_N, before.score_N) if before else None
    chance = metrics.ece_by_chance(now.score_N)
    part.add("ece", metrics.ece(now.label_N, now.score_N), before=ece_before, chance=chance)
    auc, chance, auc_before = metrics.auc(now.label_N, now.score_N), 0.0, None
    if before:
        auc_before = metrics.auc(before.label_N, before.score_N)
        errors = [metrics.auc_error(now.label_N, auc), metrics.auc_error(before.label_N, auc_before)]
        chance = _SURE * float(np.linalg.norm(errors))
    part.add("auc", auc, before=auc_before, chance=chance)
    logloss_before = metrics.logloss(before.label_N, before.score_N) if before else None
    part.add("logloss", metrics.logloss(now.label_N, now.score_N), before=logloss_before)


def _scored(ws: Workspace, stage: Stage) -> Scored | str:
    """The test rows of the run of that configuration in a workspace; or why there are none."""
    folder = ws.path("ranking", stage.run_name)
    if not (folder / STAMP).exists() or not (folder / _FILE).exists():
        return f"{ws.as_of} has no run {folder.name}; `{tables.remedy(ws, _verb(stage))}` trains it"
    try:
        rows = tables.rows(ws)
    except LlmcfError as error:
        return str(error)
    scores = pq.read_table(folder / _FILE, filters=[("split", "=", "test")])
    number, place = scores["row"].to_numpy(), np.searchsorted(rows["row"].to_numpy(), scores["row"].to_numpy())
    label_N = scores["label"].to_numpy()
    there = place < rows.num_rows
    same = there.all() and (rows["row"].to_numpy()[place] == number).all()
    if not same or not (rows["label"].to_numpy()[place] == label_N).all():
        return f"the run {folder.name} scored other rows than {ws.as_of} has now; train again"
    if len(np.unique(label_N)) < 2:
        return f"the run {folder.name} scored no test rows of both labels"
    return Scored(label_N, scores["score"].to_numpy().astype(np.float64))


def _verb(stage: Stage) -> str:
    names = f"--model {stage.backbone} --framework {stage.framework} --recipe {stage.recipe} --seed {stage.seed}"
    return f"rank train {names}"
