"""Files as people hand them over: read by what they are, or refused by that name."""

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from core.data import sources
from core.data.sources import Form
from core.errors import UsageError

TEXT = "a,b\n1,x\n2,y\n"
FRAME = pl.DataFrame({"a": ["1", "2"], "b": ["x", "y"]})


def zstd(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(data)
    return out.getvalue().to_pybytes()


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    write(stream := io.BytesIO())
    return stream.getvalue()


def read(path: Path, data: bytes | str, form: Form | None = None) -> sources.Table:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    (found,) = sources.read(path, path.name, form or Form())
    return found


FORMS = {
    "t.csv": TEXT.encode(),
    "t.CSV.gz": gzip.compress(TEXT.encode()),
    "t.csv.zst": zstd(TEXT.encode()),
    "t.csv.bz2": bz2.compress(TEXT.encode()),
    "t.csv.xz": lzma.compress(TEXT.encode()),
    "t": gzip.compress(TEXT.encode()),  # no ending says what it is
    "t.tsv": TEXT.replace(",", "\t").encode(),
    "t.TSV.gz": gzip.compress(TEXT.replace(",", "\t").encode()),
    "T.PARQUET": written(FRAME.write_parquet),
    "t.pq": written(FRAME.write_parquet),
    "t.csv.parquet": written(FRAME.write_parquet),
    "t.feather": written(FRAME.write_ipc),
    "t.jsonl": b'{"a": "1", "b": "x"}\n{"a": "2", "b": "y"}\n',
    "t.json": b'{"a": "1", "b": "x"}\n{"a": "2", "b": "y"}\n',
    "bom.csv": TEXT.encode("utf-8-sig"),
    "u16.csv": TEXT.encode("utf-16"),
    "u16be.csv": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "u32.csv": TEXT.encode("utf-32"),
    "crlf.csv": TEXT.replace("\n", "\r\n").encode(),
    "[2026] a*?.parquet": written(FRAME.write_parquet),
    "[2026] a.csv": TEXT.encode(),
}


@pytest.mark.parametrize("name", FORMS)
def test_what_a_file_is_its_bytes_say(tmp_path: Path, name: str):
    found = read(tmp_path / name, FORMS[name])
    assert found.frame.equals(FRAME)
    assert list(sources.header(tmp_path / name, name, Form())) == ["a", "b"]


FOREIGN = {
    "book.xlsx": (written(lambda stream: zipfile.ZipFile(stream, "w").writestr("a", "b")), "a ZIP archive or an Excel"),
    "t.csv": (b"SQLite format 3\0" + bytes(99), "an SQLite database"),
    "t.orc": (b"ORC" + bytes(99), "an ORC file"),
    "t.parquet": (b"no", "no readable Parquet"),
    "t.pq": (b"PAR1 but no more", "no readable Parquet"),
    "le.csv": (TEXT.encode("utf-16-le"), 'encoding = "utf-16-le"'),
    "t.bin": (bytes(range(256)) * 4, "not UTF-8"),
    "t.json": (b'[{"a": 1}]', "one JSON array"),
    "t.csv.gz": (gzip.compress(TEXT.encode())[:-6], "ends early"),
    "p.parquet.gz": (gzip.compress(written(FRAME.write_parquet)), "compressed Parquet"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_cannot_be_read_is_named_and_not_printed(tmp_path: Path, name: str):
    data, said = FOREIGN[name]
    with pytest.raises(UsageError, match=said) as error:
        read(tmp_path / name, data)
    assert str(tmp_path / name) in str(error.value)
    assert str(error.value).isprintable()


def test_a_declared_form_is_held_to(tmp_path: Path):
    assert read(tmp_path / "a", "a|b\n1|\u00e9\n".encode("cp1252"), Form("cp1252", "|")).frame.rows() == [
        ("1", "\u00e9")
    ]
    with pytest.raises(UsageError, match="not compressed with gzip"):
        read(tmp_path / "b", TEXT, Form(compression="gzip"))
    with pytest.raises(UsageError, match=r"line 3: byte 0x81 .* is not CP1252"):
        read(tmp_path / "c", b"a,b\n1,x\n2,\x81\n", Form("cp1252"))


def test_a_folder_is_the_rows_of_its_parts(tmp_path: Path):
    for day, number in (("2026-01-01", 1), ("2026-01-02", 2)):
        part = tmp_path / "t [1]" / f"day={day}" / f"part-{number}.parquet"
        part.parent.mkdir(parents=True)
        pl.DataFrame({"a": [number]}).write_parquet(part)
    (tmp_path / "t [1]" / "_SUCCESS").write_text("")
    (tmp_path / "t [1]" / ".part.crc").write_text("x")
    found = sources.read(tmp_path / "t [1]", "t", Form())
    assert [table.frame.rows() for table in found] == [[(1, "2026-01-01")], [(2, "2026-01-02")]]
    assert found[1].name == "t/day=2026-01-02/part-2.parquet"
    pl.DataFrame({"b": [1]}).write_parquet(tmp_path / "t [1]" / "day=2026-01-01" / "other.parquet")
    with pytest.raises(UsageError, match="must have the same"):
        sources.read(tmp_path / "t [1]", "t", Form())


def test_an_empty_folder_is_named(tmp_path: Path):
    with pytest.raises(UsageError, match="holds no file"):
        sources.read(tmp_path, "t", Form())


GOOD = [f"{n},x{n},y" for n in range(2, 30)]  # lines 2 to 29, after a header


def lines(**changed: str) -> str:
    """GOOD with lines replaced by number, e.g. l7=..."""
    kept = {f"l{number}": line for number, line in enumerate(GOOD, start=2)} | changed
    return "\n".join(["a,b,c", *kept.values()]) + "\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (lines(l7='7,"x7,y'), 7),  # to the end of the file
        (lines(l7='"7,x7,y'), 7),
        (lines(l7='7,x7,"y'), 7),
        (lines(l7='7,"x7,y', l20='20,"x20, y",z'), 7),  # to the next quoted field
        (lines(l7='7,"x7,y', l20='20,x20",y'), 7),  # to another stray one, which makes a whole record of them
        (lines(l7='7,"x7,y', l8='8,x8",y'), 7),
    ],
)
def test_a_quote_that_swallows_lines_names_where_it_opened(tmp_path: Path, text: str, line: int):
    with pytest.raises(UsageError, match=rf"t\.csv, line {line}: a quotation mark opens here"):
        read(tmp_path / "t.csv", text)


def test_quotes_that_lose_no_line_are_read_or_rejected_one_by_one(tmp_path: Path):
    good = lines(l7='7,"first, second\nthird, fourth\nfifth",y', l8='8,"say ""hi""",y', l9='9,5" disk,y')
    found = read(tmp_path / "t.csv", good)
    assert found.bad == []
    assert found.frame["b"].to_list()[5:8] == ["first, second\nthird, fourth\nfifth", 'say "hi"', '5" disk']
    assert found.lines.to_list()[5:8] == [7, 10, 11]
    found = read(tmp_path / "t.csv", lines(l7='7,"a" b,y', l29='29,"x,y'))
    assert [(number, kind) for number, kind, _ in found.bad] == [(7, "bad_quote"), (29, "bad_quote")]
    assert len(found.frame) == 26
