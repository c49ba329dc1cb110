"""`llmcf backfill recgen` and `llmcf report recgen`: the tuning methods of Figure 4, measured beside each other.

A finished method is one line of results/recgen/<data set>.jsonl, which the report reads. Every figure comes with its
interval, and every method with its paired difference from the base model on the same rows.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from core import metrics, results, settings, steps, storage, uncertainty
from core.progress import say
from core.runs import Result
from core.settings import Workspace
from core.uncertainty import Interval
from llm import models
from llm.recgen import tuning
from llm.recgen.evaluate import Evaluation, Size, evaluate
from llm.recgen.methods import METHODS, method
from llm.recgen.tuning import TuningConfig
from llmcf import machine

_SAME = ("method", "config", "size", "metrics")  # what makes a line a repetition
MEASURES = {  # name -> (title, whether more is better)
    "auc": ("AUC", True),
    "logloss": ("LogLoss", False),
    "mmlu": ("MMLU", True),
    "nats": ("nats a token", False),
    "degenerate": ("degenerate", False),
}
_CODE = ("recgen/evaluate", "recgen/scoring", "recgen/mixing", "prompts", "contexts", "budget", "quality")
_FINDINGS = """\
The paper's findings (section 4.2, LLaMA2-7B-chat, full data): Base recommends poorly; Full recommends best and loses
general ability; Half is nearly as good with less loss; RecGen and WiSE-FT(0.6) balance both, RecGen best.
"""


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
            tuning.train(ws, replace(config, method="full"))
        path = models.llm_path(config.model) if name == "base" else tuning.train(ws, how).artifacts["model"]
        done, seconds = _evaluated(ws, how, Path(path), size)
        base = base or done
        lines.append(_line(ws, how, size, done, base, seconds))
        say(f"backfill recgen: {name}, {_words(lines[-1]['metrics'])}")
        results.append(results_file(ws), lines[-1], same=_SAME)
    return Result(
        verb="backfill recgen",
        workspace=ws,
        seed=config.seed,
        seconds=time.monotonic() - start,
        artifacts={"results": str(results_file(ws))},
        details={line["method"]: _words(line["metrics"]) for line in lines},
    )


def results_file(ws: Workspace) -> Path:
    return results.file("recgen", ws.dataset)


def report(ws: Workspace) -> Result:
    """Draw Figure 4 out of the results: runs()/recgen-<dataset>/report.md.

    Raises:
        LlmcfError: if nothing has been measured.
    """
    from core.errors import LlmcfError
    from llmcf import llm_plots

    start = time.monotonic()
    path = results_file(ws)
    measured_so_far = results.read(path)
    if not measured_so_far:
        raise LlmcfError(f"{path} is missing; run `llmcf backfill recgen --dataset {ws.dataset}` first")
    lines = newest(measured_so_far)
    folder = settings.runs() / f"recgen-{ws.dataset}"
    folder.mkdir(parents=True, exist_ok=True)
    llm_plots.figure_4(lines, folder / "figure4.png")
    page = folder / "report.md"
    with storage.atomic_path(page) as beside:
        beside.write_text(page_text(ws, lines), encoding="utf-8")
    return Result(
        verb="report recgen", workspace=ws, seconds=time.monotonic() - start, artifacts={"report": str(page)},
        details={line["method"]: _words(line["metrics"]) for line in lines},
    )  # fmt: skip


def newest(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last line of each method among those measured at the size of the last line, in Figure 4's order."""
    alike = [line for line in lines if _scale(line) == _scale(lines[-1])]
    last = {line["method"]: line for line in alike}
    places = {name: place for place, name in enumerate(METHODS)}
    return sorted(last.values(), key=lambda line: places.get(line["method"], len(places)))


