"""`--dataset custom`: a user's own interactions and items, in CSV or Parquet, described by a small TOML file.

`--source` is that file, or a folder with a `dataset.toml`. A commented example is examples/custom/dataset.toml. Paths
in it are relative to it. Ids are text; `unit` says how times are written: s (Unix seconds), ms, or iso (2026-01-31,
2026-01-31T12:00:00Z; without a zone UTC is meant).
"""

import csv
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from core.data import dataset
from core.data.rejects import Rejects, screen
from core.errors import UsageError, check_choice, unknown

UNITS = ("s", "ms", "iso")
FILE_NAME = "dataset.toml"
_KEYS = {  # of each table of the TOML file: required, then optional
    "interactions": (("file", "user", "item", "timestamp"), ("rating", "unit")),
    "items": (("file", "item"), ("title", "brand", "categories", "separator")),
    "users": (("file", "user"), ("age", "gender", "occupation")),
}
_LONGEST = 1 << 24  # characters in a field
_NO_COLUMNS = ("file", "unit", "separator")


def files(source: Path | None) -> list[Path]:
    """The TOML file, then the files it names, in the order of its tables.

    Raises:
        UsageError: if a file is missing, or the TOML file says something else than it may.
    """
    if source is None:
        raise UsageError(f"--dataset custom needs --source: a TOML file, or a folder with {FILE_NAME}")
    path = source / FILE_NAME if source.is_dir() else source
    description = _described(path)
    found = [path, *(path.parent / table["file"] for table in description.values())]
    for place in found:
        if not place.is_file():
            raise UsageError(f"{place} is missing" + ("" if place == path else f"; {path} names it"))
    return found


def read(paths: Sequence[Path]) -> dataset.RawTables:
    """The raw tables from what `files` returned."""
    rejects, description = Rejects(), _described(paths[0])
    tables = {
        name: _table(path, name, keys, rejects)
        for (name, keys), path in zip(description.items(), paths[1:], strict=True)
    }
    events = _times(tables["interactions"], description["interactions"].get("unit", "s"), rejects)
    events = screen(events, rejects).sort("timestamp", maintain_order=True)
    items = _items(tables["items"], description["items"].get("separator")) if "items" in tables else None
    users = _users(tables["users"]) if "users" in tables else None
    return dataset.RawTables(
        events.select(pl.col("user", "item", "timestamp"), _number("rating", events))
        .to_arrow()
        .cast(dataset.INTERACTIONS),
        dataset.ITEMS.empty_table() if items is None else items.to_arrow().cast(dataset.ITEMS),
        dataset.USERS.empty_table() if users is None else users.to_arrow().cast(dataset.USERS),
        rejects,
    )


def _described(path: Path) -> dict[str, dict[str, str]]:
    try:
        description = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{path} is missing; it says which columns are what: see examples/custom/{FILE_NAME}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML file: {error}") from None
    if "interactions" not in description:
        raise UsageError(f"{path} has no table [interactions]")
    for name, table in description.items():
        if name not in _KEYS or not isinstance(table, dict):
            raise unknown(f"table in {path}", name, _KEYS)
        _check_keys(path, name, table)
    return {name: description[name] for name in _KEYS if name in description}


def _check_keys(path: Path, name: str, table: dict[str, Any]) -> None:
    required, optional = _KEYS[name]
    for key, value in table.items():
        if key not in (*required, *optional):
            raise unknown(f"key in [{name}] of {path}", key, (*required, *optional))
        if not isinstance(value, str) or not value:
            raise UsageError(f"{path}: {key} in [{name}] is {value!r}; want text")
    if missing := [key for key in required if key not in table]:
        raise UsageError(f"{path}: [{name}] lacks {', '.join(missing)}")
    check_choice(f"unit in {path}", table.get("unit", "s"), UNITS)


def _table(path: Path, name: str, keys: dict[str, str], rejects: Rejects) -> pl.DataFrame:
    """The named columns, renamed to our names, with `file` and `line` (of a CSV with the header as line 1)."""
    table, lines = _parquet(path) if path.suffix == ".parquet" else _csv(path, rejects)
    columns = {ours: theirs for ours, theirs in keys.items() if ours not in _NO_COLUMNS}
    if absent := [theirs for theirs in columns.values() if theirs not in table.columns]:
        raise UsageError(f"{path} has no column {absent[0]!r}; it has {', '.join(table.columns)}")
    if name == "interactions":
        rejects.lines += len(table)
    chosen = table.select(pl.col(theirs).alias(ours) for ours, theirs in columns.items())
    texts = [column for column in chosen.columns if chosen[column].dtype != pl.List]
    return chosen.with_columns(pl.col(texts).cast(pl.String)).with_columns(file=pl.lit(path.name), line=lines)


