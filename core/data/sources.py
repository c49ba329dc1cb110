"""Tables in a user's files: CSV in any encoding, plain or compressed, Parquet, Arrow, JSON lines; a file or a folder.

What a file is its first bytes say, not its name. Nothing is guessed beyond that and nothing repaired: text that is not
in the encoding it should be in, and a quotation mark that swallows lines, are errors that name the line.
"""

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from core.errors import UsageError, check_choice

COMPRESSIONS = ("gzip", "zstd", "bz2", "xz")
_LONGEST = 1 << 24  # characters in a field
_HEAD = 1 << 16  # bytes in which a header ends
_PIECE = 1 << 16  # bytes that are unpacked at once
_WIDE = 64  # first bytes, among which UTF-16 has zeros
_BINARY = ("parquet", "arrow")
_MAGIC = {
    b"PAR1": "parquet", b"ARROW1": "arrow", b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
}  # fmt: skip
_FOREIGN = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook", b"PK\x05\x06": "an empty ZIP archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook of the old form", b"ORC": "an ORC file", b"Obj\x01": "an Avro file",
    b"SQLite format 3": "an SQLite database", b"%PDF": "a PDF", b"\x89HDF": "an HDF5 file",
    b"7z\xbc\xaf": "a 7z archive", b"\x80\x03": "a pickle", b"\x80\x04": "a pickle", b"\x80\x05": "a pickle",
    b"\x04\x22\x4d\x18": "an LZ4 file", b"SEQ\x06": "a Hadoop sequence file",
    b"\xff\xff\xff\xff": "an Arrow stream, not an Arrow file",
}  # fmt: skip
_MARKS = {  # byte order marks, the longer first
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
_NO_TEXT = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape"})  # of Python's, for names and code
_EXACT = 2**53  # whole numbers from here on lose digits as floats
_SHOWN, _NAME = 20, 40  # columns that a message shows, and characters of each
_LINE_END = re.compile(r"\r\n|\r|\n")
_WANTED = "want CSV (plain, or .gz, .zst, .bz2, .xz), Parquet, Arrow or JSON lines"


@dataclass(frozen=True, slots=True)
class Form:
    """How a CSV is written, where a description says so: else UTF-8 (or what a byte order mark says) and commas."""

    encoding: str = ""
    delimiter: str = ""
    compression: str = ""

    def check(self, place: str) -> "Form":
        """Raises UsageError for a form that does not exist; `place` names the table and the file that ask for it."""
        if self.encoding:
            try:
                name = codecs.lookup(self.encoding).name
                known = name.replace("-", "_") not in _NO_TEXT and "a".encode(name).decode(name) == "a"
            except (LookupError, ValueError):
                known = False
            if not known:
                raise UsageError(f"{place}: unknown encoding {self.encoding!r}; such as utf-8, latin-1, cp1252, utf-16")
        if self.delimiter and (len(self.delimiter) != 1 or self.delimiter in '"\r\n\0'):
            raise UsageError(f"{place}: delimiter {self.delimiter!r} is no single character such as ; | or a tab")
        if self.compression:
            check_choice(f"compression in {place}", self.compression, COMPRESSIONS)
        return self


@dataclass(slots=True)
class Table:
    """A file's columns, the line of each row (of a CSV with the header as line 1), and the lines that are no rows."""

    name: str
    frame: pl.DataFrame
    lines: pl.Series
    bad: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.frame) + len(self.bad)


