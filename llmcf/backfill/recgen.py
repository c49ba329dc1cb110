"""`llmcf backfill recgen`: the tuning methods of Figure 4, measured beside each other.

A finished method is one line of results/recgen/<data set>.jsonl, which `llmcf report recgen` reads. Every figure comes
with its interval, and every method with its paired difference from the base model on the same rows.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from core import machine, measurements, metrics
from core.progress import say
from core.result import Result
from core.settings import LATEST, Workspace
from llm import models
from llm.methods import method
from llm.recgen import train
from llm.recgen.evaluate import Evaluation, evaluated
from llm.recgen.measures import MEASURES, measured
from llm.recgen.recipes import Size, TuningConfig

_SAME = ("order", "as_of", "method", "config", "size", "metrics")  # what makes a line a repetition
EARLIER = {"as_of": LATEST}  # what lines mean that do not say it


def backfill(ws: Workspace, config: TuningConfig, methods: Sequence[str], size: Size) -> Result:
    """Train and evaluate each method at the size of `config` and `size`; finished ones are up to date.

    Raises:
        UsageError: for an unknown method.
        LlmcfError: if an input is missing.
    """
    start = time.monotonic()
    for name in methods:
        method(name)
    wanted = list(dict.fromkeys(["base", *methods]))  # the one that all are compared with
    lines = []
    base: Evaluation | None = None
    for name in wanted:
        how = replace(config, method=name)
        if method(name).alpha is not None:
            train.train(ws, replace(config, method="full"))
        path = models.llm_path(config.model) if name == "base" else train.train(ws, how).artifacts["model"]
        place = ws.path("evaluations", f"{how.method}-s{how.seed}")
        done, seconds = evaluated(ws, place, Path(path), size, seed=how.seed)
        base = base or done
        lines.append(_line(ws, how, size, done, base, seconds))
        say(f"backfill recgen: {name}, {words(lines[-1]['metrics'])}")
        measurements.append(results_file(ws), lines[-1], same=_SAME, earlier=EARLIER)
    return Result(
        verb="backfill recgen",
        workspace=ws,
        seed=config.seed,
        seconds=time.monotonic() - start,
        artifacts={"results": str(results_file(ws))},
        details={line["method"]: words(line["metrics"]) for line in lines},
    )


def results_file(ws: Workspace) -> Path:
    return measurements.file("recgen", ws.dataset)


def _line(
    ws: Workspace, config: TuningConfig, size: Size, done: Evaluation, base: Evaluation, seconds: float
) -> dict[str, Any]:
    gauc = metrics.gauc(np.array(done.label), np.array(done.p_yes), np.array(done.user))
    return {
        "dataset": ws.dataset,
        "order": ws.order,
        "as_of": ws.as_of,
        "method": config.method,
        "config": asdict(config),
        "size": asdict(size),
        "metrics": measured(done),
        "gauc": round(gauc, 4),
        "against_base": measured(done, base),
        "subjects": sorted(set(done.subject)),
        "seconds_evaluating": round(seconds, 1),
        "machine": machine.sentence(),
        "command": _command(ws, config, size),
    }


def _command(ws: Workspace, config: TuningConfig, size: Size) -> str:
    """What measures this line again."""
    options = {"rows": config.rows or 0, "seed": config.seed, "batch": config.batch, "methods": config.method}
    options |= {"learning-rate": config.learning_rate, "general-share": config.general_share}
    options |= {"precision": config.precision}
    options |= {name: value or 0 for name, value in asdict(size).items()}
    words = " ".join(f"--{name} {value}" for name, value in options.items())
    return f"llmcf backfill recgen --dataset {ws.dataset} --order {ws.order} --as-of {ws.as_of} {words}"


def words(found: dict[str, dict[str, float]]) -> str:
    return ", ".join(f"{title} {found[name]['estimate']:.4f}" for name, (title, _) in MEASURES.items())
