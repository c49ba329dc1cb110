"""Tables in a user's files: CSV in any encoding, plain or compressed, Parquet, Arrow, JSON lines; a file or a folder.

What a file is its first bytes say, not its name. Nothing is guessed beyond that and nothing repaired: text that is not
in the encoding it should be in, and a quotation mark that swallows lines, are errors that name the line.
"""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from core.data.files import content, json_lines, separated
from core.data.files.table import Table, named
from core.errors import UsageError, check_choice

COMPRESSIONS = ("gzip", "zstd", "bz2", "xz")
_SUFFIX = {"gzip": ".gz", "zstd": ".zst", "bz2": ".bz2", "xz": ".xz"}
_HEAD = 1 << 16  # bytes in which a header ends
_NO_TEXT = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape"})  # of Python's, for names and code


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
        start = content.start(path)
        kind = next((kind for magic, kind in content.MAGIC.items() if start.startswith(magic)), "")
        stem = path.name.lower().removesuffix(_SUFFIX.get(kind, ""))
        as_json = stem.endswith((".jsonl", ".ndjson", ".json"))
        if form.compression and form.compression != kind:
            raise UsageError(f"{path} is not compressed with {form.compression}, as its description says")
        if kind in content.BINARY:
            return _columnar(path, name, kind)
        data, torn = content.expanded(path, kind) if kind else (content.plain(path, 0 if as_json else limit), "")
    except content.TORN as error:
        raise UsageError(f"{path} cannot be read, or ends early: {error}") from None
    if kind and (inner := next((name for magic, name in content.MAGIC.items() if data.startswith(magic)), "")):
        raise UsageError(f"{path} holds a compressed {inner.capitalize()} file; unpack it first")
    content.check_text(path, data)
    text = content.decoded(path, data, form.encoding)
    if as_json:
        found = json_lines.parse(path, name, text)
    else:
        found = separated.parse(path, name, text, form.delimiter or ("\t" if stem.endswith((".tsv", ".tab")) else ","))
    if torn:
        found.bad.append((text.count("\n") + 2, "truncated", torn))
    return found


def _columnar(path: Path, name: str, kind: str) -> Table:
    try:
        reader = pl.read_parquet if kind == "parquet" else None
        frame = reader(path, glob=False, hive_partitioning=False) if reader else pl.read_ipc(path.read_bytes())
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise UsageError(f"{path} is no readable {kind.capitalize()} file: {error}") from None
    return Table(name, frame, pl.Series(range(1, len(frame) + 1), dtype=pl.Int64))
