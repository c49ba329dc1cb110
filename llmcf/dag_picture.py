"""docs/dags.svg: every DAG of dags/ with its tasks, and the assets that tie them.

These are what starts it, and what it renews that starts another. Other outlets are for lineage, and not shown.

    .venv/bin/python -m llmcf.dag_picture

Airflow itself reads the folder, in a process of its own, so that the picture shows what it would run.
"""

import io
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from core import settings, storage
from core.errors import LlmcfError
from core.settings import PROJECT
from llmcf import dag_test
from llmcf.reports.plot_style import INK, PALE, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLACE = PROJECT / "docs" / "dags.svg"
_READ = """
import json, pathlib, sys
from airflow.dag_processing.dagbag import BundleDagBag
def assets(condition):
    if hasattr(condition, "name"):
        return [condition.name]
    return [name for one in getattr(condition, "objects", ()) for name in assets(one)]
bag = BundleDagBag(dag_folder=sys.argv[1], bundle_path=pathlib.Path(sys.argv[1]), bundle_name="dags-folder")
if bag.import_errors:
    sys.exit(str(bag.import_errors))
print("DAGS" + json.dumps([{
    "name": name,
    "cron": getattr(dag.timetable, "expression", ""),
    "read": assets(getattr(dag.timetable, "asset_condition", None)),
    "after": {task.task_id: sorted(task.upstream_task_ids) for task in dag.topological_sort()},
    "renewed": {task.task_id: [one.name for one in task.outlets] for task in dag.tasks if task.outlets},
    "mapped": [task.task_id for task in dag.tasks if task.is_mapped],
    "pools": {task.task_id: task.pool for task in dag.tasks if task.pool != "default_pool"},
} for name, dag in sorted(bag.dags.items())]))
"""
_COLOURS = ("#d6e6f5", "#dcefdc", "#fbe6cf", "#eadcf3", "#f7d9d9", "#e3e3e3")  # of assets, light enough for ink
_LETTER, _LINE, _GAP, _BOX = 0.077, 0.45, 0.22, 0.27  # inches: of a name's letter, a line, an arrow, a box's height
_MARGIN = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Dag:
    """A DAG as Airflow has it: tasks in an order they can run in, with those each follows."""

    name: str
    cron: str
    read: list[str]
    after: dict[str, list[str]]
    renewed: dict[str, list[str]]
    mapped: list[str] = field(default_factory=list)
    pools: dict[str, str] = field(default_factory=dict)

    def columns(self) -> list[list[str]]:
        """Tasks by the length of the longest way to them."""
        depth: dict[str, int] = {}
        for task, before in self.after.items():
            depth[task] = max((depth[one] + 1 for one in before), default=0)
        return [[task for task in depth if depth[task] == at] for at in range(max(depth.values()) + 1)]

    def just_before(self, task: str) -> list[str]:
        """The tasks that it follows, without those that another one of them follows."""
        follows: dict[str, set[str]] = {}
        for one, before in self.after.items():
            follows[one] = set(before).union(*(follows[other] for other in before))
        return [one for one in self.after[task] if not any(one in follows[other] for other in self.after[task])]


def read() -> list[Dag]:
    """The DAGs of the project's folder: a day's chain in its order, then the others by name.

    Raises:
        LlmcfError: if Airflow cannot read one, with what it says.
    """
    home = settings.home() / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    folder = str(PROJECT / "dags")
    environment = {**dag_test.environment(), "PYTHONPATH": folder}
    environment.pop("LLMCF_DAG_PARAMETERS", None)  # the picture is of the folder, not of a deployment
    done = subprocess.run(
        [sys.executable, "-c", _READ, folder], env=environment, capture_output=True, text=True, check=False, cwd=home
    )
    told = [line.removeprefix("DAGS") for line in done.stdout.splitlines() if line.startswith("DAGS")]
    if done.returncode or not told:
        raise LlmcfError(f"Airflow cannot read {folder}: {(done.stderr or done.stdout).strip()[-500:]}")
    found = [Dag(**one) for one in json.loads(told[0])]
    found = [replace(dag, renewed=_among(dag.renewed, {name for one in found for name in one.read})) for dag in found]
    place = {name: number for number, name in enumerate(dag_test.CHAIN)}
    return sorted(found, key=lambda dag: (place.get(dag.name, len(place)), dag.name))


def _among(renewed: Mapping[str, list[str]], names: Set[str]) -> dict[str, list[str]]:
    found = {task: [name for name in told if name in names] for task, told in renewed.items()}
    return {task: told for task, told in found.items() if told}


def when(cron: str) -> str:
    """A cron of ours in words: daily at a time, or hourly at a minute; any other as it is."""
    minute, hour, *rest = cron.split()
    if rest != ["*", "*", "*"] or not minute.isdigit():
        return cron
    return f"every hour, :{int(minute):02}" if hour == "*" else f"{int(hour):02}:{int(minute):02} UTC"


