"""`llmcf workspace list` and `prune`: the days that are kept, and removing those that nobody reads any more.

A day is removed from the outside in: its collections in Milvus, its project in the online store, then its folder, by
one rename. Whatever is left of a killed run goes with the next one. What a kept release names is never touched, and
neither is a day that somebody makes something of.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from core import settings, storage
from core.contracts import ORDERS
from core.errors import UsageError
from core.progress import say
from core.result import Result
from core.settings import LATEST, Workspace
from core.steps import STAMP
from llm import pins
from llmcf.feature_store import registry
from llmcf.serving import pruning, releases

_CACHES = ("cot-cache", "vector-cache")
_DIGITS = 16  # of a digest, in the name of a folder of vectors
_SCORES = "recgen score"  # keeps its numbers as vectors too, under a digest of its own name and the model's
_FRESH_S = 7 * 86_400.0  # a cache that was written to since may belong to a run that has not ended
_AT_WORK_S = 86_400.0  # a day of which a step was made or begun since then may be one that is made up for
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Plan:
    """What pruning would remove, with the bytes each takes, and how many of the days that it looked at would stay.

    Args:
        busy: old days that stay, as something was made of them lately.
    """

    days: dict[Workspace, int]
    caches: dict[Path, int]
    kept: int
    busy: list[Workspace]

    def still(self, now: "Plan") -> "Plan":
        """What of this plan also stands now."""
        days = {ws: size for ws, size in self.days.items() if ws in now.days}
        caches = {folder: size for folder, size in self.caches.items() if folder in now.caches}
        return Plan(days, caches, now.kept + len(now.days) - len(days), now.busy)

    @property
    def freed(self) -> int:
        return sum(self.days.values()) + sum(self.caches.values())

    def lines(self) -> list[str]:
        named = [(_named(ws), size) for ws, size in self.days.items()]
        named += [(f"cache {path.parent.name}/{path.name}", size) for path, size in self.caches.items()]
        lines = [f"  {size / _MIB:>9,.1f} MiB  {name}" for name, size in named]
        return [*lines, *(f"  {_named(ws)} stays: something was made of it within the last day" for ws in self.busy)]


def listing(dataset: str | None) -> Result:
    """Every workspace of the home, with its size and the releases that read it."""
    start, found = time.monotonic(), []
    named = {(claim.workspace, claim.number) for name in releases.datasets() for claim in releases.claims(name)}
    for ws in sorted(_workspaces(dataset), key=str):
        numbers = sorted(number for place, number in named if place == ws)
        place = {"dataset": ws.dataset, "order": ws.order, "as_of": ws.as_of}
        found.append({**place, "mib": round(_size(ws.root) / _MIB, 1), "releases": numbers})
    text = [
        f"  {each['mib']:>9,.1f} MiB  {each['dataset']} {each['order']} {each['as_of']}"
        + (f"  (release {', '.join(map(str, each['releases']))})" if each["releases"] else "")
        for each in found
    ]
    return Result(
        verb="workspace list",
        seconds=time.monotonic() - start,
        details={"workspaces": found, "text": "\n".join(text) or "  there is none"},
    )


def prune(
    *, keep: int, dataset: str | None, order: str | None, dry_run: bool, confirm: Callable[[str], bool] | None
) -> Result:
    """Remove the days before the newest `keep` of each data set and order, and caches that no workspace reads.

    Args:
        confirm: asks whether to go on; None where that was given beforehand.

    Raises:
        UsageError: if it is not confirmed.
        Unavailable: if a Milvus or Redis that holds a day's data does not answer; that day and later ones then stay.
    """
    start, plan = time.monotonic(), _plan(keep, dataset, order)
    if plan.days or plan.caches:
        say("\n".join([f"to remove, {plan.freed / _MIB:,.1f} MiB together:", *plan.lines()]))
    if not dry_run and (plan.days or plan.caches) and confirm and not confirm("Remove them?"):
        raise UsageError("nothing was removed; --yes confirms it, --dry-run only shows it")
    if not dry_run:
        plan = plan.still(_plan(keep, dataset, order))  # a release may have been made since the question
        for ws in plan.days:
            _remove(ws)
        for folder in plan.caches:
            storage.remove(folder)
        _sweep()
    days = [
        {"dataset": ws.dataset, "order": ws.order, "as_of": ws.as_of, "bytes": size} for ws, size in plan.days.items()
    ]
    return Result(
        verb="workspace prune",
        seconds=time.monotonic() - start,
        details={
            "dry_run": dry_run,
            "days": days,
            "caches": [str(path) for path in plan.caches],
            "kept_days": plan.kept,
            "busy_days": [{"dataset": ws.dataset, "order": ws.order, "as_of": ws.as_of} for ws in plan.busy],
            "mib": round(plan.freed / _MIB, 1),
            "text": "\n".join(plan.lines()) or "  there is nothing to remove",
        },
    )


def days_of(dataset: str, order: str) -> list[Workspace]:
    """The workspaces of a data set and order, in no order of their own."""
    return [ws for ws in _workspaces(dataset) if ws.order == order]


def _plan(keep: int, dataset: str | None, order: str | None) -> Plan:
    everything, pinned = set(_workspaces(None)), {ws for ws, _ in releases.pinned()}
    days: dict[tuple[str, str], list[Workspace]] = {}
    for ws in everything:
        if ws.as_of != LATEST and dataset in (None, ws.dataset) and order in (None, ws.order):
            days.setdefault((ws.dataset, ws.order), []).append(ws)
    old: list[Workspace] = []
    for place in sorted(days):
        by_day = sorted(days[place], key=lambda ws: date.fromisoformat(ws.as_of))
        old += [ws for ws in by_day[:-keep] if ws not in pinned]
    busy = [ws for ws in old if _touched(ws) > time.time() - _AT_WORK_S]
    old = [ws for ws in old if ws not in busy]
    kept = everything - set(old)
    caches = {folder: _size(folder) for folder in _unread(kept)}
    return Plan({ws: _size(ws.root) for ws in old}, caches, sum(map(len, days.values())) - len(old), busy)


def _touched(ws: Workspace) -> float:
    """When a step was last made of it or begun, in Unix seconds: by manifests, locks, leases and half-made folders."""
    found = [*ws.root.rglob(STAMP), *ws.root.rglob(".*")]
    return max((path.lstat().st_mtime for path in found), default=0.0)


def _named(ws: Workspace) -> str:
    return f"{ws.dataset} {ws.order} {ws.as_of}"


def _workspaces(dataset: str | None) -> Iterator[Workspace]:
    """What there is under the home: `<data set>/<order>/<as-of>`."""
    for order in ORDERS:
        for folder in settings.home().glob(f"[!.]*/{order}/[!.]*"):
            try:
                ws = Workspace(folder.parents[1].name, order, folder.name)
            except UsageError:
                continue
            if folder.is_dir() and ws.root == folder and dataset in (None, ws.dataset):
                yield ws


def _unread(kept: set[Workspace]) -> list[Path]:
    """Caches of models that made nothing in a kept workspace and are not pinned, with nothing new for a week."""
    scored = {storage.digest(_SCORES, model) for model in _configured(kept, "scores/*", "model")}
    pinned = {pin.hash for ws in kept if (pin := pins.read(ws))}
    read = {
        "cot-cache": _configured(kept, "texts", "model") | pinned,
        "vector-cache": {name[:_DIGITS] for name in (*_configured(kept, "vectors", "hash"), *scored)},
    }
    folders = [(cache, folder) for cache in read for folder in sorted(settings.home().glob(f"{cache}/[!.]*"))]
    unread = [folder for cache, folder in folders if _model(folder) not in read[cache]]
    return [folder for folder in unread if _written(folder) < time.time() - _FRESH_S]


def _configured(kept: set[Workspace], step: str, field: str) -> set[str]:
    """What the finished steps of that name say in a field of their configuration."""
    stamps = [stamp for ws in kept for stamp in ws.root.rglob(f"{step}/{STAMP}")]
    return {config[field] for stamp in stamps if field in (config := storage.read_json(stamp)["config"])}


def _model(folder: Path) -> str:
    """The digest of the model that a cache is of; for vectors how it begins, which is the folder's name."""
    key = folder / "key.json"
    return storage.read_json(key)["model"] if key.exists() else folder.name


def _written(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _remove(ws: Workspace) -> None:
    """Each part is skipped where a killed run has removed it already."""
    from ict import milvus

    if milvus.exists(ws):  # also where it goes with the folder: nobody must hold it then
        named = {name for _, name in releases.pinned()}
        with milvus.connect(ws) as client:
            for kind in pruning.KINDS:
                milvus.forget(client, ws, kind, keep=named)
    registry.forget(ws)
    storage.remove(ws.root)
    say(f"removed {_named(ws)}")


def _sweep() -> None:
    """What a run left that was killed between the rename and the end."""
    for pattern in (*(f"[!.]*/{order}" for order in ORDERS), *_CACHES):
        for left_over in settings.home().glob(f"{pattern}/.*.old"):
            shutil.rmtree(left_over, ignore_errors=True)