def parts(path: Path) -> list[Path]:
    """The files of a table: `path` itself, or the files in a folder, those of hidden and marker files left out.

    Raises:
        UsageError: if there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(f"{path} is missing")
    found = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file() and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    ]
    if not found:
        raise UsageError(f"the folder {path} holds no file")
    return found


def read(path: Path, name: str, form: Form) -> list[Table]:
    """The tables in a file or a folder; `name` is what messages call it, `path` its place.

    Raises:
        UsageError: if a file is none of the known forms, or is not what its form asks for.
    """
    found = []
    for part in parts(path):
        own = name if part == path else f"{name}/{part.relative_to(path)}"
        found.append(_partitioned(_read(part, own, form), part, path))
    columns = found[0].frame.columns
    for table in found[1:]:
        if set(table.frame.columns) != set(columns):
            raise UsageError(f"{table.name} has the columns {named(table.frame.columns)}; {found[0].name} has "
                             f"{named(columns)}: the parts of one table must have the same")  # fmt: skip
    return found


def named(columns: Sequence[str]) -> str:
    """Columns for a message: on one line, with quotes where something could not be seen, and not without end."""
    shown = [name if name == name.strip() != "" and name.isprintable() else repr(name) for name in columns]
    shown = [name if len(name) <= _NAME else f"{name[: _NAME - 3]}..." for name in shown[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(columns) - _SHOWN:,} more" if len(columns) > _SHOWN else "")


def header(path: Path, name: str, form: Form) -> Sequence[str]:
    """The columns of a table's first file; of a plain CSV no more than the beginning is read, if that says them.

    Raises:
        UsageError: if the file is none of the known forms.
    """
    part = parts(path)[0]
    try:
        found = _read(part, name, form, limit=_HEAD)
    except UsageError:
        found = _read(part, name, form)
    return _partitioned(found, part, path).frame.columns


def _partitioned(table: Table, part: Path, path: Path) -> Table:
    """With a column for each `name=value` folder between `path` and the part, as Hive writes partitions."""
    for folder in part.relative_to(path).parts[:-1]:
        key, sign, value = folder.partition("=")
        if sign and key not in table.frame.columns:
            table.frame = table.frame.with_columns(pl.lit(value).alias(key))
    return table


def _read(path: Path, name: str, form: Form, limit: int = 0) -> Table:
    try:
        start = _start(path)
        kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "")
        stem = path.name.lower().removesuffix(_SUFFIX.get(kind, ""))
        as_json = stem.endswith((".jsonl", ".ndjson", ".json"))
        if form.compression and form.compression != kind:
            raise UsageError(f"{path} is not compressed with {form.compression}, as its description says")
        if kind in _BINARY:
            return _columnar(path, name, kind)
        data, torn = _expanded(path, kind) if kind else (_bytes(path, 0 if as_json else limit), "")
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        raise UsageError(f"{path} cannot be read, or ends early: {error}") from None
    if kind and (inner := next((name for magic, name in _MAGIC.items() if data.startswith(magic)), "")):
        raise UsageError(f"{path} holds a compressed {inner.capitalize()} file; unpack it first")
    _check_text(path, data)
    text = decoded(path, data, form.encoding)
    if as_json:
        found = _json_lines(path, name, text)
    else:
        found = _csv(path, name, text, form.delimiter or ("\t" if stem.endswith((".tsv", ".tab")) else ","))
    if torn:
        found.bad.append((text.count("\n") + 2, "truncated", torn))
    return found


_SUFFIX = {"gzip": ".gz", "zstd": ".zst", "bz2": ".bz2", "xz": ".xz"}


def _start(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(64)


def _bytes(path: Path, limit: int) -> bytes:
    """The whole file, or its first line where it is longer than the limit."""
    with path.open("rb") as stream:
        data = stream.read(limit or -1)
    if not limit or len(data) < limit:
        return data
    end = data.find(b"\n") + 1
    wide = b"\0" in data[:end]  # UTF-16: a character has two bytes
    return data[: end + end % 2 if wide else end]


def _expanded(path: Path, kind: str) -> tuple[bytes, str]:
    """What can be unpacked; if that is not all of it, the whole lines of it, and why."""
    openers: dict[str, Callable[[str], Any]] = {
        "gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open, "zstd": partial(pa.input_stream, compression="zstd")
    }  # fmt: skip
    pieces: list[bytes] = []
    try:
        with openers[kind](str(path)) as stream:
            while piece := stream.read1(_PIECE):
                pieces.append(piece)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        data = b"".join(pieces)
        end = data.rfind(b"\n")
        if end < 0:
            raise
        return data[: end - end % 2 if b"\0" in data[:_WIDE] else end], str(error)
    return b"".join(pieces), ""


def _check_text(path: Path, data: bytes) -> None:
    for magic, what in _FOREIGN.items():
        if data.startswith(magic):
            raise UsageError(f"{path} is {what}; {_WANTED}")
    if data[257:262] == b"ustar":
        raise UsageError(f"{path} is a tar archive; {_WANTED}")
    if path.name.lower().endswith((".parquet", ".pq")):
        raise UsageError(f"{path} is no readable Parquet file: it does not begin with PAR1")


def decoded(path: Path, data: bytes, encoding: str, remedy: str = "") -> str:
    """The text of a file.

    Raises:
        UsageError: naming the line and the byte that is not of the encoding, and what else to try.
    """
    marked = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "")
    if not marked and not encoding and data[:400].count(b"\0") > len(data[:400]) // 4:
        told = remedy or 'say encoding = "utf-16-le" or "utf-16-be" if it is'
        raise UsageError(f"{path} is binary, or UTF-16 without a byte order mark: {told}")
    name = marked or encoding or "utf-8"
    try:
        return data.decode(name).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        other = "latin-1" if name.startswith("utf-8") else "utf-8"
        known = name.removesuffix("-sig").upper()
        remedy = remedy or f'say which encoding it is in the description, such as encoding = "{other}"'
        raise UsageError(
            f"{path}, line {line}: byte 0x{data[error.start]:02X} (byte {error.start + 1:,} of the file) "
            f"is not {known}; {remedy}"
        ) from None


def _columnar(path: Path, name: str, kind: str) -> Table:
    try:
        reader = pl.read_parquet if kind == "parquet" else None
        frame = reader(path, glob=False, hive_partitioning=False) if reader else pl.read_ipc(path.read_bytes())
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"{path} is no readable {kind.capitalize()} file: {error}") from None
    return Table(name, frame, pl.Series(range(1, len(frame) + 1), dtype=pl.Int64))


def _json_lines(path: Path, name: str, text: str) -> Table:
    """JSON objects, one a line; lines that are none are left out and named. Of a repeated key the last one counts."""
    if text.lstrip().startswith("["):
        raise UsageError(f"{path} is one JSON array; {_WANTED}")
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
    if list in kinds and kinds <= {str, list}:
        return _lists(name, [[cell] if isinstance(cell, str) else cell for cell in cells])
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


def _csv(path: Path, name: str, text: str, delimiter: str) -> Table:
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
