"""Reports, dashboards and the figures of days as nodes: what their manifests, or the files themselves, say of them."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core import settings, storage
from core.contracts import ORDERS
from core.errors import UsageError
from core.settings import Workspace
from llmcf.lineage.graph import CONTENT, Link, Node
from llmcf.reports import made_of
from llmcf.serving import manifest, releases, verdicts

_KEPT = b"llmcf"  # what a file of a day's figures says of itself, in its schema's metadata
_TORN = "its manifest cannot be read"


def report_nodes() -> dict[str, Node]:
    """Every page with a manifest: reports, checks of releases, dashboards of days."""
    found = [_report(name, path) for name, path in _manifests()]
    return {node.id: node for node in found}


def metrics_nodes() -> dict[str, Node]:
    """Every file of a day's figures."""
    found = [_metrics(path) for path in sorted(settings.home().glob("[!.]*/metrics/*/day=*/release=*.parquet"))]
    return {node.id: node for node in found}


def metrics_id(path: Path) -> str:
    """The name of a day's figures: `metrics:<data set>/<order>/<day>/<release>`."""
    dataset, _, order, day, file = path.relative_to(settings.home()).parts
    return f"metrics:{dataset}/{order}/{day.removeprefix('day=')}/{file.removeprefix('release=').split('.')[0]}"


def monitor_id(ws: Workspace) -> str:
    """The name of a day's dashboard."""
    return f"report:monitor/{ws.dataset}/{ws.order}/{ws.as_of}"


def monitor_digest(ws: Workspace) -> str:
    """What a day's dashboard holds; "" where there is none."""
    path = settings.home() / ws.dataset / "monitoring" / ws.order / f"{ws.as_of}.{made_of.FILE}"
    return _report("", path).digests.get(CONTENT, "")


def _manifests() -> Iterator[tuple[str, Path]]:
    """Manifests of pages, by the names of these."""
    for path in sorted(settings.runs().glob(f"*/{made_of.FILE}")):
        yield f"report:{path.parent.name}", path
    for dataset in releases.datasets():
        for number in releases.numbers(dataset):
            path = manifest.folder(dataset, number) / verdicts.PAGE / made_of.FILE
            if path.is_file():
                yield f"report:check/{dataset}/{number}", path
    for path in sorted(settings.home().glob(f"[!.]*/monitoring/*/*.{made_of.FILE}")):
        dataset, _, order, file = path.relative_to(settings.home()).parts
        with suppress(UsageError):  # a copy under a name that is no day
            yield monitor_id(Workspace(dataset, order, file.removesuffix(f".{made_of.FILE}"))), path


def _report(name: str, path: Path) -> Node:
    try:
        told = storage.read_json(path)
        links = tuple(Link(to=one, recorded=digest) for one, digest in told["inputs"].items())
        outputs, place = told["outputs"], tuple(told["place"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Node(id=name, kind="report", path=path.parent, known=False, told=_TORN)
    own = path.parent if path.name == made_of.FILE else path.with_name(next(iter(outputs), path.name))
    changed = [file for file, digest in outputs.items() if not _is(path.parent / file, digest)]
    return Node(
        id=name,
        kind="report",
        path=own,
        digests={CONTENT: storage.digest(outputs)},
        verb=told.get("verb", ""),
        made=told.get("made", ""),
        place=place,
        links=links,
        there=not changed,
        told=f"{', '.join(changed)}: not as it was written" if changed else "",
    )


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and storage.sha256(path) == digest


def _metrics(path: Path) -> Node:
    name = metrics_id(path)
    dataset, order, *_ = name.partition(":")[2].split("/")
    try:
        told: dict[str, Any] = json.loads(pq.read_metadata(path).metadata[_KEPT])
        link = Link(to=f"release:{dataset}/{told['release']}", recorded=told.get("source", ""))
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
        return Node(id=name, kind="metrics", path=path, place=(dataset, order), known=False, told="it cannot be read")
    day = name.split("/")[2]
    return Node(
        id=name,
        kind="metrics",
        path=path,
        digests={CONTENT: storage.sha256(path)},
        verb=f"llmcf backfill metrics --from {day} --to {day} --dataset {dataset} --order {order}",
        place=(dataset, order) if order in ORDERS else (dataset,),
        links=(link,),
    )
