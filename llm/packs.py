"""Packs: what a language model made in a real run, small enough to keep in llm/packs, and restored without a model.

A pack is a Parquet file and a manifest beside it, which says what verb made it of which data, under which
configuration, and how to make it again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core import steps, storage
from core.data import tables
from core.errors import LlmcfError, UsageError, unknown
from core.settings import PROJECT, Workspace

PACKS = PROJECT / "llm" / "packs"
Manifest = dict[str, Any]


def names(folder: Path = PACKS, verb: str | None = None) -> list[str]:
    """The packs there are, or those of one verb."""
    whole = (path.stem for path in folder.glob("*.parquet") if path.with_suffix(".json").is_file())
    return [name for name in sorted(whole) if verb in (None, storage.read_json(folder / f"{name}.json")["verb"])]


def check_name(name: str) -> str:
    """Return the name of a new pack.

    Raises:
        UsageError: if it would not be a plain file name.
    """
    if not name.replace("-", "").replace("_", "").isalnum():
        raise UsageError(f"--name {name!r}: use letters, digits, - and _")
    return name


def save(ws: Workspace, name: str, table: pa.Table, manifest: Manifest, folder: Path = PACKS) -> Path:
    """Write a pack; the manifest gets the workspace and the file's digest. `name` has passed `check_name`.

    Raises:
        UsageError: if there is another one of that name; the same may be written again.
    """
    file = folder / f"{check_name(name)}.parquet"
    if name in names(folder) and not pq.read_table(file).equals(table):
        raise UsageError(f"--name {name}: {folder} has another pack of that name; take another, or remove that one")
    with storage.atomic_path(file) as beside:
        pq.write_table(table, beside, compression="zstd", compression_level=19)
    place = {"dataset": ws.dataset, "order": ws.order, "as_of": ws.as_of}
    storage.write_json(folder / f"{name}.json", {**manifest, **place, "sha256": storage.sha256(file)})
    return file


def opened(ws: Workspace | None, name: str, verb: str, folder: Path = PACKS) -> tuple[pa.Table, Manifest]:
    """The table and the manifest of a pack.

    Args:
        ws: the workspace it is to be restored into; None looks at it only.

    Raises:
        UsageError: for an unknown pack, or one of another verb, data set, order or day.
        LlmcfError: if the file is not what its manifest describes.
    """
    if name not in names(folder):
        raise unknown("pack", name, names(folder, verb) or ["none here"])
    file, manifest = folder / f"{name}.parquet", storage.read_json(folder / f"{name}.json")
    if manifest["verb"] != verb:
        raise UsageError(f"pack {name!r} is of `{manifest['verb']}`, not of `{verb}`")
    place = (manifest["dataset"], manifest["order"], manifest["as_of"])
    if ws and place != (here := (ws.dataset, ws.order, ws.as_of)):
        raise UsageError(f"pack {name!r} is of {', '.join(place)}, not of {', '.join(here)}")
    if storage.sha256(file) != manifest["sha256"]:
        raise LlmcfError(f"{file} is not the file that its manifest describes; fetch it again")
    return pq.read_table(file), manifest


def origin(ws: Workspace, model: Path, verb: str, options: Mapping[str, Any]) -> Manifest:
    """What a manifest says of the model's own training, and the commands that make the pack's content again."""
    stamp = steps.Step(folder=model, config=None).stamp() or {}
    config = stamp.get("config")
    commands = [command(tables.remedy(ws, verb), options)]
    if isinstance(config, dict) and "method" in config:  # it was tuned
        known = ("method", "seed", "model", "batch", "accumulation", "learning_rate", "max_tokens", "general_share")
        training = {name: config[name] for name in (*known, "precision") if name in config}
        commands.insert(0, command(tables.remedy(ws, "recgen train"), {"rows": config["rows"] or 0} | training))
    return {"tuning": {"config": config, "summary": stamp.get("summary")}, "rebuild": commands}


def command(start: str, options: Mapping[str, Any]) -> str:
    """A command line that gives `start` its options."""
    return " ".join([start, *(f"--{name.replace('_', '-')} {value}" for name, value in options.items())])
