"""`llmcf lineage show`: what something was made of, down to the raw data, or all that was made of it."""

import io
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from core.result import Result
from core.settings import Workspace
from llmcf.lineage import home
from llmcf.lineage.graph import Graph, Link
from llmcf.lineage.home import Place

if TYPE_CHECKING:
    from rich.tree import Tree

_DIGITS = 12  # of a digest, for people


def show(asked: str, *, up: bool = True, place: Place = (None, None, None), ask_milvus: bool = False) -> Result:
    """The lineage of one thing, each node once: digest, command, time, and whether it is still true.

    Args:
        asked: as `home.find` takes it.
        up: to the raw data; otherwise to all that was made of it.
        place: data set, order and day that are meant, each None for any.
        ask_milvus: see `home.read`.

    Raises:
        UsageError: if nothing, or more than one thing, is called so.
    """
    start = time.monotonic()
    graph = home.read(ask_milvus=ask_milvus)
    root = home.find(graph, asked, place)
    names = list(graph.walk(root, up=up))
    states = [graph.state(name).word for name in names]
    own = graph.nodes[root].place
    return Result(
        verb="lineage show",
        workspace=Workspace(*own) if len(own) == 3 else None,
        seconds=time.monotonic() - start,
        details={
            "asked": asked,
            "id": root,
            "direction": "up" if up else "down",
            "state": states[0],
            "states": {word: states.count(word) for word in sorted(set(states))},
            "nodes": [told(graph, name) for name in names],
            "text": text(graph, root, up=up),
        },
    )


def told(graph: Graph, name: str) -> dict[str, Any]:
    """A node for programs."""
    node, state = graph.nodes[name], graph.state(name)
    return {
        "id": name,
        "kind": node.kind,
        "digest": graph.digest(name),
        "verb": node.verb,
        "made": node.made,
        "state": state.word,
        "why": list(state.why),
        "other_code": node.other_code,
        "note": node.told,
        "path": str(node.path) if node.path else "",
        "inputs": [_input(graph, link) for link in node.links],
        "made_of_it": graph.made_of(name),
    }


def _input(graph: Graph, link: Link) -> dict[str, Any]:
    return {
        "id": link.to,
        "part": link.part,
        "of": link.kind,
        "recorded": link.recorded,
        "now": graph.digest(link.to, link.kind, link.part),
        "changed": graph.changed(link),
    }


def text(graph: Graph, root: str, *, up: bool) -> str:
    """The walk as a tree. What was shown further up is named only; files of results are told by their number."""
    from rich.console import Console
    from rich.tree import Tree

    shown: set[str] = set()
    tree = Tree(_label(graph, root), highlight=False)
    _grow(tree, graph, root, shown, up)
    written = io.StringIO()
    Console(file=written, width=1000, color_system=None, highlight=False).print(tree, soft_wrap=True)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def _grow(tree: "Tree", graph: Graph, name: str, shown: set[str], up: bool) -> None:

    shown.add(name)
    _branches(tree, graph, graph.inputs(name) if up else graph.made_of(name), shown, up)


def _branches(tree: "Tree", graph: Graph, names: Sequence[str], shown: set[str], up: bool) -> None:
    """What is next to a node. Lines of results are one branch, with what any of them was made of, or is shown in."""
    from rich.text import Text

    lines = [one for one in names if graph.nodes[one].kind == "line of results"]
    for one in names:
        if one in lines:
            continue
        if one in shown:
            tree.add(Text(f"{one}  (above)"))
        else:
            _grow(tree.add(_label(graph, one)), graph, one, shown, up)
    if lines:
        branch = tree.add(Text(_counted(graph, lines)))
        next_to = [other for one in lines for other in (graph.inputs(one) if up else graph.made_of(one))]
        there = [one for one in dict.fromkeys(next_to) if graph.nodes[one].there]
        _branches(branch, graph, there, shown, up)
        if gone := len(set(next_to)) - len(there):
            branch.add(Text(f"{gone} more that {'is' if gone == 1 else 'are'} not here"))


def _label(graph: Graph, name: str) -> Any:
    """Two or three lines: name, kind, digest, time, state; the command; why it is not current."""
    from rich.text import Text

    node, state = graph.nodes[name], graph.state(name)
    word = state.word.upper() if state.word != "current" else "current"
    facts = [node.kind, graph.digest(name)[:_DIGITS], node.made, word, "made by other code" if node.other_code else ""]
    lines = [f"{name}  " + "  ".join(filter(None, facts))]
    lines += [f"  {node.verb}"] if node.verb else []
    lines += [f"  {why}" for why in state.why if why != node.told]
    lines += [f"  {node.told}"] if node.told else []
    return Text("\n".join(lines))


def _counted(graph: Graph, lines: Sequence[str]) -> str:
    """Lines of results in one line: there may be hundreds."""
    stale = sum(graph.state(one).word == "stale" for one in lines)
    first = f"{lines[0]}" + (f" and {len(lines) - 1} more lines" if len(lines) > 1 else "")
    return f"{first}  {'line' if len(lines) == 1 else 'lines'} of results" + (f", {stale} STALE" if stale else "")
