"""When something happened, out of whatever a user's file says: numbers in a unit, ISO texts, typed columns."""

import time
from datetime import UTC, datetime, timedelta

import polars as pl

from core.data.events import PLACEHOLDERS, SKEW
from core.data.rejects import Rejects
from core.errors import UsageError

_NUMBERS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
UNITS = (*_NUMBERS, "iso")
_PLAUSIBLE = 631_152_000  # 1990-01-01
_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")


def seconds(events: pl.DataFrame, unit: str, rejects: Rejects, file: str) -> pl.DataFrame:
    """`events` with `timestamp` in Unix seconds; lines whose time cannot be read are left out and named.

    Raises:
        UsageError: if the times make sense in another unit only.
    """
    column = events["timestamp"]
    read = _typed(column) if column.dtype.is_temporal() else _written(column.cast(pl.String), unit)
    if not column.dtype.is_temporal():
        _check_unit(column.cast(pl.String), read, unit, file)
    text = pl.col("timestamp").cast(pl.String).str.strip_chars()
    events = events.with_columns(_seconds=read)
    unread = pl.col("_seconds").is_null() & (text.fill_null("") != "")
    placeholder = text.str.to_lowercase().is_in(list(PLACEHOLDERS))
    for kind, wrong in (("no_date", unread & placeholder), ("bad_time", unread & ~placeholder)):
        for row in events.filter(wrong).iter_rows(named=True):
            rejects.add(row["file"], row["line"], kind, row["timestamp"])
    return events.filter(~unread).drop("timestamp").rename({"_seconds": "timestamp"})


def _typed(column: pl.Series) -> pl.Series:
    if column.dtype == pl.Date:
        return column.cast(pl.Datetime("us")).dt.epoch("s")
    if not isinstance(column.dtype, pl.Datetime):
        raise UsageError(f"the column of times holds {column.dtype}; want dates, texts or numbers")
    zoned = column.dt.convert_time_zone("UTC") if column.dtype.time_zone else column
    return zoned.dt.epoch("s")


def _written(column: pl.Series, unit: str) -> pl.Series:
    text = pl.col("text").str.strip_chars()
    if unit == "iso":
        read = pl.coalesce(
            text.str.to_datetime("%+", time_zone="UTC", strict=False),
            *(text.str.to_datetime(form, strict=False).dt.replace_time_zone("UTC") for form in _FORMATS),
            text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime).dt.replace_time_zone("UTC"),
        ).dt.epoch("s")
    else:
        number = text.cast(pl.Float64, strict=False) / _NUMBERS[unit]
        read = pl.when(number.is_finite() & (number.abs() < 1e15)).then(number.floor()).cast(pl.Int64)
    return pl.DataFrame({"text": column}).select(read.alias("seconds"))["seconds"]


def _check_unit(column: pl.Series, read: pl.Series, unit: str, file: str) -> None:
    """Refuse times that make no sense, if more than one in a hundred would in another unit."""
    odd = column.filter(column.is_not_null() & ~_plausible(read).fill_null(value=False))
    for other in UNITS:
        found = _written(odd, other)
        found = found.filter(_plausible(found).fill_null(value=False))
        if other != unit and 100 * len(found) > len(column):
            first, last = (_day(edge) for edge in (found.min(), found.max()))
            seen = _written(odd, unit).drop_nulls()
            said = f"lie between {_day(seen.min())} and {_day(seen.max())}" if len(seen) else "cannot be read"
            raise UsageError(
                f'{file}: {len(odd):,} of {len(column):,} times, such as {odd[0]!r}, {said} as unit = "{unit}"; as '
                f'"{other}" {len(found):,} are of {first} to {last}: say unit = "{other}" in [interactions]'
            )


def _plausible(read: pl.Series) -> pl.Series:
    return (read >= _PLAUSIBLE) & (read <= int(time.time()) + SKEW)


def _day(value: object) -> str:
    seconds = int(value)  # pyright: ignore[reportArgumentType]
    year = 1970 + seconds / 31_556_952
    if not 1 <= year < 9_999:
        return f"the year {year:,.0f}"
    return str((datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).date())
