"""A comparison as text, as Markdown and as one HTML page with a picture."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import settings, storage
from llmcf.compare.paired import BETTER_BELOW, HEADLINE, LEVEL, Compared, Pair
from llmcf.compare.sides import Side
from llmcf.reports import made_of, matrix_page
from llmcf.reports.measured import Table

if TYPE_CHECKING:
    from llmcf.compare.comparison import Comparison

_LONGEST = 120  # of a folder's name
_SHOWN = 80  # characters of a value in a table


def write(found: "Comparison", verb: str) -> Path:
    """Write report.md, report.html and the pictures; return their folder. `verb` is the command that does it."""
    from llmcf.compare import plots

    folder = settings.runs() / _folder(found.first.name, found.second.name)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        f"{title}: {HEADLINE[one.stage]} of second less first": plots.gaps(one, folder / f"gaps-{number}.svg")
        for number, (title, one) in enumerate(found.pairs.items())
    }
    title = " and ".join(_ends(found.first.name, found.second.name))
    inputs = {name: digest for side in (found.first, found.second) for name, digest in _inputs(side).items()}
    matrix_page.write(
        title,
        " ".join(_made(found)),
        list(tables(found)),
        pictures,
        folder,
        verb=verb,
        ws=found.second.ws,
        inputs=inputs,
    )
    return folder


def _inputs(side: Side) -> dict[str, str]:
    """What a side is: a release, runs, and the tables of its workspace."""
    whole = {side.name: side.source} if side.source else {}
    tables = [side.ws.path("data"), side.ws.path("training"), side.ws.cot("texts"), side.ws.cot("vectors")]
    return whole | made_of.paths(*(run.folder for run in side.runs.values()), *tables)


def text(found: "Comparison") -> str:
    """For a terminal: notes and all tables."""
    lines = [f"  note: {note}" for note in found.notes]
    for table in tables(found):
        lines += ["", *table.markdown()[:-1]]
    return "\n".join(lines)


def tables(found: "Comparison") -> Iterator[Table]:
    """Configuration, data, figures, and of each pair of runs the test and the segments."""
    config = [[name, _said(first), _said(second)] for name, (first, second) in found.config.items()]
    note = "Fields that differ; the others are equal." if config else "No field differs."
    yield Table("Configuration", note, ["field", "first", "second"], config)
    data = [
        [name, _said(first), _said(second), "" if first == second else _change(first, second)]
        for name, (first, second) in found.data.items()
    ]
    yield Table(
        "Data", "As the workspaces hold it now; digests by their beginning.", ["", "first", "second", "change"], data
    )
    for title, one in found.pairs.items():
        yield _whole(title, one)
        yield _segments(title, one)
    measured = [
        [name, _number(first), _number(second), _change(first, second)]
        for name, (first, second) in found.measured.items()
    ]
    if measured:
        note = "As each run measured them on its own rows."
        yield Table("Figures of the runs", note, ["figure", "first", "second", "change"], measured)


def _whole(title: str, one: Pair) -> Table:
    of_first, of_second, common = one.counts
    rows = "the same test rows" if one.same_rows else f"the {common:,} test rows of both ({of_first:,}, {of_second:,})"
    note = (
        f"On {rows}, {one.users:,} users. Second less first with the {LEVEL:.0%} interval of a paired bootstrap over "
        "users; figures are not corrected for their number."
    )
    head = ["metric", "first", "second", "second less first", "verdict"]
    return Table(f"{title}: on common rows", note, head, [_row(name, name, two) for name, two in one.whole.items()])


def _segments(title: str, one: Pair) -> Table:
    name = HEADLINE[one.stage]
    note = (
        f"{name} on parts of the same rows, by what was known on the row's day; they overlap. The intervals hold for "
        f"all parts together at {LEVEL:.0%} (Bonferroni)."
    )
    head = ["segment", "rows", "first", "second", "second less first", "verdict"]
    rows = []
    for part, two in one.segments.items():
        said, *rest = _row(part, name, two)
        rows.append([said, f"{two.rows:,}", *rest])
    return Table(f"{title}: for whom", note, head, rows)


def _row(said: str, metric: str, two: Compared) -> list[str]:
    bounds = "" if two.low is None else f" [{two.low:+.4f}, {two.high:+.4f}]"
    return [said, f"{two.first:.4f}", f"{two.second:.4f}", f"{two.gap:+.4f}{bounds}", verdict(metric, two)]


def verdict(metric: str, two: Compared) -> str:
    """In a word, which is better; nothing of a figure without an interval."""
    if two.low is None:
        return ""
    if not two.differs:
        return "no difference shown"
    better = (two.gap > 0) != (metric.split()[0] in BETTER_BELOW)
    return "second better" if better else "first better"


def _made(found: "Comparison") -> Iterator[str]:
    yield f"First: {found.first.name}. Second: {found.second.name}."
    yield from (f"Note: {note}." for note in found.notes)


def _said(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping | list | tuple):
        return _cut(json.dumps(value, ensure_ascii=False, sort_keys=True))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _cut(str(value))


def _cut(said: str) -> str:
    return said if len(said) <= _SHOWN else said[: _SHOWN - 3] + "..."


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else f"{value:,}"


def _change(first: Any, second: Any) -> str:
    """How far two numbers are apart; of other values, that they differ."""
    if first is None or second is None:
        return ""
    if not all(isinstance(one, int | float) for one in (first, second)):
        return "" if first == second else "another"
    gap = second - first
    return f"{gap:+.4f}" if isinstance(gap, float) else f"{gap:+,}"


def _folder(first: str, second: str) -> str:
    """A name for the page's folder: what both begin with once; a long one is cut and ends with a digest."""
    said = "-".join(["compare", first, _ends(first, second)[1]])
    said = re.sub(r"[^0-9A-Za-z.]+", "-", said).strip("-")
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST].rstrip('-')}-{storage.digest(first, second)[:8]}"


def _ends(first: str, second: str) -> tuple[str, str]:
    """Two paths without the folders that both lie in."""
    one, other = first.split("/"), second.split("/")
    same = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)
    return "/".join(one[same:]), "/".join(other[same:])
