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
from core.data.files.table import Table, named
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


def read(path: Path, data: bytes | str, form: Form | None = None) -> Table:
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
    "t.csv.gz": (gzip.compress(TEXT.encode())[:12], "ends early"),
    "p.parquet.gz": (gzip.compress(written(FRAME.write_parquet)), "compressed Parquet"),
    "g.csv.gz": (gzip.compress(gzip.compress(TEXT.encode())), "compressed Gzip"),
    "t.tar.gz": (gzip.compress(b"t.csv".ljust(257, b"\0") + b"ustar\0" + TEXT.encode()), "a tar archive"),
    "t.arrows": (written(FRAME.write_ipc_stream), "an Arrow stream, not an Arrow file"),
    "empty.csv": (b"", "is empty; want a header"),
    "mark.csv": (b"\xef\xbb\xbf", "is empty; want a header"),
    "empty.jsonl": (b"\n", "is empty; want a JSON object on each line"),
    "pretty.jsonl": (b'[\n{"a": 1}\n]', "one JSON array"),
    "commas.jsonl": (b'{"a": 1},\n', r"line 1: '\{\"a\": 1\},' is no JSON object"),
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


@pytest.mark.parametrize("name", ["utf-99", "rot13", "undefined", "idna", "unicode_escape", "base64"])
def test_an_encoding_that_is_none_is_refused(name: str):
    with pytest.raises(UsageError, match=rf"\[items\]: unknown encoding '{name}'; such as utf-8"):
        Form(name).check("[items]")


def test_columns_without_a_name_are_told_apart(tmp_path: Path):
    found = read(tmp_path / "t.csv", "a,b,,\n1,x,,\n2,y,,\n")
    assert found.frame.select("a", "b").equals(FRAME)
    with pytest.raises(UsageError, match=r"names a column twice: a, '', a"):
        read(tmp_path / "t.csv", "a,,a\n1,x,\n")


def test_a_message_shows_columns_on_one_line_and_not_without_end():
    shown = named(["a", " b", "", "c\td", "e" * 99, *map(str, range(30))])
    assert shown.startswith(f"a, ' b', '', 'c\\td', {'e' * 37}..., 0, ")
    assert shown.endswith(" and 15 more")


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_a_header_is_found_whatever_ends_its_line(tmp_path: Path, end: str):
    path = tmp_path / "t.csv"
    path.write_text(f"a,b{end}" + f"1,x{end}" * 40_000, newline="")
    assert list(sources.header(path, "t.csv", Form())) == ["a", "b"]


TORN = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
}


@pytest.mark.parametrize("kind", TORN)
def test_of_a_file_that_ends_early_the_whole_lines_are_read(tmp_path: Path, kind: str):
    text = "a,b\n" + "".join(f"{n * n * 7919 % 1_000_003},{n}\n" for n in range(200_000))
    found = read(tmp_path / "t", TORN[kind](text.encode())[:-400_000])
    assert 0 < len(found.frame) < 200_000
    assert found.frame.rows() == [(str(n * n * 7919 % 1_000_003), str(n)) for n in range(len(found.frame))]
    ((line, what, _),) = found.bad
    assert (line, what) == (len(found.frame) + 2, "truncated")


def test_bytes_after_the_end_of_a_compressed_file_are_told(tmp_path: Path):
    found = read(tmp_path / "t.csv.gz", gzip.compress(TEXT.encode()) + b"more")
    assert found.frame.equals(FRAME)
    assert [what for _, what, _ in found.bad] == ["truncated"]


def test_lines_that_are_no_json_objects_are_named(tmp_path: Path):
    lines = ['{"a": "1", "b": "x"}', "{", "", "null", "[1]", '{"a": "\\ud800"}', '{"b": "y", "a": "2", "a": "3"}']
    found = read(tmp_path / "t.jsonl", "\r\n".join(lines))
    assert found.frame.rows() == [("1", "x"), ("3", "y")]
    assert list(found.lines) == [1, 7]
    assert [(line, what) for line, what, _ in found.bad] == [(n, "not_an_object") for n in (2, 4, 5, 6)]


@pytest.mark.parametrize(
    ("cells", "read_as"),
    [
        (["1", "2.5"], [1.0, 2.5]),
        (["1", "null"], [1, None]),
        (["1", '"x"', "2.0", "2.5", "true", '{"c": 1}'], ["1", "x", "2.0", "2.5\0", "true\0", '{"c": 1}\0']),
        (["9007199254740993", "0.5"], ["9007199254740993", "0.5\0"]),
        (["1" * 30, "1"], [int("1" * 30), 1]),
        (["1" * 45, "1"], ["1" * 45, "1"]),
        (['["x", 1.5]', '"z"', "null", "[null]"], [["x", "1.5"], ["z"], None, [None]]),
        (['{"c": 1}', "null", '{"d": [2]}'], [{"json": '{"c": 1}'}, None, {"json": '{"d": [2]}'}]),
        (['["x", "y"]', "{}", "0", "false", "null"], [["x", "y"], None, ["0"], None, None]),
        (['["x"]', '[["y"]]'], [[{"json": '"x"'}], [{"json": '["y"]'}]]),
    ],
)
def test_a_column_of_json_is_read_without_loss(tmp_path: Path, cells: list[str], read_as: list[object]):
    found = read(tmp_path / "t.jsonl", "".join(f'{{"k": 0, "a": {cell}}}\n' for cell in cells))
    assert found.frame["a"].to_list() == read_as
