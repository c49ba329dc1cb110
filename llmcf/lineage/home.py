"""The graph of all that this home holds, and finding in it what a user calls by some name."""

import difflib
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from core import steps
from core.errors import UsageError
from llmcf.lineage import folders, kept, pages, served
from llmcf.lineage.graph import Graph, Node
from llmcf.serving import releases

_DIGITS = 4  # that a digest's beginning needs, at least
_SHOWN = 6  # names that an error lists
PAGES = ("report", "metrics")  # kinds of nodes whose names are no paths
Place = tuple[str | None, str | None, str | None]  # data set, order and day, None where any will do


def read(*, ask_milvus: bool = False) -> Graph:
    """Look at every stamp, manifest, pack, line of results, page and file of a day's figures.

    Args:
        ask_milvus: also which versions each workspace's Milvus holds, which takes seconds.

    Raises:
        Unavailable: if Milvus is asked and does not answer.
    """
    made = folders.nodes(dict(folders.stamped()))
    named = served.release_nodes()
    nodes = {**made, **named, **served.collection_nodes(made, named, ask=ask_milvus)}
    nodes |= kept.pack_nodes() | kept.line_nodes() | pages.report_nodes() | pages.metrics_nodes()
    for name in {link.to for node in nodes.values() for link in node.links} - nodes.keys():
        nodes[name] = folders.absent(name)
    return Graph(nodes)


def find(graph: Graph, asked: str, place: Place = (None, None, None)) -> str:
    """The id of what a user calls `asked`.

    That is an id, `release:3` or `release:live`, a path (from a workspace, from the home, from here, or whole; of a
    file in a step's folder or of a page, too), a run's folder, a pack, a collection, a report's folder,
    `<data set>.jsonl:<line>`, or how a digest begins.

    Raises:
        UsageError: if nothing or more than one thing is called so; names what is near.
    """
    named = next(filter(None, (_of(graph, names, place) for names in _candidates(graph, asked))), ())
    if len(named) == 1:
        return named[0]
    if named:
        listed = ", ".join(named[:_SHOWN]) + (", ..." if len(named) > _SHOWN else "")
        raise UsageError(f"{asked!r} may be {listed}; give more of its name, or --dataset, --order and --as-of")
    raise UsageError(f"nothing here is called {asked!r}; {_near(graph, asked, place)}")


def _candidates(graph: Graph, asked: str) -> Iterable[Sequence[str]]:
    """What may be meant, the surest first."""
    nodes = graph.nodes
    yield [asked] if asked in nodes else []
    if found := re.fullmatch(r"release:(?:([^/]+)/)?(\d+|live)", asked):
        yield _releases(graph, found[1], found[2])
    yield _at(graph, asked)
    yield [name for name in nodes if name.endswith(f"/{asked}") or name.partition(":")[2] == asked]
    parts = asked.split("/")
    for count in range(len(parts) - 1, 0, -1):  # a file of a step
        above, part = "/".join(parts[:count]), "/".join(parts[count:])
        yield [name for name, node in nodes.items() if f"/{name}".endswith(f"/{above}") and _holds(node, part)]
    if len(asked) >= _DIGITS and re.fullmatch(r"[0-9a-f]+", asked):
        yield [
            name
            for name, node in nodes.items()
            if any(digest.startswith(asked) for digest in node.digests.values())
            or (node.kind == "raw file" and graph.digest(name).startswith(asked))
        ]


def _releases(graph: Graph, dataset: str | None, number: str) -> list[str]:
    begins = "release:" if dataset is None else f"release:{dataset}/"
    known = [name for name in graph.nodes if name.startswith(begins)]
    if number != "live":
        return [name for name in known if name.endswith(f"/{number}")]
    live = [(name, found) for name in releases.datasets() if (found := releases.pointer(name))]
    return [name for one, found in live if (name := f"release:{one}/{found.release}") in known]


def _at(graph: Graph, asked: str) -> list[str]:
    """By a path from here, or a whole one: the node there, or the one that holds it."""
    try:
        path = Path(asked).expanduser().absolute()
        there = path.exists()
    except (OSError, RuntimeError):  # too long a name, nobody's home
        return []
    if not there:
        return []
    pages = {node.path: name for name, node in graph.nodes.items() if node.kind in PAGES}
    for one in (path, *path.parents):
        if (name := steps.name_of(one)) in graph.nodes:
            return [name]
        if one in pages:
            return [pages[one]]
    return []


def _holds(node: Node, part: str) -> bool:
    with suppress(OSError):  # too long a name
        return node.kind != "raw file" and node.path is not None and (node.path / part).is_file()
    return False


def _of(graph: Graph, names: Iterable[str], place: Place) -> tuple[str, ...]:
    """Those of a place that are there, else those that are gone; what belongs to no workspace is of any."""

    def fits(node: Node) -> bool:
        return all(wanted in (None, own) for wanted, own in zip(place, node.place, strict=False))

    found = sorted(name for name in names if fits(graph.nodes[name]))
    return tuple([name for name in found if graph.nodes[name].there] or found)


def _near(graph: Graph, asked: str, place: Place) -> str:
    """Names that look like it, for an error."""
    names = _of(graph, graph.nodes, place)
    short = {_short(name): name for name in reversed(names) if ".jsonl:" not in name}
    near = difflib.get_close_matches(asked, [*short, *names], n=_SHOWN, cutoff=0.5)
    if near:
        return f"near it: {', '.join(dict.fromkeys(near))}"
    shown = [name for name, whole in short.items() if graph.nodes[whole].kind != "raw file"]
    return f"there are, among others: {', '.join(sorted(shown)[:_SHOWN])}" if shown else "nothing was made here yet"


def _short(name: str) -> str:
    """As a user would say it: within its workspace, a run by its folder."""
    parts = name.split("/")
    if name.startswith("release:"):
        return f"release:{parts[-1]}"
    inside = parts[3:] if len(parts) > 3 and not name.startswith("/") else parts
    return inside[-1] if inside[0] in ("ranking", "retrieval", "recgen") else "/".join(inside)
