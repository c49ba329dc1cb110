"""When something happened, out of whatever a user's file says: numbers in a unit, ISO texts, typed columns."""

import time
from datetime import UTC, datetime, timedelta

import polars as pl

from core.data import people
from core.data.events import PLACEHOLDERS, SKEW
from core.data.rejects import Rejects
from core.errors import UsageError

_NUMBERS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
UNITS = (*_NUMBERS, "iso")
_PLAUSIBLE = 631_152_000  # 1990-01-01
_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")
_SHORT_ZONES = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z")  # +02, as PostgreSQL writes it
_MOMENT = pl.Datetime("us", "UTC")


def seconds(events: pl.DataFrame, unit: str, rejects: Rejects, file: str) -> pl.DataFrame:
    """`events` with `timestamp` in Unix seconds; lines whose time cannot be read are left out and named.

    Raises:
        UsageError: if the times make sense in another unit only.
    """
    column = events["timestamp"]
    read = column.dt.epoch("s") if column.dtype.is_temporal() else _written(column, unit)
    if not column.dtype.is_temporal():
        _check_unit(column, read, unit, file)
    text = pl.col("timestamp").cast(pl.String).str.strip_chars()
    events = events.with_columns(_seconds=read)
    unread = pl.col("_seconds").is_null() & (text.fill_null("") != "")
    placeholder = text.str.to_lowercase().is_in(list(PLACEHOLDERS))
    for kind, wrong in (("no_date", unread & placeholder), ("bad_time", unread & ~placeholder)):
        for row in events.filter(wrong).iter_rows(named=True):
            rejects.add(row["file"], row["line"], kind, row["timestamp"])
    return events.filter(~unread).drop("timestamp").rename({"_seconds": "timestamp"})


def column(stored: pl.Series, place: str) -> pl.Series:
    """A column of times as moments of UTC, or as texts that `seconds` reads; without a zone UTC is meant.

    Raises:
        UsageError: for a type that holds no times; `place` names the file and the column.
    """
    kind = stored.dtype
    if kind == pl.Date:
        return stored.cast(_MOMENT)
    if isinstance(kind, pl.Datetime):
        zoned = stored if kind.time_zone else stored.dt.replace_time_zone("UTC")
        return zoned.dt.convert_time_zone("UTC").cast(_MOMENT)
    if kind.is_temporal() or kind == pl.Float32 or kind == pl.Boolean:
        why = ", which has no digits left for seconds" if kind == pl.Float32 else ""
        raise UsageError(f"{place} holds {kind}{why}; want dates, texts or numbers")
    return people.text(stored, place)


def alike(parts: list[pl.DataFrame], unit: str) -> list[pl.DataFrame]:
    """Parts of one table, whose times are moments or texts: where some are texts, moments are written in their unit."""
    if len({part["timestamp"].dtype for part in parts}) == 1:
        return parts
    moment = pl.col("timestamp")
    text = moment.dt.strftime("%+") if unit == "iso" else moment.dt.epoch(unit)  # pyright: ignore[reportArgumentType]
    return [part.with_columns(text.cast(pl.String)) if part["timestamp"].dtype == _MOMENT else part for part in parts]


def _written(column: pl.Series, unit: str) -> pl.Series:
    text = pl.col("text").str.strip_chars()
    if unit == "iso":
        text = text.str.replace(r"(:\d\d),(\d+)", "$1.$2")
        read = pl.coalesce(
            *(text.str.to_datetime(form, time_zone="UTC", strict=False) for form in ("%+", *_SHORT_ZONES)),
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
