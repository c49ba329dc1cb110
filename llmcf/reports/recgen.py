"""`llmcf report recgen`: Figure 4 and its tables, out of what `llmcf backfill recgen` measured."""

import json
import time
from collections.abc import Sequence
from typing import Any

from core import measurements, settings, storage
from core.data.tables import remedy
from core.errors import Missing
from core.markdown import table
from core.result import Result
from core.settings import Workspace
from llm.methods import METHODS
from llm.recgen.measures import MEASURES
from llmcf.backfill.recgen import EARLIER, results_file, words

_FINDINGS = """\
The paper's findings (section 4.2, LLaMA2-7B-chat, full data): Base recommends poorly; Full recommends best and loses
general ability; Half is nearly as good with less loss; RecGen and WiSE-FT(0.6) balance both, RecGen best.
"""


def report(ws: Workspace) -> Result:
    """Draw Figure 4 out of the results: runs()/recgen-<dataset>/report.md.

    Raises:
        LlmcfError: if nothing has been measured of this day.
    """
    from llmcf.reports import llm_plots

    start = time.monotonic()
    path = results_file(ws)
    measured_so_far = [line for one in measurements.read(path) if (line := EARLIER | one)["as_of"] == ws.as_of]
    if not measured_so_far:
        raise Missing(f"{path} has nothing as of {ws.as_of}", remedy(ws, "backfill recgen"))
    lines = newest(measured_so_far)
    folder = settings.runs() / f"recgen-{ws.dataset}"
    folder.mkdir(parents=True, exist_ok=True)
    llm_plots.figure_4(lines, folder / "figure4.png")
    page = folder / "report.md"
    with storage.atomic_path(page) as beside:
        beside.write_text(page_text(ws, lines), encoding="utf-8")
    return Result(
        verb="report recgen", workspace=ws, seconds=time.monotonic() - start, artifacts={"report": str(page)},
        details={line["method"]: words(line["metrics"]) for line in lines},
    )  # fmt: skip


def newest(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last line of each method among those measured on the data and at the size of the last line, in Figure 4's
    order."""
    alike = [line for line in lines if _scale(line) == _scale(lines[-1])]
    last = {line["method"]: line for line in alike}
    places = {name: place for place, name in enumerate(METHODS)}
    return sorted(last.values(), key=lambda line: places.get(line["method"], len(places)))


def page_text(ws: Workspace, lines: Sequence[dict[str, Any]]) -> str:
    """The report: a table of the methods, the same against the base model, the paper's findings."""
    first = lines[-1]
    size, tuned = first["size"], first["config"]
    head = ["method", *(title for title, _ in MEASURES.values())]
    rows = [[line["method"], *(_cell(line["metrics"][name]) for name in MEASURES)] for line in lines]
    gaps = [[line["method"], *(_cell(line["against_base"][name], signed=True) for name in MEASURES)] for line in lines]
    questions = len(first["subjects"]) * (size["questions"] or 0)
    return "\n".join(
        [
            f"# Tuning the language model on {ws.dataset} (Figure 4)",
            "",
            f"{tuned['model']}, {tuned['rows'] or 'all'} recommendation rows in a full run, seed {tuned['seed']}, "
            f"learning rate {tuned['learning_rate']}, general share {tuned['general_share']}; looked at: "
            f"{size['pairs']} held-out pairs, {questions} MMLU questions, {size['instructions']} held-out answers, "
            f"{size['texts']} texts. 95 % intervals in brackets. `{first['command']}` on {first['machine']}.",
            "",
            *table(head, rows),
            "",
            "## Against the base model, on the same rows",
            "",
            *table(head, gaps),
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
