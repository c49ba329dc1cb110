"""The page of a check: its picture and its table, beside the release's manifest."""

from contextlib import suppress
from pathlib import Path

from core import storage
from core.errors import LlmcfError
from llmcf.gates import plot
from llmcf.gates.deciding import SPECS
from llmcf.reports import made_of, matrix_page
from llmcf.reports.measured import Table
from llmcf.serving import releases, verdicts
from llmcf.serving.manifest import Release
from llmcf.serving.thresholds import Thresholds
from llmcf.serving.verdicts import Gate, Verdict

_PICTURE = "intervals.svg"


def write(release: Release, verdict: Verdict, limits: Thresholds) -> Path:
    """Write report.md, report.html and the picture into the release's `check/`; returns the page."""
    with storage.atomic_folder(release.folder / verdicts.PAGE) as folder:
        drawn = [gate for gate in verdict.gates if gate.value is not None]
        pictures = {}
        if drawn:
            plot.draw(drawn, folder / _PICTURE, level=limits.level)
            pictures = {"Each figure, its threshold, and the live release on the same rows": _PICTURE}
        state = "passed" if verdict.passed else f"failed ({', '.join(verdict.failed)})"
        title = f"Release {release.number} of {release.dataset}: {state}"
        matrix_page.write(
            title,
            _made(release, verdict),
            [_table(verdict, limits), _reasons(verdict)],
            pictures,
            folder,
            verb=f"llmcf release check --dataset {release.dataset} --release {release.number}",
            ws=release.workspace,
            inputs=_inputs(release, verdict),
        )
    return release.folder / verdicts.PAGE / "report.html"


def _inputs(release: Release, verdict: Verdict) -> dict[str, str]:
    """The release, the live one, and the workspace whose rows were asked about."""
    asked = [release]
    if verdict.against is not None:
        with suppress(LlmcfError):  # removed, or not to be read; the page says that nothing was compared
            asked.append(releases.read(release.dataset, verdict.against))
    ws = release.workspace
    found = {f"release:{one.dataset}/{one.number}": one.source for one in asked}
    return found | made_of.paths(ws.path("data"), ws.path("training"))


def _made(release: Release, verdict: Verdict) -> str:
    scored = ", ".join(f"{count:,} {name}" for name, count in verdict.rows.items()) or "nothing was scored"
    beside = any(gate.gap is not None for gate in verdict.gates) or not verdict.compared
    against = "; ".join(filter(None, (f"compared with release {verdict.against}" if beside else "", verdict.compared)))
    return (
        f"Checked {verdict.checked} by `llmcf release check`; {against}; order {release.order}, as of {release.as_of}; "
        f"{scored}."
    )


def _table(verdict: Verdict, limits: Thresholds) -> Table:
    sure = "the worse end of the interval decides" if limits.decide_by == "interval" else "the estimate decides"
    note = (
        f"Intervals: {limits.level:.0%}, bootstrap over users (timings: over requests, and their estimate decides); "
        f"differences are paired; {sure}. Thresholds {verdict.thresholds}."
    )
    rows = [[SPECS[gate.name].label, gate.state, *_figures(gate)] for gate in verdict.gates]
    head = ["gate", "state", "figure", "bound", "live", "difference", "margin"]
    return Table(title="Gates", note=note, head=head, rows=rows)


def _reasons(verdict: Verdict) -> Table:
    rows = [[SPECS[gate.name].label, gate.reason] for gate in verdict.gates]
    return Table(title="Why", note="Brackets hold intervals.", head=["gate", "why"], rows=rows)


def _figures(gate: Gate) -> list[str]:
    spec = SPECS[gate.name]

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.{spec.digits}f}"

    def share(value: float | None) -> str:
        return number(value) if not spec.relative or value is None else f"{value:.0%}"

    return [number(gate.value), number(gate.bound), number(gate.live), share(gate.gap), share(gate.margin)]
