"""What was made of what: nodes, the links between them, and what of it is still true.

A link keeps the digest that its input had when something was made of it. Something is stale if an input has another
digest now, or is stale itself; changed code is told of and passes nothing on, as equal bytes leave all after them true.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from core import storage
from core.errors import LlmcfError

# What a digest is of: bytes, a step's whole origin, a model's weights, a table's values whatever its bytes are.
CONTENT, KEY, MODEL, VALUES = "content", "key", "model", "values"
Word = Literal["current", "stale", "missing", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One input of a node.

    Args:
        to: the id of the node that it is.
        recorded: its digest, or how that begins, when it was read; "" where nobody wrote it down.
        kind: what the digest is of.
        part: the file that was read, of a folder; "" for all of it.
    """

    to: str
    recorded: str = ""
    kind: str = CONTENT
    part: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One thing that was made, or a raw file.

    Args:
        id: its name: a path from LLMCF_HOME, `release:<data set>/<number>`, `collection:<name>`, a line of results.
        kind: what it is, in a word or two.
        path: where it lies, where it is a file or a folder.
        digests: of what it holds now, by kind. A raw file's is read when it is asked for.
        verb: the command that makes it; "" for a raw file.
        made: when, ISO 8601; "" where nothing says.
        place: data set, order and day of its workspace, as far as it has one.
        there: whether it is whole.
        told: why its inputs are not known, or what else is worth saying.
        known: whether its inputs were written down.
        other_code: whether the code that made it is another by now.
    """

    id: str
    kind: str
    path: Path | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    verb: str = ""
    made: str = ""
    place: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    there: bool = True
    told: str = ""
    known: bool = True
    other_code: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """Whether a node is still true of its inputs, and why not."""

    word: Word
    why: tuple[str, ...] = ()


class Graph:
    """All nodes by id. Digests of files and states are found when they are asked for, and kept."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.nodes = dict(nodes)
        self._files: dict[tuple[Path, str], str] = {}
        self._models: dict[str, str] = {}
        self._states: dict[str, State] = {}
        self._made_of: dict[str, list[str]] = {}
        for node in self.nodes.values():
            for name in dict.fromkeys(link.to for link in node.links):
                self._made_of.setdefault(name, []).append(node.id)

    def inputs(self, name: str) -> list[str]:
        """The ids of what a node was made of."""
        return list(dict.fromkeys(link.to for link in self.nodes[name].links))

    def made_of(self, name: str) -> list[str]:
        """The ids of what was made of a node."""
        return sorted(self._made_of.get(name, []))

    def walk(self, name: str, *, up: bool) -> Iterator[str]:
        """The node and all above it, or below it, each once; nearer ones first."""
        found, waiting = {name}, [name]
        while waiting:
            yield (one := waiting.pop(0))
            for other in self.inputs(one) if up else self.made_of(one):
                if other not in found:
                    found.add(other)
                    waiting.append(other)

    def digest(self, name: str, kind: str = CONTENT, part: str = "") -> str:
        """Of what a node, or a file in it, holds now; "" if it is missing or nothing says."""
        node = self.nodes[name]
        if not node.there:
            return ""
        if part or (node.kind == "raw file" and kind == CONTENT):
            assert node.path is not None
            return self._file(node.path / part if part else node.path, kind)
        if kind == MODEL and kind not in node.digests and node.path is not None:
            return self._model(name, node.path)
        return node.digests.get(kind, "")

    def state(self, name: str) -> State:
        """Whether a node is still true; of a circle, which a damaged stamp could make, that it is not known."""
        if name not in self._states:
            self._states[name] = State("unknown", ("it is among its own inputs",))
            self._states[name] = self._judged(self.nodes[name])
        return self._states[name]

    def changed(self, link: Link) -> bool:
        """Whether an input has another digest than it had."""
        now = self.digest(link.to, link.kind, link.part)
        return bool(link.recorded and now) and not now.startswith(link.recorded)

    def _judged(self, node: Node) -> State:
        if not node.there:
            return State("missing", tuple(filter(None, [node.told])))
        stale, unknown = [], []
        for link in node.links:
            above, named = self.state(link.to), "/".join(filter(None, (link.to, link.part)))
            if self.changed(link):
                now = self.digest(link.to, link.kind, link.part)
                stale.append(f"{named} was {link.recorded[:12]} and is {now[:12]}")
            elif above.word == "stale":
                stale.append(f"{link.to} is stale")
            elif above.word == "missing":
                unknown.append(f"{link.to} is missing")
        if not node.known:
            unknown.append(node.told)
        if stale:
            return State("stale", tuple(dict.fromkeys(stale)))
        return State("unknown", tuple(unknown)) if unknown else State("current")

    def _file(self, path: Path, kind: str) -> str:
        if (path, kind) not in self._files:
            digest = storage.values_digest if kind == VALUES else storage.sha256
            self._files[path, kind] = digest(path) if path.is_file() else ""
        return self._files[path, kind]

    def _model(self, name: str, path: Path) -> str:
        """Of weights that no stamp names by digest; half a second for what a small language model weighs."""
        from llm.models import model_hash

        if name not in self._models:
            try:
                self._models[name] = model_hash(path)
            except LlmcfError:
                self._models[name] = ""
        return self._models[name]
