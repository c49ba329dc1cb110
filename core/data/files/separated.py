"""CSV by Python's own reader in its strict mode, with the line of every row and of every line that is none."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from core.data.files.table import Table, named
from core.errors import UsageError

_LONGEST = 1 << 24  # characters in a field


def parse(path: Path, name: str, text: str, delimiter: str) -> Table:
    """A CSV with a header, every field text, an empty one null; ragged lines are left out and named."""
    csv.field_size_limit(_LONGEST)
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    rows: list[list[str | None]] = []
    numbers: list[int] = []
    bad: list[tuple[int, str, str]] = []
    while (start := reader.line_num) < len(lines):
        try:
            row = next(reader, [])
        except csv.Error as error:
            _check_quote(path, lines[start : reader.line_num], start + 1, str(error))
            bad.append((start + 1, "bad_quote", lines[start].rstrip("\r\n")))
            continue
        if header is None:
            header = _header(path, row)
            continue
        if reader.line_num - start > 1:
            _check_swallowed(path, lines[start : reader.line_num], start + 1, delimiter, len(header))
        if len(row) == len(header):
            rows.append([field or None for field in row])
            numbers.append(start + 1)
        elif row:
            bad.append((start + 1, "ragged", delimiter.join(row)))
    if header is None:
        raise UsageError(f"{path} is empty; want a header that names the columns, and lines")
    frame = pl.DataFrame(rows, schema=dict.fromkeys(header, pl.String), orient="row")
    return Table(name, frame, pl.Series(numbers, dtype=pl.Int64), bad)


def _header(path: Path, header: Sequence[str]) -> list[str]:
    """The names of the columns; those without a name, of which a spreadsheet may write several, get a number."""
    if not header:
        raise UsageError(f"{path} begins with an empty line; want a header that names the columns")
    names = [name or f"(column {place})" for place, name in enumerate(header, start=1)]
    if len(set(names)) < len(names):
        raise UsageError(f"{path} names a column twice: {named(header)}")
    return names


def _check_quote(path: Path, lines: Sequence[str], start: int, why: str) -> None:
    if "limit" in why:
        raise UsageError(f"{path}, line {start}: no readable CSV: {why}")
    if len(lines) > 1:
        raise _never_closed(path, lines, start)


def _check_swallowed(path: Path, lines: Sequence[str], start: int, delimiter: str, width: int) -> None:
    """Refuse one record of several lines of which most are records by themselves: a quote ate them.

    Prose in a quoted field goes on with a blank after its commas; fields do not begin with one.
    """
    if width < 2:
        return
    alone = [line.rstrip("\r\n").split(delimiter) for line in lines]
    whole = sum(len(fields) == width and not any(field.startswith(" ") for field in fields) for fields in alone)
    if whole >= 2 and 2 * whole >= len(lines):
        raise _never_closed(path, lines, start)


def _never_closed(path: Path, lines: Sequence[str], start: int) -> UsageError:
    return UsageError(
        f"{path}, line {start}: a quotation mark opens here and is not closed where it should be, so that "
        f"{len(lines) - 1:,} lines after it are lost: {lines[0].strip()[:80]!r}; close it, or write it twice"
    )
