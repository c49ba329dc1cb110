"""`llmcf report recgen`: Figure 4 and its tables, out of what `llmcf backfill recgen` measured."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core import measurements, settings
from core.data.tables import remedy
from core.errors import Missing
from core.result import Result
from core.settings import Workspace
from llm.methods import METHODS
from llm.recgen.measures import MEASURES
from llmcf.backfill.recgen import EARLIER, results_file, words
from llmcf.reports import made_of, matrix_page
from llmcf.reports.measured import Table
from llmcf.reports.section import Section

TASK, FIGURE = "recgen", "figure4.svg"
_FINDINGS = (
    "The paper's findings (section 4.2, LLaMA2-7B-chat, full data): Base recommends poorly; Full recommends best and "
    "loses general ability; Half is nearly as good with less loss; RecGen and WiSE-FT(0.6) balance both, RecGen best.",
    "MMLU at this model's size is near chance (.25), so nats a token and degenerate texts say more about what is "
    "forgotten here.",
)


def report(ws: Workspace) -> Result:
    """Draw Figure 4 out of the results: report.md and report.html in runs()/recgen-<dataset>.

    Raises:
        LlmcfError: if nothing has been measured of this day.
    """
    start = time.monotonic()
    found = section(ws, settings.runs() / f"recgen-{ws.dataset}")
    return matrix_page.report(found, ws, "report recgen", start)


def section(ws: Workspace, folder: Path, *, of_order: bool = False) -> Section:
    """The same as a part of a page, its picture drawn into `folder`.

    Args:
        of_order: of lines in the workspace's order alone, else of the order that was measured last.
    """
    from llmcf.reports import llm_plots

    path = results_file(ws)
    measured = [line for one in measurements.read(path) if (line := EARLIER | one)["as_of"] == ws.as_of]
    measured = [line for line in measured if not of_order or line["order"] == ws.order]
    if not measured:
        what = f"{path} has nothing as of {ws.as_of}"
        what = f"no way of tuning is measured on {ws.dataset} in the order {ws.order}" if of_order else what
        raise Missing(what, remedy(ws, "backfill recgen"))
    lines = newest(measured)
    folder.mkdir(parents=True, exist_ok=True)
    llm_plots.figure_4(lines, folder / FIGURE)
    return Section(
        title=f"Tuning the language model on {ws.dataset} (Figure 4)",
        made=_made(lines),
        folder=folder,
        tables=tables(lines),
        pictures={"Recommendation against general ability (Figure 4)": FIGURE},
        remarks=_FINDINGS,
        inputs=made_of.lines(TASK, ws.dataset, lines, EARLIER),
        lines=lines,
        details={line["method"]: words(line["metrics"]) for line in lines},
    )


def newest(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last line of each method among those measured on the data and at the size of the last line, in Figure 4's
    order."""
    alike = [line for line in lines if _scale(line) == _scale(lines[-1])]
    last = {line["method"]: line for line in alike}
    places = {name: place for place, name in enumerate(METHODS)}
    return sorted(last.values(), key=lambda line: places.get(line["method"], len(places)))


def tables(lines: Sequence[dict[str, Any]]) -> list[Table]:
    """The methods, and the same against the base model."""
    head = ["method", *(title for title, _ in MEASURES.values())]
    rows = [[line["method"], *(_cell(line["metrics"][name]) for name in MEASURES)] for line in lines]
    gaps = [[line["method"], *(_cell(line["against_base"][name], signed=True) for name in MEASURES)] for line in lines]
    of_base = "An interval that excludes zero is marked with *."
    return [
        Table("Methods of tuning", "95 % intervals in brackets.", head, rows),
        Table("Against the base model, on the same rows", of_base, head, gaps),
    ]


def _made(lines: Sequence[dict[str, Any]]) -> str:
    first = lines[-1]
    size, tuned = first["size"], first["config"]
    questions = len(first["subjects"]) * (size["questions"] or 0)
    return (
        f"Order {first['order']}. {tuned['model']}, {tuned['rows'] or 'all'} recommendation rows in a full run, seed "
        f"{tuned['seed']}, learning rate {tuned['learning_rate']}, general share {tuned['general_share']}; looked at: "
        f"{size['pairs']} held-out pairs, {questions} MMLU questions, {size['instructions']} held-out answers, "
        f"{size['texts']} texts. `{first['command']}` on {first['machine']}."
    )


def _scale(line: dict[str, Any]) -> tuple[Any, ...]:
    """What must be equal for two methods to be compared."""
    config = {key: value for key, value in line["config"].items() if key not in ("method", "processes", "nodes")}
    place = line["order"], (EARLIER | line)["as_of"]
    return json.dumps(config, sort_keys=True), json.dumps(line["size"], sort_keys=True), *place


def _cell(interval: dict[str, float], *, signed: bool = False) -> str:
    low, high, value = interval["low"], interval["high"], interval["estimate"]
    star = "*" if signed and (low > 0 or high < 0) else ""
    sign = "+" if signed else ""
    return f"{value:{sign}.4f}{star} [{low:{sign}.3f}, {high:{sign}.3f}]"
