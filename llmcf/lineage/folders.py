"""The folders of steps as nodes, out of their stamps: tables, texts, vectors, indexes, models, runs; and raw files."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from core import settings, steps, storage
from core.contracts import ORDERS
from core.remedies import maker
from core.steps import STAMP
from llmcf.lineage.graph import CONTENT, KEY, MODEL, Link, Node

_NOT_OURS = {"cot-cache", "vector-cache", "airflow", "torch-extensions", "recgen-runs", "feast", "wheels", "vocabulary"}
_KINDS = {  # the first matching beginning of the path within a workspace
    "data": "tables",
    "features": "features",
    "training": "training rows",
    "cot/texts": "texts",
    "cot/vectors": "vectors",
    "cot/whole": "vectors",
    "cot/index": "index",
    "cot/sets": "texts",
    "kar/texts": "texts",
    "kar/vectors": "vectors",
    "neighbours": "neighbours",
    "recgen": "language model",
    "scores": "scores",
    "evaluations": "evaluation",
    "ranking": "ranker",
    "retrieval": "retrieval model",
}
_TRAINED = {"ranking": ("model", "framework", "recipe", "seed", "variant"), "recgen": ("method", "seed")}
_TRAINED["retrieval"] = _TRAINED["ranking"]
_LINE = re.compile(r"results/[^/]+/[^/]+\.jsonl:\d+")
_MODEL = re.compile(r"[0-9a-f]{64}")
_NO_INPUTS = "its stamp names no inputs, as stamps did not once; its verb, run again, adds them and makes nothing anew"


def stamped() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every step's folder under the home with its stamp, links followed; what a killed run left is passed over."""
    seen: set[str] = set()
    for place, below, files in os.walk(settings.home(), followlinks=True):
        if (real := os.path.realpath(place)) in seen:  # a link to a folder above it, or to one that was read
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith(".") and name not in _NOT_OURS)
        if STAMP in files and (stamp := _read(Path(place))):
            yield Path(place), stamp
            below.clear()


def nodes(found: Mapping[Path, dict[str, Any]]) -> dict[str, Node]:
    """The nodes of finished steps, by id; what their links name need not be among them."""
    names = {steps.name_of(folder) for folder in found}
    return {node.id: node for folder, stamp in found.items() for node in [_node(folder, stamp, names)]}


def absent(name: str) -> Node:
    """The node of an input that is nowhere else: a raw file, or what is gone."""
    if _LINE.fullmatch(name):
        return Node(id=name, kind="line of results", there=False, told="the file has no such line any more")
    if ":" in name.split("/")[0]:
        kind, _, which = name.partition(":")
        return Node(id=name, kind=kind, there=False, told=f"no {kind} {which} is here")
    path = steps.located(name)
    place, kind = _place(name), _kind(name)
    if path.is_file() or not kind:
        return Node(id=name, kind="raw file", path=path, there=path.is_file(), place=place[:1])
    return Node(id=name, kind=kind, path=path, verb=maker(path), place=place, there=False)


def verb_of(folder: Path, stamp: Mapping[str, Any]) -> str:
    """The command that fills a step's folder, with the options that its stamp names."""
    return _verb(folder, steps.name_of(folder), stamp.get("config"))


def _node(folder: Path, stamp: dict[str, Any], names: Set[str]) -> Node:
    name = steps.name_of(folder)
    config, inputs, summary = stamp.get("config"), stamp.get("inputs"), stamp.get("summary") or {}
    digests = {CONTENT: stamp["content"], KEY: stamp["key"]}
    if "hash" in summary:
        digests[MODEL] = summary["hash"]
    whole = steps.Step(folder=folder, config=None).stamp() is not None
    links = [Link(to=one, recorded=digest) for one, digest in (inputs or {}).items()]
    if isinstance(config, dict):
        links += _by_digest(name, config, summary, names)
    return Node(
        id=name,
        kind=_kind(name) or "folder",
        path=folder,
        digests=digests,
        verb=_verb(folder, name, config),
        made=stamp.get("made") or _written(folder),
        place=_place(name),
        links=tuple(_parted(link) for link in links),
        there=whole,
        told="" if whole and inputs is not None else _NO_INPUTS if whole else "files that it had are not all there",
        known=inputs is not None,
        other_code=steps.source_changed(stamp),
    )


