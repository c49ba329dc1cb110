"""Where the figures of days lie: `<home>/<data set>/metrics/<order>/day=2026-01-31/release=3.parquet`, written whole.

The day is the folder's name, as DuckDB, pandas and Arrow read partitions by. Beside the figures a file says, in the
schema's metadata, what it was made of. `missing.parquet` is the file of a day that no release could score.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core import settings, storage
from core.progress import say
from llmcf.daily.choosing import Known, date_of

SCHEMA = pa.schema(
    [
        ("release", pa.int32()),  # null where none could score the day
        ("known_until", pa.date32()),  # the first day of which the release knew nothing
        ("dimension", pa.string()),  # all, activity, item age, item popularity, user, item, category
        ("segment", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),  # null where there is none, as an AUC of one class
        ("low", pa.float64()),  # of the 95 % interval over users; null for coverage
        ("high", pa.float64()),
        ("rows", pa.int32()),
        ("requests", pa.int32()),
        ("users", pa.int32()),
        ("missing", pa.string()),  # why a day has no figures; null where it has
    ]
)
_MADE = b"llmcf"
_MISSING = "missing.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a file was made of.

    Args:
        key: of all of it; equal keys are of equal figures.
        rows: digest of the day's rows.
        source: the release's own, for lineage; "" in files of before it was kept. `key` covers it.
    """

    release: int
    until: int
    key: str
    rows: str
    source: str = field(default="", compare=False)

    @property
    def known(self) -> Known:
        return Known(self.until, self.release)


def root(dataset: str, order: str) -> Path:
    """The folder of all days."""
    return settings.home() / dataset / "metrics" / order


def folder(dataset: str, order: str, day: int) -> Path:
    return root(dataset, order) / f"day={date_of(day)}"


def made(place: Path) -> list[Made]:
    """What the files of a day say of themselves; one that cannot be read is removed, and so made anew."""
    found = []
    for path in sorted(place.glob("release=*.parquet")):
        try:
            found.append(Made(**json.loads(pq.read_metadata(path).metadata[_MADE])))
        except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
            say(f"{path} is not whole ({type(error).__name__}) and is removed")
            path.unlink()
    return found


def write(place: Path, lines: Sequence[Mapping[str, Any]], of: Made) -> Path:
    """Figures in the place of what was said of the same release; the day is not missing any more."""
    same = {"release": of.release, "known_until": date_of(of.until), "missing": None}
    path = place / f"release={of.release}.parquet"
    _write(path, [{**line, **same} for line in lines], asdict(of))
    (place / _MISSING).unlink(missing_ok=True)
    return path


def write_missing(place: Path, why: str) -> Path:
    line = dict.fromkeys(SCHEMA.names) | {"dimension": "all", "segment": "all", "missing": why}
    _write(place / _MISSING, [line], {})
    return place / _MISSING


def _write(path: Path, lines: Sequence[Mapping[str, Any]], of: Mapping[str, Any]) -> None:
    table = pa.Table.from_pylist([dict(line) for line in lines], schema=SCHEMA)
    storage.write_table(path, table, SCHEMA.with_metadata({_MADE: json.dumps(of, sort_keys=True).encode()}))


def read(dataset: str, order: str, first: date | None = None, last: date | None = None) -> pa.Table:
    """The figures of the days between two, both counted, with the column `day` first; all of them if none is given.

    Raises:
        pyarrow.ArrowInvalid: if a file is no Parquet; the next backfill of its day makes it anew.
    """
    parts = []
    for path in sorted(root(dataset, order).glob("day=*/*.parquet")):
        day = date.fromisoformat(path.parent.name.removeprefix("day="))
        if (first is None or first <= day) and (last is None or day <= last):
            table = storage.parquet(path).replace_schema_metadata()
            parts.append(table.add_column(0, "day", pa.array([day] * table.num_rows, pa.date32())))
    empty = pa.schema([("day", pa.date32()), *SCHEMA]).empty_table()
    return pa.concat_tables([empty, *parts])
