"""Cells of a matrix, whatever their stage: what has not run is run, each finished one a line in results/<task>/."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Generic

from core import measurements, steps, storage
from core.data.tables import remedy
from core.errors import Missing, UsageError
from core.progress import say
from core.result import Result
from core.settings import Workspace
from llmcf.backfill.workers import C, each

Line = dict[str, Any]
_CELL = ("model", "framework", "recipe", "variant", "seed")
# What makes a line a repetition:
_SAME = ("order", "as_of", "config", "code", "data", "of_texts", "encoders", "metrics", "segments")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(Generic[C]):
    """What a stage tells of its cells.

    Args:
        task: the folder under results/.
        run: trains a cell, or takes it from its finished folder, and returns its line; the command is the last
            argument. It can be pickled.
        needs: the folders that a cell is made from, each with the verb that fills it.
        same: whether a stored configuration is a cell's.
        told: the figures of a line in a few words.
    """

    task: str
    run: Callable[..., Line]
    needs: Callable[[Workspace, C], list[tuple[Path, str]]]
    same: Callable[[dict[str, Any], C], bool]
    told: Callable[[Line], str]


def fill(
    stage: Stage[C], ws: Workspace, cells: Sequence[C], *, command: str, again: bool = False, workers: int = 1
) -> Result:
    """Run what has not run, and keep a line of each in results/<task>/<data set>.jsonl.

    A cell whose configuration and data have a line there is taken from it, whichever machine wrote it; one that lacks
    an input is left out, and its remedy is told.

    Args:
        command: what was asked for; every line names it.
        again: run them all the same, as after a change of the code.
        workers: cells that are trained at a time; they share the cores.

    Raises:
        UsageError: if there is to be no worker.
        LlmcfError: if the rows themselves are missing, or a run fails.
    """
    if workers < 1:
        raise UsageError(f"--workers {workers} is not at least 1")
    start = time.monotonic()
    for folder, verb in ((ws.path("data"), "data prepare"), (ws.path("training"), "features join")):
        steps.require(folder, remedy(ws, verb))
    file = measurements.file(stage.task, ws.dataset)
    done: dict[str, str] = {}
    left_out: dict[str, str] = {}
    waiting: list[C] = []

    def keep(config: C, line: Line) -> None:
        done[config.name] = stage.told(line)
        say(f"[{len(done)}/{len(cells)}] {config.name}: {done[config.name]}, {line['seconds']:.0f} s")

    for config in cells:
        if lacking := first_lacking(ws, stage.needs(ws, config)):
            left_out[config.name] = lacking
            say(f"{config.name}: left out, {lacking}")
        elif not again and (line := kept(stage, ws, file, config)):
            keep(config, line)
        else:
            waiting.append(config)
    for config, line in each(partial(stage.run, ws, command=command), waiting, workers):
        measurements.append(file, line, same=_SAME, cell=_cell)
        keep(config, line)
    return Result(
        verb=f"backfill {stage.task}",
        workspace=ws,
        seconds=time.monotonic() - start,
        artifacts={"results": str(file)},
        details={**done, **{name: f"left out: {why}" for name, why in left_out.items()}},
    )


def kept(stage: Stage[C], ws: Workspace, file: Path, config: C) -> Line | None:
    """The last line of the same run on the same data, texts and encoders included where the line tells of them."""
    wanted, facts = {"order": ws.order, "as_of": ws.as_of, "data": data_of(ws)}, facts_of(ws, stage.needs(ws, config))
    alike = [line for line in measurements.read(file) if all(line.get(name) == value for name, value in wanted.items())]
    alike = [line for line in alike if agrees(line, facts)]
    return next((line for line in reversed(alike) if stage.same(line["config"], config)), None)


def facts_of(ws: Workspace, needs: Sequence[tuple[Path, str]]) -> dict[str, dict[str, str]]:
    """What a line tells of the folders that a run is made from, beside its rows.

    Returns:
        `of_texts`: what names the values of tables, of items, texts and scores, by place in the workspace; `encoders`:
        by whom the vectors of a folder are. Vectors themselves follow from texts, and differ in their last bits from
        processor to processor.
    """
    encoders = {}
    for folder, verb in needs:
        config = steps.require(folder, remedy(ws, verb))["config"]
        if isinstance(config, dict) and "encoder" in config:
            encoders[_place(ws, folder)] = str(config.get("hash", config["encoder"]))[:12]
    return {"of_texts": _tables(ws, needs), "encoders": encoders}


def agrees(line: Line, facts: dict[str, dict[str, str]]) -> bool:
    """Whether a line says nothing else of what it tells; earlier ones tell less."""
    return all(facts[kind].get(name) == value for kind in facts for name, value in line.get(kind, {}).items())


def data_of(ws: Workspace) -> str:
    """What names the values of a workspace's training rows in a line, on whichever machine they were joined."""
    steps.require(ws.path("training"), remedy(ws, "features join"))
    return _values(ws.path("training", "rows.parquet"))


def _tables(ws: Workspace, needs: Sequence[tuple[Path, str]]) -> dict[str, str]:
    own = (ws.path("data"), ws.path("training"))
    tables = [file for folder, _ in needs if folder not in own for file in sorted(folder.glob("*.parquet"))]
    return {_place(ws, file): _values(file) for file in (ws.path("data", "items.parquet"), *tables)}


def _place(ws: Workspace, path: Path) -> str:
    return str(path.relative_to(ws.path()))


def _values(file: Path) -> str:
    return _digest(file, storage.stamp(file))


@lru_cache(maxsize=64)
def _digest(file: Path, _written: storage.Stamp | None) -> str:
    return storage.values_digest(file)[:12]


def first_lacking(ws: Workspace, needs: Sequence[tuple[Path, str]]) -> str:
    """The first of these folders that is not there, or of other rows than today's, as advice; empty if none is."""
    for folder, verb in needs:
        command = remedy(ws, verb)
        try:
            steps.require_current(folder, command)
        except Missing:
            return f"run `{command}` first"
    return ""


def check_variants(asked: Sequence[str], frameworks: Sequence[str], of: Callable[[str], Collection[str]]) -> None:
    """Raises UsageError for a variant that none of the frameworks has; `of` gives those that one has."""
    for variant in asked:
        if not any(variant in of(framework) for framework in frameworks):
            run = ", ".join(frameworks)
            raise UsageError(f"--variants {variant}: no framework has it of those that are run ({run})")


def _cell(line: Line) -> tuple[str, ...]:
    """What a line replaces another of."""
    return line["order"], line["as_of"], *(str(line["config"][name]) for name in _CELL)
