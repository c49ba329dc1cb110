"""A sample of what rankers were given, to be held against what the same features are offline (`llmcf audit skew`).

Parquet files in `<home>/<data set>/service/served/`, a row a candidate that was shown; each worker writes its own, and
of all the newest are kept. Which requests are sampled is drawn here: their ids are the callers' choice.
"""

import os
import random
import time
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core import storage
from core.contracts import DENSE, HISTORY
from core.errors import LlmcfError
from core.progress import say
from llmcf.serving.question import Ranking

SHARE = 0.02  # of the requests
KEPT = 200  # files
_ROWS = 5_000  # with which a file is written
_SECONDS = 600.0  # after which it is however few they are
_LOOK_EVERY_S = 5.0

SCHEMA = pa.schema(
    [
        ("request", pa.string()),
        ("time", pa.float64()),  # Unix seconds
        ("release", pa.int64()),
        ("day", pa.int64()),  # of the feature store's clock, from 1970-01-01
        ("user", pa.int64()),  # row of the vocabulary
        ("item", pa.int64()),
        ("position", pa.int64()),  # how many interactions of the user were known
        ("history", pa.list_(pa.int64(), HISTORY)),
        ("dense", pa.list_(pa.float32(), len(DENSE))),  # null where the ranker reads none
    ]
)


def folder(place: Path) -> Path:
    """Where the files lie, of a service that writes into `place`."""
    return place / "served"


class ServedLog:
    """One worker's part of the sample. Safe for threads."""

    def __init__(self, place: Path, *, share: float = SHARE) -> None:
        self._folder, self._share = folder(place), share
        self._draw = random.Random()  # noqa: S311 - nobody has to be kept from guessing it
        self._rows: list[dict[str, Any]] = []
        self._since = time.monotonic()  # of the first of the rows
        self._lock, self._stop = Lock(), Event()
        self._thread = Thread(target=self._write_now_and_then, name="writes the sample", daemon=True)
        self._thread.start()

    def offer(self, request: str, release: int, day: int, shown: Ranking, *, reads_dense: bool) -> None:
        """Keep what was shown of a ranking, if it falls into the sample and the user is known.

        Args:
            reads_dense: whether its ranker was given the as-of features.
        """
        person = shown.person
        if person is None or person.row is None or shown.dense_CX is None or self._draw.random() >= self._share:
            return
        history, now = list(person.state["history"]), time.time()
        dense = shown.dense_CX.tolist() if reads_dense else [None] * len(shown.item_C)
        rows = [
            {
                "request": request,
                "time": now,
                "release": release,
                "day": day,
                "user": person.row,
                "item": item,
                "position": person.position,
                "history": history,
                "dense": of_item,
            }
            for item, of_item in zip(shown.item_C.tolist(), dense, strict=True)
        ]
        with self._lock:
            self._since = self._since if self._rows else time.monotonic()
            self._rows += rows[: max(0, 2 * _ROWS - len(self._rows))]  # a disk that takes nothing costs no memory

    def close(self) -> None:
        """Write what there is."""
        self._stop.set()
        self._thread.join()
        self._write()

    def _write_now_and_then(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            with self._lock:
                due = len(self._rows) >= _ROWS or (self._rows and time.monotonic() - self._since >= _SECONDS)
            if due:
                self._write()

    def _write(self) -> None:
        with self._lock:
            rows, self._rows = self._rows, []
        if not rows:
            return
        name = f"{time.time_ns()}-{os.getpid()}.parquet"
        try:
            storage.private_folder(self._folder)
            storage.write_table(self._folder / name, pa.Table.from_pylist(rows, schema=SCHEMA), SCHEMA)
            for old in sorted(self._folder.glob("*.parquet"))[:-KEPT]:
                old.unlink(missing_ok=True)
        except (OSError, LlmcfError) as error:
            say(f"the sample of served features is not written: {error}")


def read(place: Path) -> pa.Table:
    """All rows that are kept, oldest first; what a worker removes meanwhile is left out."""
    found = [SCHEMA.empty_table()]
    for path in sorted(folder(place).glob("*.parquet")):
        with suppress(FileNotFoundError):
            found.append(pq.read_table(path, schema=SCHEMA))
    return pa.concat_tables(found)
