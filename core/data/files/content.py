"""What is in a file, by its first bytes: whole or unpacked bytes, and the text that they spell."""

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from core.data.files.table import WANTED
from core.errors import UsageError

BINARY = ("parquet", "arrow")
_PIECE = 1 << 16  # bytes that are unpacked at once
_WIDE = 64  # first bytes, among which UTF-16 has zeros
MAGIC = {
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
TORN = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)  # what unpacking raises


def start(path: Path) -> bytes:
    """The first bytes, which say the form."""
    with path.open("rb") as stream:
        return stream.read(64)


def plain(path: Path, limit: int) -> bytes:
    """The whole file, or its first line where it is longer than the limit."""
    with path.open("rb") as stream:
        data = stream.read(limit or -1)
    if not limit or len(data) < limit:
        return data
    end = data.find(b"\n") + 1
    wide = b"\0" in data[:end]  # UTF-16: a character has two bytes
    return data[: end + end % 2 if wide else end]


def expanded(path: Path, kind: str) -> tuple[bytes, str]:
    """What can be unpacked; if that is not all of it, the whole lines of it, and why."""
    openers: dict[str, Callable[[str], Any]] = {
        "gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open, "zstd": partial(pa.input_stream, compression="zstd")
    }  # fmt: skip
    pieces: list[bytes] = []
    try:
        with openers[kind](str(path)) as stream:
            while piece := stream.read1(_PIECE):
                pieces.append(piece)
    except TORN as error:
        data = b"".join(pieces)
        end = data.rfind(b"\n")
        if end < 0:
            raise
        return data[: end - end % 2 if b"\0" in data[:_WIDE] else end], str(error)
    return b"".join(pieces), ""


def check_text(path: Path, data: bytes) -> None:
    """Raise a UsageError that names the form of what is no text."""
    for magic, what in _FOREIGN.items():
        if data.startswith(magic):
            raise UsageError(f"{path} is {what}; {WANTED}")
    if data[257:262] == b"ustar":
        raise UsageError(f"{path} is a tar archive; {WANTED}")
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