def _parted(link: Link) -> Link:
    """Of a file that lies in a step's folder, the folder and the file."""
    if link.kind != CONTENT or not (steps.located(link.to).parent / STAMP).is_file():
        return link
    parent, _, part = link.to.rpartition("/")
    return Link(to=parent, recorded=link.recorded, part=part)


def _by_digest(name: str, config: dict[str, Any], summary: dict[str, Any], names: Set[str]) -> list[Link]:
    """What a configuration names by a digest: the pack that was restored, the model that wrote, scored or encoded."""
    if "pack" in config and "sha256" in config:
        return [Link(to=f"pack:{config['pack']}", recorded=config["sha256"])]
    digest = config.get("hash") or config.get("model")
    if not isinstance(digest, str) or not _MODEL.fullmatch(digest):
        return []
    parts = name.split("/")
    author = config.get("encoder") or str(summary.get("model") or parts[-1]).split("@")[0].replace("/", "--")
    places = (
        f"{parts[0]}/llm-pin/{digest[:16]}",
        "/".join([*parts[:3], "recgen", author]),
        f"models/{'encoder' if 'encoder' in config else 'llm'}/{author}",
    )
    known = next((place for place in places if place in names), f"model:{author}@{digest[:12]}")
    return [Link(to=known, recorded=digest, kind=MODEL)]


def _kind(name: str) -> str:
    """What a folder holds, by its place; "" for what is none of a step's."""
    parts = name.split("/")
    if parts[0] == "models" and len(parts) > 2:
        return {"llm": "language model", "encoder": "encoder"}.get(parts[1], "converted model")
    if parts[1:2] == ["llm-pin"]:
        return "language model"
    if parts[1:2] == ["monitoring"]:
        return "reference of monitoring"
    inside = "/".join(parts[3:])
    if len(parts) < 4 or parts[1] not in ORDERS:
        return ""
    if inside.startswith("cot/sets/"):
        return "vectors" if parts[-1] in ("vectors", "whole") else "texts"
    return next((kind for start, kind in _KINDS.items() if (inside + "/").startswith(start + "/")), "")


def _place(name: str) -> tuple[str, ...]:
    """The data set, order and day of a folder in a workspace."""
    parts = name.split("/")
    return tuple(parts[:3]) if len(parts) > 3 and parts[1] in ORDERS else ()


def _verb(folder: Path, name: str, config: Any) -> str:
    """The command that fills a folder, with the options that name it."""
    verb, parts = maker(folder), name.split("/")
    if not isinstance(config, dict) or not _place(name):
        return verb
    if "pack" in config:
        option = f" --set {parts[5]}" if parts[3:5] == ["cot", "sets"] else ""
        words = "recgen" if parts[3] == "scores" else parts[3]
        return f"llmcf {words} restore --pack {config['pack']}{option} {verb[verb.index('--dataset') :]}"
    named = [(one, config[one]) for one in _TRAINED.get(parts[3], ()) if config.get(one) not in (None, "")]
    return " ".join([verb, *(f"--{option} {value}" for option, value in named)])


def _written(folder: Path) -> str:
    return steps.moment((folder / STAMP).stat().st_mtime)


def _read(folder: Path) -> dict[str, Any] | None:
    """The stamp of a folder, whole or not; None of one that is torn or no stamp."""
    try:
        stamp = storage.read_json(folder / STAMP)
        return stamp if {"key", "content", "outputs"} <= stamp.keys() else None
    except (OSError, json.JSONDecodeError, AttributeError):
        return None
