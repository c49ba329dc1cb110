"""Days without any interaction before the end of a preparation: their files may not have come."""

from datetime import date, timedelta
from pathlib import Path

import pyarrow.parquet as pq

from core.contracts import DAY
from core.errors import Unavailable

ANY = -1  # as many days as there are


def days(interactions: Path, as_of: str) -> int:
    """How many whole days before `as_of` nothing was taken on, by the prepared table."""
    newest = int(pq.read_table(interactions, columns=["timestamp"])["timestamp"].to_numpy().max())
    return (date.fromisoformat(as_of) - date(1970, 1, 1)).days - 1 - newest // DAY


def told(count: int, as_of: str) -> str:
    """Which days they are, in words."""
    newest, last = (date.fromisoformat(as_of) - timedelta(days=back) for back in (count + 1, 1))
    return f"nothing was taken on {last}, the last day before {as_of}; the newest interaction is of {newest}"


def judge(count: int, as_of: str, allowed: int) -> None:
    """Raises Unavailable if there are more such days than are allowed: they may come later."""
    if allowed != ANY and count > allowed:
        raise Unavailable(
            f"{told(count, as_of)}, and --quiet-days allows {allowed}: bring the days that lack and repeat this, or "
            f"allow it by --quiet-days {count}"
        )
