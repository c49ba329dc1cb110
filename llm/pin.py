"""`llmcf llm pin`: keep the model that writes texts, so that a new day generates only what is new."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core import settings, steps, storage
from core.data import tables
from core.errors import UsageError
from core.result import Result
from core.settings import Workspace
from llm import learnt, models, pins
from llm.defaults import PINNED
from llm.pins import Pin

Allowed = Callable[[str, str], dict[str, Any]]  # of a model's name and hash: what speaks for it


def pin(ws: Workspace, *, model: str = PINNED, seed: int, allowed: Allowed | None = None) -> Result:
    """Pin a model for the data set; of one tuned in this workspace the files are kept whatever becomes of it.

    Args:
        model: as `models.find_model` knows it; the pinned one is only shown.
        allowed: raises an LlmcfError for a model that must not be pinned; what it says is kept in the note.

    Raises:
        UsageError, LlmcfError: if the model is unknown, not fetched or not tuned, or nothing is pinned to be shown.
    """
    start = time.monotonic()
    name, folder = models.find_model(ws, model, seed=seed)
    if model != PINNED:
        key = models.model_hash(folder)
        checked = allowed(name, key) if allowed else None
        pins.write(ws, replace(_note(ws, name, folder, key), checked=checked))
        _remove_older(ws)
    note = pins.read(ws)
    assert note
    return Result(
        verb="llm pin",
        workspace=ws,
        seed=seed,
        skipped=model == PINNED,
        seconds=time.monotonic() - start,
        artifacts={"pin": str(pins.file(ws)), "model": str(note.path)},
        details=asdict(note),
    )


def _note(ws: Workspace, name: str, folder: Path, key: str) -> Pin:
    made = (steps.Step(folder=folder, config=None).stamp() or {}).get("config")
    tuned = models.tuned_in(folder)
    if tuned is not None and tuned != ws:
        there = tables.remedy(tuned, f"llm pin --model {name.rpartition('-s')[0]}")
        raise UsageError(f"{folder} was tuned in another workspace; pin it there, by `{there}`")
    if tuned is None:
        return Pin(name=name, folder=_portable(folder), hash=key, made=made)
    until = datetime.fromtimestamp(int(tables.interactions(ws)["timestamp"].to_numpy().max()), UTC).date()
    kept = _keep(ws, folder, pins.folder(ws) / key[:16])
    return Pin(name=name, folder=_portable(kept), hash=key, made=made, order=ws.order, until=until.isoformat())


def _keep(ws: Workspace, source: Path, target: Path) -> Path:
    if not target.exists():
        with storage.atomic_folder(target) as folder:
            shutil.copytree(source, folder, copy_function=_link, dirs_exist_ok=True)
            learnt.keep(ws, folder)
    return target


def _link(source: str, target: str) -> None:
    """No file of ours is written in place, so a second name is as good as a copy, where the file system has them."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _portable(folder: Path) -> str:
    """Machines that share a home need not have it in the same place."""
    home = settings.home()
    return str(folder.relative_to(home)) if folder.is_relative_to(home) else str(folder)


def _remove_older(ws: Workspace) -> None:
    note = pins.read(ws)
    for folder in pins.folder(ws).glob("[!.]*"):
        if note and folder != note.path:
            storage.remove(folder)
