"""JSON lines as columns. What an id or a time may be is decided where a column is used, so every value stays itself."""

import json
import re
from pathlib import Path
from typing import Any

import polars as pl

from core.data.files.table import WANTED, Table
from core.errors import UsageError

_EXACT = 2**53  # whole numbers from here on lose digits as floats
_LINE_END = re.compile(r"\r\n|\r|\n")


def parse(path: Path, name: str, text: str) -> Table:
    """JSON objects, one a line; lines that are none are left out and named. Of a repeated key the last one counts."""
    if text.lstrip().startswith("["):
        raise UsageError(f"{path} is one JSON array; {WANTED}")
    columns: dict[str, list[Any]] = {}
    numbers: list[int] = []
    bad: list[tuple[int, str, str]] = []
    for number, line in enumerate(_LINE_END.split(text), start=1):
        if not line.strip():
            continue
        if (value := _object(line)) is None:
            bad.append((number, "not_an_object", line))
            continue
        for key in value:
            if key not in columns:
                columns[key] = [None] * len(numbers)
        for key, cells in columns.items():
            cells.append(value.get(key))
        numbers.append(number)
    if not columns:
        what = f", line {bad[0][0]}: {bad[0][2][:80]!a} is no JSON object" if bad else " is empty"
        raise UsageError(f"{path}{what}; want a JSON object on each line")
    frame = pl.DataFrame([_cells(key, cells) for key, cells in columns.items()])
    return Table(name, frame, pl.Series(numbers, dtype=pl.Int64), bad)


def _object(line: str) -> dict[str, Any] | None:
    """The object on a line, if it is one, and of text that UTF-8 can spell."""
    try:
        value = json.loads(line)
        if "\\u" in line:  # half a surrogate pair, perhaps
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _cells(name: str, cells: list[Any]) -> pl.Series:
    """A column of what JSON may say. Of several kinds it is text, and what no id may be ends in a zero byte there."""
    kinds = {type(cell) for cell in cells} - {type(None)}
    if list in kinds:
        return _lists(name, [_as_list(cell) for cell in cells])
    if kinds == {dict}:
        return pl.Series(name, [None if cell is None else {"json": json.dumps(cell)} for cell in cells])
    if kinds == {int, float} and all(abs(cell) < _EXACT for cell in cells if isinstance(cell, int)):
        cells = [None if cell is None else float(cell) for cell in cells]
    elif len(kinds) > 1:
        return _texts(name, cells)
    try:
        return pl.Series(name, cells)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        return _texts(name, cells)


def _as_list(cell: Any) -> list[Any] | None:
    """A cell among lists: one thing is a list of it, and what says that there is nothing is none."""
    if isinstance(cell, list):
        return cell
    return None if cell is None or isinstance(cell, bool) or cell == {} else [cell]


def _lists(name: str, cells: list[list[Any] | None]) -> pl.Series:
    """Lists of texts; of structures where one of them holds a list or an object."""
    parts = [part for cell in cells for part in cell or ()]
    if any(isinstance(part, list | dict) for part in parts):
        made = [None if cell is None else [{"json": json.dumps(part)} for part in cell] for cell in cells]
        return pl.Series(name, made, dtype=pl.List(pl.Struct({"json": pl.String})))
    made = [
        None if cell is None else [part if isinstance(part, str | None) else json.dumps(part) for part in cell]
        for cell in cells
    ]
    return pl.Series(name, made, dtype=pl.List(pl.String))


def _texts(name: str, cells: list[Any]) -> pl.Series:
    return pl.Series(name, [None if cell is None else _text(cell) for cell in cells], dtype=pl.String)


def _text(cell: Any) -> str:
    if isinstance(cell, str):
        return cell
    whole = isinstance(cell, int | float) and not isinstance(cell, bool) and cell == cell // 1
    return json.dumps(cell, ensure_ascii=False) + ("" if whole else "\0")
