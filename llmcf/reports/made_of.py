"""What a page was made of: a manifest beside it names its inputs as `llmcf lineage show` does, each with its digest."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from core import measurements, steps, storage
from core.measurements import Line
from core.settings import Workspace
from core.steps import STAMP

FILE = "made_of.json"


def write(
    place: Path, *, verb: str, ws: Workspace | None, inputs: Mapping[str, str], outputs: Iterable[Path], **told: Any
) -> None:
    """Write the manifest of a page that is there.

    Args:
        place: the manifest's own file; outputs lie in its folder or below.
        verb: the command that makes the page.
        ws: whose page it is; None of one of several.
        inputs: digest by name: of a step's folder, a file, a line of results, a release.
        told: further values, JSON-serialisable.
    """
    made = {
        **told,
        "verb": verb,
        "place": [ws.dataset, ws.order, ws.as_of] if ws else [],
        "made": steps.moment(time.time()),
        "inputs": dict(sorted(inputs.items())),
        "outputs": {str(path.relative_to(place.parent)): storage.sha256(path) for path in sorted(outputs)},
    }
    storage.write_json(place, made)


def lines(
    task: str, dataset: str, used: Sequence[Line], earlier: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, str]:
    """Some lines of results as inputs.

    Args:
        used: as they were read, or with what `earlier` says of lines that lack a key.
    """
    wanted = {storage.digest(line) for line in used}
    return {
        measurements.line_id(task, dataset, number): storage.digest(line)
        for number, line in measurements.numbered(measurements.file(task, dataset))
        if line is not None and not wanted.isdisjoint((storage.digest(line), storage.digest({**earlier, **line})))
    }


def paths(*places: Path) -> dict[str, str]:
    """Files, and folders of finished steps, as inputs; what is not there is no input."""
    there = [place for place in places if place.is_file() or (place / STAMP).is_file()]
    return {steps.name_of(place): steps.content_of(place) for place in there}


def of(folder: Path) -> dict[str, str]:
    """The inputs of the page in a folder; none where no manifest is, or a torn one."""
    try:
        return storage.read_json(folder / FILE)["inputs"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
