"""Packs and the lines of results/ as nodes: what the project keeps of runs, wherever they ran."""

import re
from typing import Any

from core import measurements, settings, steps, storage
from core.errors import LlmcfError
from core.settings import LATEST, Workspace
from llm import packs
from llmcf.lineage.graph import CONTENT, KEY, VALUES, Link, Node

_STAGES = {"ranking": ("ranking", "rank train"), "retrieval": ("retrieval", "retrieve train")}
_WHEN = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d) UTC")


def pack_nodes() -> dict[str, Node]:
    """The packs of llm/packs. Where a pack was made, nobody here can look: its manifest says how to make it again."""
    found = {}
    for name in packs.names():
        told = storage.read_json(packs.PACKS / f"{name}.json")
        found[f"pack:{name}"] = Node(
            id=f"pack:{name}",
            kind="pack",
            path=packs.PACKS / f"{name}.parquet",
            digests={CONTENT: told["sha256"]},
            verb=" && ".join(told.get("rebuild", [])),
            place=(told["dataset"], told["order"], told["as_of"]),
            told=f"by {told['author']}",
        )
    return found


def line_nodes() -> dict[str, Node]:
    """Every line of results/<task>/<data set>.jsonl, with the run and the rows that it was measured on."""
    nodes = {}
    for path in sorted(settings.results().glob("*/*.jsonl")):
        for number, line in measurements.numbered(path):
            if line is not None:  # of a torn one whoever reports says so
                node = _line(path.parent.name, path.stem, number, line)
                nodes[node.id] = node
    return nodes


def _line(task: str, dataset: str, number: int, line: measurements.Line) -> Node:
    ws, links = None, []
    try:
        ws = Workspace(dataset, line["order"], line.get("as_of", LATEST))
        links = list(_links(ws, task, line))
    except (LlmcfError, KeyError, TypeError):
        pass
    when = _WHEN.search(str(line.get("machine", "")))
    return Node(
        id=measurements.line_id(task, dataset, number),
        kind="line of results",
        path=measurements.file(task, dataset),
        digests={CONTENT: storage.digest(line)},
        verb=str(line.get("command", "")),
        made=f"{when[1]}T{when[2]}Z" if when else "",
        place=(ws.dataset, ws.order, ws.as_of) if ws else (dataset,),
        links=tuple(links),
        told="" if links else "it does not say what it was measured on",
        known=bool(links),
    )


def _links(ws: Workspace, task: str, line: dict[str, Any]) -> list[Link]:
    """The run by the key of its step; rows and texts by their values, or the folder alone of what none are told."""
    config, found = line.get("config", {}), []
    if task in _STAGES:
        name = [config["model"], config["framework"], config["recipe"], config["variant"], f"s{config['seed']}"]
        run = ws.path(task, "-".join(filter(None, name)))
        found.append(Link(to=steps.name_of(run), recorded=line.get("code", ""), kind=KEY))
    elif task == "recgen":
        found.append(Link(to=steps.name_of(ws.path("evaluations", f"{config['method']}-s{config['seed']}"))))
    elif task == "cot":
        found.append(Link(to=steps.name_of(ws.cot("texts", line.get("set", "")))))
    tables = {"training/rows.parquet": line["data"]} if "data" in line else {}
    for place, values in {**tables, **line.get("of_texts", {})}.items():
        folder, _, file = place.rpartition("/")
        found.append(Link(to=steps.name_of(ws.path(folder)), recorded=values, kind=VALUES, part=file))
    return found
