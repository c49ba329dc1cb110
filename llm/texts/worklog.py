"""What workers are doing, for whoever asks: a note for each in the cache's folder, renewed while it writes.

`work/<worker>.json` says who it is, what it has written and how fast; `work/<digest>.names` holds the names of all
texts that are asked for, 16 bytes each, so that nobody has to put the questions again to know what is missing.
"""

import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from core import leases, settings, storage
from core.errors import LlmcfError
from llm.texts.cache import FOLDER, TextCache
from llm.texts.queue import Part

_FORGOTTEN_S = 14 * 86_400  # after which a note is nobody's business any more
WRITING, DONE, FAILED = "writing", "done", "failed"


@dataclass(slots=True)
class Account:
    """What came of a run. `again` counts texts that were asked for another time, `lost` those whose lease was lost."""

    texts: int = 0
    tokens: int = 0
    again: int = 0
    lost: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A worker's note as it is stored.

    Args:
        job: the folder that the texts are for, relative to the home.
        names: digest of the names that are asked for.
        part: `i/N`, or empty for the shared queue.
        age: seconds since the worker renewed it, by the file system's clock; not stored.
    """

    job: str
    names: str
    engine: str
    part: str
    host: str
    pid: int
    begun: float
    state: str
    texts: int
    tokens: int
    seconds: float
    age: float = 0.0

    @property
    def owner(self) -> str:
        return f"{self.host}:{self.pid}"

    @property
    def alive(self) -> bool:
        return self.state == WRITING and self.age < settings.lease_seconds()

    def rate(self, count: int) -> float:
        """`count` a second of its writing."""
        return count / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a run is for, as its notes say it: the folder that is filled, and the names of all its texts."""

    folder: Path
    names: Sequence[str]

    @property
    def place(self) -> str:
        return place(self.folder)


def place(folder: Path) -> str:
    """How notes name a folder of the home: the same on machines that mount it elsewhere."""
    return folder.relative_to(settings.home()).as_posix()


@contextmanager
def noted(cache: TextCache, job: Job, account: Account, *, engine: str, part: Part | None) -> Iterator[None]:
    """Keep a note of the work inside, whose `account` goes on meanwhile."""
    cache.prepare()
    folder = cache.folder / "work"
    folder.mkdir(exist_ok=True)
    _forget(folder)
    digest = storage.digest(sorted(job.names))[:16]
    names = folder / f"{digest}.names"
    if not names.exists():
        with storage.atomic_path(names) as beside:
            beside.write_bytes(bytes.fromhex("".join(job.names)))
    path = folder / f"{secrets.token_hex(8)}.json"
    begun, ended = time.time(), threading.Event()

    def write(state: str) -> None:
        storage.write_json(
            path,
            {
                "job": job.place,
                "names": digest,
                "engine": engine,
                "part": str(part or ""),
                "host": os.uname().nodename,
                "pid": os.getpid(),
                "begun": begun,
                "state": state,
                **{name: value for name, value in asdict(account).items() if name in ("texts", "tokens", "seconds")},
            },
        )

    def renew() -> None:
        while not ended.wait(settings.lease_seconds() / 3):
            try:
                write(WRITING)
                names.touch()  # as old as the last note that needs it
            except Exception:  # noqa: S112 - a note that cannot be written stops no work
                continue

    write(WRITING)
    names.touch()
    thread = threading.Thread(target=renew, name="worklog", daemon=True)
    thread.start()
    state = FAILED
    try:
        yield
        state = DONE
    finally:
        ended.set()
        thread.join()
        write(state)


def notes(job: str) -> list[tuple[Path, Note]]:
    """The notes of a job's workers and the caches they write to, the newest first."""
    found = []
    for path in (settings.home() / FOLDER).glob("*/work/*.json"):
        try:
            stored = storage.read_json(path)
            if stored["job"] == job:
                age = max(0.0, leases.clock(path.parent) - path.stat().st_mtime)
                found.append((path.parents[1], Note(**stored, age=age)))
        except (OSError, ValueError, KeyError, TypeError):  # of another version, or just removed
            continue
    return sorted(found, key=lambda one: -one[1].begun)


def asked(cache: Path, note: Note) -> list[str]:
    """The names of all texts that the note's run asks for.

    Raises:
        LlmcfError: if they were removed.
    """
    path = cache / "work" / f"{note.names}.names"
    try:
        raw = np.frombuffer(path.read_bytes(), dtype="V16")
    except FileNotFoundError:
        raise LlmcfError(f"{path} was removed, which says what is asked for; the next run writes it anew") from None
    return [name.tobytes().hex() for name in raw]


def _forget(folder: Path) -> None:
    """Remove what is old and belongs to nobody alive."""
    limit = time.time() - _FORGOTTEN_S
    for path in folder.iterdir():
        try:
            if path.stat().st_mtime < limit:
                path.unlink()
        except OSError:
            continue
