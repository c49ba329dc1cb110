"""A table in a user's file as it is read: its columns, the line of each row, and the lines that are no rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

WANTED = "want CSV (plain, or .gz, .zst, .bz2, .xz), Parquet, Arrow or JSON lines"
_SHOWN, _NAME = 20, 40  # columns that a message shows, and characters of each


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


def named(columns: Sequence[str]) -> str:
    """Columns for a message: on one line, with quotes where something could not be seen, and not without end."""
    shown = [name if name == name.strip() != "" and name.isprintable() else repr(name) for name in columns]
    shown = [name if len(name) <= _NAME else f"{name[: _NAME - 3]}..." for name in shown[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(columns) - _SHOWN:,} more" if len(columns) > _SHOWN else "")