def draw(dags: Iterable[Dag]) -> str:
    """The picture as SVG; the same DAGs give the same text."""
    import matplotlib.pyplot as plt

    dags = list(dags)
    assets = dict.fromkeys(name for dag in dags for told in dag.renewed.values() for name in told)
    colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(assets)}
    heights = [0.54 + _LINE * max(len(dag.read), *(len(column) for column in dag.columns())) for dag in dags]
    left = max(_wide(name) for name in assets)
    width = max(_width(dag, left) for dag in dags)
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(width, sum(heights)))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(sum(heights), 0))
        axes.axis("off")
        top = 0.0
        for dag, height in zip(dags, heights, strict=True):
            _draw(axes, dag, (top, height), (left, width), colours)
            top += height
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return text.getvalue()


def _wide(name: str) -> float:
    return 0.22 + _LETTER * len(name)


def _width(dag: Dag, left: float) -> float:
    """Of a DAG's row in inches; `left` is that of what starts it, and of the assets."""
    tasks = sum(max(_wide(_label(dag, task)) for task in column) + _GAP for column in dag.columns())
    return _MARGIN + left + _GAP + tasks + (left if dag.renewed else 0.0) + _MARGIN


def _label(dag: Dag, task: str) -> str:
    return f"{task} × n" if task in dag.mapped else task


def _draw(
    axes: "Axes", dag: Dag, rows: tuple[float, float], widths: tuple[float, float], colours: Mapping[str, str]
) -> None:
    """One DAG as a row: what starts it, its tasks from left to right, what they renew.

    Args:
        rows: where the row begins, and its height.
        widths: of an asset's name, and of the picture.
    """
    (top, height), (wide, width) = rows, widths
    axes.add_patch(_box(0.06, top + 0.04, width - 0.12, height - 0.08, fill="#fbfcfd", edge=PALE))
    axes.text(_MARGIN, top + 0.22, dag.name, weight="bold", size=10.5, color=INK, va="center", gid=dag.name)
    middle = top + 0.3 + (height - 0.42) / 2
    starts = dag.read or [when(dag.cron)]
    heads = list(zip(starts, _lines(middle, len(starts)), strict=True))
    for name, at in heads:
        if dag.read:
            _named(axes, name, (_MARGIN, at, wide), colours[name], gid=f"{dag.name}<{name}")
        else:
            axes.text(_MARGIN + wide / 2, at, name, size=9, color=INK, ha="center", va="center")
    first = [(_MARGIN + wide, at) for _, at in heads]
    ends: dict[str, tuple[float, float]] = {}
    left = _MARGIN + wide + _GAP
    for column in dag.columns():
        widest = max(_wide(_label(dag, task)) for task in column)
        for task, at in zip(column, _lines(middle, len(column)), strict=True):
            _task(axes, dag, task, (left, at, widest))
            for start in [ends[one] for one in dag.just_before(task)] or first:
                _arrow(axes, start, (left, at))
            ends[task] = (left + widest, at)
            for number, asset in enumerate(dag.renewed.get(task, [])):
                beside = (left + widest + _GAP, at + number * _LINE)
                _arrow(axes, ends[task], beside)
                _named(axes, asset, (*beside, wide), colours[asset], gid=f"{dag.name}/{task}>{asset}")
        left += widest + _GAP


def _lines(middle: float, count: int) -> list[float]:
    return [middle + (number - (count - 1) / 2) * _LINE for number in range(count)]


def _task(axes: "Axes", dag: Dag, task: str, place: tuple[float, float, float]) -> None:
    """A task with the pool that it waits for."""
    left, at, wide = place
    _named(axes, _label(dag, task), place, "white", gid=f"{dag.name}/{task}", edge=INK, rounding=0.05)
    if pool := dag.pools.get(task):
        told = {"size": 7.5, "color": "#6b7985", "ha": "center", "va": "center"}
        axes.text(left + wide / 2, at + 0.21, f"pool {pool}", **told)


def _named(
    axes: "Axes",
    text: str,
    place: tuple[float, float, float],
    fill: str,
    *,
    gid: str,
    edge: str = PALE,
    rounding: float = 0.13,
) -> None:
    """A name in a box; `place` is the box's left end, its middle line and its width."""
    left, at, wide = place
    axes.add_patch(_box(left, at - _BOX / 2, wide, _BOX, fill=fill, edge=edge, rounding=rounding))
    axes.text(left + wide / 2, at, text, size=9, color=INK, ha="center", va="center", gid=gid)


def _box(left: float, top: float, wide: float, high: float, *, fill: str, edge: str, rounding: float = 0.08) -> Any:
    from matplotlib.patches import FancyBboxPatch

    shape = f"round,pad=0,rounding_size={rounding}"
    return FancyBboxPatch((left, top), wide, high, boxstyle=shape, facecolor=fill, edgecolor=edge, linewidth=0.8)


def _arrow(axes: "Axes", start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": INK, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 7}
    axes.annotate("", end, start, arrowprops=style)


def main() -> None:
    """Write the picture."""
    with storage.atomic_path(PLACE) as path:
        path.write_text(draw(read()), encoding="utf-8")


if __name__ == "__main__":
    main()