def page_text(ws: Workspace, lines: Sequence[dict[str, Any]]) -> str:
    """The report: a table of the methods, the same against the base model, the paper's findings."""
    first = lines[-1]
    size, tuning = first["size"], first["config"]
    head = ["method", *(title for title, _ in MEASURES.values())]
    rows = [[line["method"], *(_cell(line["metrics"][name]) for name in MEASURES)] for line in lines]
    gaps = [[line["method"], *(_cell(line["against_base"][name], signed=True) for name in MEASURES)] for line in lines]
    questions = len(first["subjects"]) * (size["questions"] or 0)
    return "\n".join(
        [
            f"# Tuning the language model on {ws.dataset} (Figure 4)",
            "",
            f"{tuning['model']}, {tuning['rows'] or 'all'} recommendation rows in a full run, seed {tuning['seed']}, "
            f"learning rate {tuning['learning_rate']}, general share {tuning['general_share']}; looked at: "
            f"{size['pairs']} held-out pairs, {questions} MMLU questions, {size['instructions']} held-out answers, "
            f"{size['texts']} texts. 95 % intervals in brackets. `{first['command']}` on {first['machine']}.",
            "",
            *_table(head, rows),
            "",
            "## Against the base model, on the same rows",
            "",
            *_table(head, gaps),
            "",
            "An interval that excludes zero is marked with *.",
            "",
            "![figure 4](figure4.png)",
            "",
            _FINDINGS,
            "MMLU at this model's size is near chance (.25), so nats a token and degenerate texts say more about what "
            "is forgotten here.",
            "",
        ]
    )


def _evaluated(ws: Workspace, config: TuningConfig, model: Path, size: Size) -> tuple[Evaluation, float]:
    step = steps.Step(
        folder=ws.path("evaluations", f"{config.method}-s{config.seed}"),
        config={"size": asdict(size), "seed": config.seed, "model": models.model_hash(model)},
        inputs=[ws.path("training")],
        code=[f"llm/{name}.py" for name in _CODE],
    )

    def work(folder: Path) -> dict[str, Any]:
        evaluate(ws, model, size, seed=config.seed).save(folder / "evaluation.json")
        return {}

    done = steps.run(step, work)
    return Evaluation.load(done.folder / "evaluation.json"), done.seconds


def measured(one: Evaluation, other: Evaluation | None = None) -> dict[str, dict[str, float]]:
    """Each of MEASURES with its interval; against `other` on the same rows, the paired difference."""
    out = {}
    for name in MEASURES:
        statistic, users = _statistic(name, one)
        if other is not None:
            statistic = uncertainty.difference(statistic, _statistic(name, other)[0])
        out[name] = _rounded(uncertainty.bootstrap(statistic, users))
    return out


def _statistic(name: str, one: Evaluation) -> tuple[uncertainty.Statistic, int]:
    label, score, user = (np.array(values) for values in (one.label, one.p_yes, one.user))
    match name:
        case "auc":
            return uncertainty.auc_of(label, score, user)
        case "logloss":
            edge = np.clip(score, 1e-7, 1 - 1e-7)
            return uncertainty.mean_of(-np.where(label == 1, np.log(edge), np.log(1 - edge)), user)
        case "mmlu":
            values = np.array(one.correct, dtype=np.float64)
        case "nats":
            values = np.array(one.nats)
        case _:
            values = np.array(one.degenerate, dtype=np.float64)
    return uncertainty.mean_of(values, np.arange(len(values)))


def _line(
    ws: Workspace, config: TuningConfig, size: Size, done: Evaluation, base: Evaluation, seconds: float
) -> dict[str, Any]:
    gauc = metrics.gauc(np.array(done.label), np.array(done.p_yes), np.array(done.user))
    return {
        "dataset": ws.dataset,
        "order": ws.order,
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
    return f"llmcf backfill recgen --dataset {ws.dataset} --order {ws.order} {words}"


def _scale(line: dict[str, Any]) -> tuple[Any, ...]:
    """What must be equal for two methods to be compared."""
    config = {key: value for key, value in line["config"].items() if key not in ("method", "processes", "nodes")}
    return json.dumps(config, sort_keys=True), json.dumps(line["size"], sort_keys=True), line["order"]


def _rounded(interval: Interval) -> dict[str, float]:
    return {name: round(value, 5) for name, value in asdict(interval).items()}


def _cell(interval: dict[str, float], *, signed: bool = False) -> str:
    low, high, value = interval["low"], interval["high"], interval["estimate"]
    star = "*" if signed and (low > 0 or high < 0) else ""
    sign = "+" if signed else ""
    return f"{value:{sign}.4f}{star} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _words(found: dict[str, dict[str, float]]) -> str:
    return ", ".join(f"{title} {found[name]['estimate']:.4f}" for name, (title, _) in MEASURES.items())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]