def _parquet(path: Path) -> tuple[pl.DataFrame, pl.Series]:
    try:
        table = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"{path} is no readable Parquet file: {error}") from None
    return table, pl.Series(range(1, len(table) + 1), dtype=pl.Int64)


def _csv(path: Path, rejects: Rejects) -> tuple[pl.DataFrame, pl.Series]:
    """A CSV with a header, in UTF-8, every field text, an empty one null; ragged lines are left out and counted."""
    csv.field_size_limit(_LONGEST)
    rows: list[list[str | None]] = []
    lines: list[int] = []
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            reader = csv.reader(stream)
            header = next(reader, [])
            for row in reader:
                if len(row) == len(header):
                    rows.append([field or None for field in row])
                    lines.append(reader.line_num)
                elif row:
                    rejects.lines += 1
                    rejects.add(path.name, reader.line_num, "ragged", ",".join(row))
    except (OSError, csv.Error) as error:
        raise UsageError(f"{path}, line {len(rows) + 2}: no readable CSV: {error}") from None
    if len(set(header)) < len(header):
        raise UsageError(f"{path} names a column twice: {', '.join(header)}")
    table = pl.DataFrame(rows, schema=dict.fromkeys(header, pl.String), orient="row")
    return table, pl.Series(lines, dtype=pl.Int64)


def _times(events: pl.DataFrame, unit: str, rejects: Rejects) -> pl.DataFrame:
    """`timestamp` in Unix seconds; lines with a time that cannot be read are left out."""
    text = pl.col("timestamp").str.strip_chars()
    if unit == "iso":
        read = pl.coalesce(
            text.str.to_datetime("%+", time_zone="UTC", strict=False),
            text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False).dt.replace_time_zone("UTC"),
            text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False).dt.replace_time_zone("UTC"),
            text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime).dt.replace_time_zone("UTC"),
        ).dt.epoch("s")
    else:
        number = text.cast(pl.Float64, strict=False)
        seconds = (number / (1000 if unit == "ms" else 1)).floor()
        read = pl.when(number.is_finite() & (number.abs() < 1e15)).then(seconds).cast(pl.Int64)
    events = events.with_columns(seconds=read)
    wrong = pl.col("seconds").is_null() & (pl.col("timestamp").fill_null("") != "")
    for row in events.filter(wrong).iter_rows(named=True):
        rejects.add(row["file"], row["line"], "bad_time", row["timestamp"])
    return events.filter(~wrong).drop("timestamp").rename({"seconds": "timestamp"})


def _items(table: pl.DataFrame, separator: str | None) -> pl.DataFrame:
    if "categories" not in table.columns:
        labels = pl.lit([], pl.List(pl.String))
    elif table["categories"].dtype == pl.List:
        labels = pl.col("categories").cast(pl.List(pl.String))
    else:
        labels = pl.col("categories").str.split(separator) if separator else pl.concat_list("categories")
    labels = labels.list.eval(pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != ""))
    texts = [
        pl.col(name) if name in table.columns else pl.lit(None, pl.String).alias(name) for name in ("title", "brand")
    ]
    found = table.select(
        pl.col("item").alias("raw_id"), *texts, labels.list.unique(maintain_order=True).alias("categories")
    )
    return found.drop_nulls("raw_id").unique("raw_id", keep="first", maintain_order=True)


def _users(table: pl.DataFrame) -> pl.DataFrame:
    texts = [
        pl.col(name) if name in table.columns else pl.lit(None, pl.String).alias(name)
        for name in ("gender", "occupation")
    ]
    found = table.select(pl.col("user").alias("raw_id"), _number("age", table, pl.Int32), *texts)
    return found.drop_nulls("raw_id").unique("raw_id", keep="first", maintain_order=True)


def _column(name: str, table: pl.DataFrame) -> pl.Expr:
    return pl.col(name) if name in table.columns else pl.lit(None, pl.String).alias(name)


def _number(name: str, table: pl.DataFrame, kind: type[pl.DataType] = pl.Float32) -> pl.Expr:
    """A column of numbers, null where there is none."""
    return pl.col(name).cast(kind, strict=False) if name in table.columns else pl.lit(None, kind).alias(name)


CUSTOM = dataset.Dataset(
    files=files,
    read=read,
    code=("core/data/custom.py", "core/data/rejects.py"),
    counts=(100_000, 10_000, 10_000),
    live=True,
)
