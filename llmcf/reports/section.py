"""A report as a part of a page: what one kind of measurement says of a data set, in words, tables and pictures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.measurements import Line
from llmcf.reports.measured import Table

_WHAT = (
    "Commands that measured what is shown, with the machine of the last run of each; results/ has them line by line."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One kind of measurement.

    Args:
        title: of a page of its own.
        made: what it rests on, in a sentence or two.
        tables, pictures: what it shows; a picture is an SVG file in `folder`, by its title.
        remarks: what a reader must know besides, a paragraph each.
        missing: what is not measured, and by which command it would be, a sentence each.
        inputs: digests of what it was made of, by the names that lineage has.
        lines: the lines of results that are shown, of which `measured_by` tells.
        details: what a program is told.
    """

    title: str
    made: str
    folder: Path
    tables: Sequence[Table] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    missing: Sequence[str] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    lines: Sequence[Line] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


def measured_by(lines: Sequence[Line]) -> Table:
    """Which commands have measured some lines, the one of the most lines first, and where."""
    counts = Counter(str(line.get("command", "")) for line in lines)
    last = {str(line.get("command", "")): str(line.get("machine", "")) for line in lines}
    rows = [[f"`{command}`", str(count), last[command]] for command, count in counts.most_common()]
    return Table("How it was measured", _WHAT, ["command", "lines", "machine"], rows)
