"""What an event may be: who took what, and when. Said once, for files that are prepared and for events that are pushed.

An id is text of 1 to 256 printable characters, read without the white space around it. Whole numbers are whole: 123,
123.0 and "123.000" are one id; leading zeros stay, 007 is not 7. A time is in Unix seconds, a fraction is dropped; it
is no placeholder for "no date" and not more than a day ahead of the clock, which is what clocks may differ by.
"""

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import polars as pl

from core.contracts import DAY

ID_LENGTH = 256
SKEW = DAY  # seconds by which a clock may be ahead
_EXACT = 2**53  # whole numbers from here on have lost digits as floats
_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_NO_DATES = ("0001-01-01", "1601-01-01", "1753-01-01", "1899-12-30", "1899-12-31", "1900-01-01", "1970-01-01")
PLACEHOLDERS = frozenset(
    ("-", "--", "–", "—", "-1", "?", "n/a", "na", "#n/a", "null", "none", "nil", "nan", "nat", "\\n", "(null)",
     "unknown", "undefined", "0000-00-00", "0000-00-00 00:00:00", "0000-00-00t00:00:00", "0000-00-00t00:00:00z")
)  # fmt: skip


class NoEventError(ValueError):
    """Why something is no event: `kind` is one of `rejects.KINDS`, the message names the value."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Event:
    """One interaction; ids as the data set spells them, Unix seconds."""

    user: str
    item: str
    timestamp: int


def event(user: object, item: object, timestamp: object, *, now: float) -> Event:
    """The event, judged whole.

    Raises:
        NoEventError: naming the field and its value.
    """
    ids = {}
    for name, value in (("user", user), ("item", item)):
        try:
            ids[name] = id_of(value)
        except NoEventError as error:
            raise NoEventError(error.kind, f"{name} {error}") from None
    return Event(**ids, timestamp=time_of(timestamp, now=now))


def id_of(value: object) -> str:
    """An id as it is kept.

    Raises:
        NoEventError: for what no id may be.
    """
    if value is None:
        raise NoEventError("missing_field", "is missing")
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise NoEventError("bad_id", f"{_shown(value)} is neither text nor a whole number")
    if isinstance(value, float | Decimal):
        return _whole(value)
    text = str(value).strip()
    if wrong := _wrong(text):
        raise NoEventError("bad_id", f"{_shown(value)} {wrong}")
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def time_of(value: object, *, now: float) -> int:
    """A time as it is kept; `now` in Unix seconds.

    Raises:
        NoEventError: for what no time may be.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NoEventError("bad_time", f"timestamp {_shown(value)} is no number of Unix seconds")
    if (isinstance(value, float) and not math.isfinite(value)) or abs(value) >= 2**63:
        raise NoEventError("bad_time", f"timestamp {_shown(value)} is out of range")
    seconds = math.floor(value)
    for kind, low, high, why in _ranges(now):
        if low <= seconds < high:
            raise NoEventError(
                kind, f"timestamp {_shown(value)} {why}{_unit(seconds, now) if kind == 'future_time' else ''}"
            )
    return seconds


def bad_times(seconds: pl.Expr, *, now: float) -> dict[str, pl.Expr]:
    """The same rules for a column of whole seconds: for each kind of reject, which rows it is true of."""
    found: dict[str, pl.Expr] = {}
    for kind, low, high, _ in _ranges(now):
        inside = (seconds >= low) & (seconds < high)
        found[kind] = found[kind] | inside if kind in found else inside
    return found


def _ranges(now: float) -> Iterator[tuple[str, int, int, str]]:
    """Kinds of wrong times as half-open ranges; the first that holds a time names it."""
    for day in _NO_DATES:  # local midnights are up to 14 hours away from UTC's
        start = (date.fromisoformat(day) - date(1970, 1, 1)).days * DAY
        yield "no_date", start - 14 * 3600, start + DAY, f"is {day}, which stands for no date"
    yield "negative_time", -(2**63), 0, "lies before 1970"
    yield "future_time", math.floor(now) + SKEW + 1, 2**63 - 1, "lies in the future"


def _unit(seconds: int, now: float) -> str:
    for name, factor in (("milliseconds", 1000), ("microseconds", 10**6), ("nanoseconds", 10**9)):
        if 0 < seconds / factor <= now + SKEW and seconds / factor > now / 4:
            return f"; it looks like {name}, want seconds"
    return ""


def _whole(value: float | Decimal) -> str:
    if not math.isfinite(value):
        raise NoEventError("missing_field" if value != value else "bad_id", f"{value} is no number")
    if value != int(value):
        raise NoEventError("bad_id", f"{value} is no whole number")
    if isinstance(value, float) and abs(value) >= _EXACT:
        raise NoEventError("bad_id", f"{value:.0f} has lost digits as a floating-point number; store it as text")
    return str(int(value))


def _wrong(text: str) -> str:
    """What keeps a stripped text from being an id; empty if nothing does."""
    if not text:
        return "is empty"
    if len(text) > ID_LENGTH:
        return f"is longer than {ID_LENGTH} characters"
    kinds = {unicodedata.category(letter) for letter in text} if not text.isalnum() else set()
    if "Cs" in kinds:
        return "holds half a surrogate pair, which no UTF-8 can spell"
    return "holds a control character" if kinds & {"Cc", "Zl", "Zp"} else ""


def _shown(value: object) -> str:
    return ascii(value) if len(ascii(value)) <= 80 else f"{ascii(value)[:77]}..."
