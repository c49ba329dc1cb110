"""Versions in Milvus and releases as nodes: what their names, accounts and manifests say they were made of."""

from collections.abc import Iterator, Mapping
from typing import Any

from core import steps, storage
from core.errors import LlmcfError
from core.settings import Workspace
from core.steps import STAMP
from llmcf.lineage.graph import CONTENT, Link, Node
from llmcf.serving import manifest, releases
from llmcf.serving.manifest import Release, Unreadable
from llmcf.serving.pruning import KINDS

_STAGES = {"ranker": "ranking", "user_vector": "retrieval"}
_UNASKED = "Milvus was not asked whether it holds it (--milvus)"
_BEFORE = "a version of before: who published it kept no inputs"


def release_nodes() -> dict[str, Node]:
    """Every release, and the collections that they name."""
    found: dict[str, Node] = {}
    for dataset in releases.datasets():
        live = releases.pointer(dataset)
        for number in releases.numbers(dataset):
            try:
                one = releases.read(dataset, number)
            except Unreadable as error:
                name = f"release:{dataset}/{number}"
                path = manifest.folder(dataset, number)
                found[name] = Node(
                    id=name, kind="release", path=path, place=(dataset,), told=f"unreadable: {error.why}", known=False
                )
                continue
            except LlmcfError:  # removed just now
                continue
            found |= {node.id: node for node in _items_collection(one)}
            node = _release(one, live is not None and live.release == number)
            found[node.id] = node
    return found


def collection_nodes(folders: Mapping[str, Node], named: Mapping[str, Node], *, ask: bool) -> dict[str, Node]:
    """The versions of collections that indexes and releases name; with `ask`, all that Milvus holds.

    Args:
        folders: the nodes of steps.
        named: the nodes of releases, with the collections that they name.
    """
    found = {name: node for name, node in named.items() if name.startswith("collection:")}
    for node in folders.values():
        if node.kind == "index" and node.there and node.path is not None:
            made = _published(node)
            found[made.id] = made
    asked = {link.to: node for node in named.values() for link in node.links if link.to.startswith("collection:")}
    for name, release in asked.items():
        if name not in found:
            found[name] = Node(
                id=name, kind="collection", place=release.place, digests=_rows(name), known=False, told=_BEFORE
            )
    return _asked(found, folders) if ask else found


def _release(one: Release, live: bool) -> Node:
    ws = one.workspace
    links = [Link(to=name, recorded=digest) for name, digest in one.inputs.items()]
    if one.refreshed is not None:
        links.append(Link(to=f"release:{one.dataset}/{one.refreshed}"))
    else:
        links += [run_link(one, model) for model in one.stages]
    links += [Link(to=f"collection:{name}", recorded=_rows(name).get(CONTENT, "")) for name in one.collections.values()]
    return Node(
        id=f"release:{one.dataset}/{one.number}",
        kind="live release" if live else "release",
        path=one.folder,
        digests={CONTENT: one.source},
        verb=one.remedy,
        made=one.created,
        place=(ws.dataset, ws.order, ws.as_of),
        links=tuple({link.to: link for link in links}.values()),
    )


def run_link(one: Release, model: str) -> Link:
    """The run whose weights a graph of a release, which is no refreshed one, was made of."""
    stage = one.stages[model]
    folder = one.workspace.path(_STAGES[model], stage.run_name)
    return Link(to=steps.name_of(folder), recorded=stage.run, part=manifest.WEIGHTS)


def _items_collection(one: Release) -> Iterator[Node]:
    """The items' vectors, which the user tower's run made, or a refresh with its weights."""
    if "items" in one.collections:
        name, before = f"collection:{one.collections['items']}", one.refreshed
        tower = run_link(one, "user_vector")
        yield Node(
            id=name,
            kind="collection",
            digests=_rows(name),
            verb=one.remedy,
            made=one.created,
            place=(one.dataset, one.order, one.as_of),
            links=(tower if before is None else Link(to=f"release:{one.dataset}/{before}"),),
            told=_UNASKED,
        )


def _published(index: Node) -> Node:
    """The version that the finished step `cot index` names."""
    assert index.path is not None
    summary = storage.read_json(index.path / STAMP)["summary"]
    name = f"collection:{summary['collection']}"
    return Node(
        id=name,
        kind="collection",
        digests=_rows(name),
        verb=index.verb,
        made=summary.get("made") or index.made,
        place=index.place,
        links=(Link(to=index.id),),
        told=_UNASKED,
    )


def _rows(name: str) -> dict[str, str]:
    """The digest of a version's rows, which ends its name; versions of before digests have none."""
    last = name.rsplit("_", 1)[-1]
    return {} if last.startswith("v") else {CONTENT: last}


def _asked(found: Mapping[str, Node], folders: Mapping[str, Node]) -> dict[str, Node]:
    """With what Milvus says of each workspace's versions."""
    from dataclasses import replace

    from ict import milvus

    nodes, places = dict(found), {node.place for node in [*folders.values(), *found.values()] if len(node.place) == 3}
    for place in sorted(places):
        ws = Workspace(*place)
        stored = _stored(ws) if milvus.exists(ws) else {}
        for name, account in stored.items():
            known = nodes.get(f"collection:{name}") or Node(
                id=f"collection:{name}", kind="collection", digests=_rows(name), place=place, known=False
            )
            state = f"{account['state']}; " if account["state"] else ""
            told = f"{state}{account.get('rows', '?')} rows" if known.links else _BEFORE
            nodes[known.id] = replace(known, told=told, made=known.made or account.get("made", ""))
        for name, node in nodes.items():
            if node.kind == "collection" and node.place == place and name.split(":")[1] not in stored:
                nodes[name] = replace(node, there=False, told="Milvus does not hold it")
    return nodes


def _stored(ws: Workspace) -> dict[str, dict[str, Any]]:
    from ict import milvus

    with milvus.connect(ws) as client:
        return {one["collection"]: one for kind in KINDS for one in milvus.listed(client, ws, kind)}
