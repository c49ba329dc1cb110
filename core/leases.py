"""Leases: locks between machines that share a file system, which end by themselves when their holder is gone.

`flock` is worth nothing on some network file systems: NFS mounted `nolock` takes it for granted, Lustre's `localflock`
asks one machine only, mounts of object stores often have none. A lease rests on what these keep: a hard link never
takes the place of a file. It is the writer's side of filelock's `SoftReadWriteLock`: the holder renews a record, and
whoever has seen it unchanged for LLMCF_LEASE_SECONDS, by a clock of its own, may take the lease over; one of several
takers gets it, in the next generation. Nothing stops an old holder that was asleep, so it asks `Lease.held` before it
writes, and what it may write in between must do no harm.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import SoftFileLockProtocolError, SoftReadWriteLock, Timeout

from core import settings
from core.errors import LlmcfError
from core.progress import say

_MOUNTS = Path("/proc/self/mountinfo")


class NoLeasesError(LlmcfError):
    """The file system cannot keep leases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who holds a lease, and how many seconds ago the record was renewed, by the file system's clock."""

    host: str
    pid: int
    age: float


class Lease:
    """The lease on `path`, which itself is never written; the records lie in the folder `<path>.rw`.

    One thread takes and gives back. An object remembers since when it has seen another's record unchanged, so keep it
    between tries.
    """

    def __init__(self, path: Path) -> None:
        seconds = settings.lease_seconds()
        self.path = path
        self._lock = SoftReadWriteLock(
            path,
            is_singleton=False,  # two in one process are two
            heartbeat_interval=seconds / 3,
            stale_threshold=seconds,
            poll_interval=min(0.25, seconds / 4),
        )

    def take(self, *, wait: bool = False) -> bool:
        """Whether the lease is ours now; without `wait` at once.

        Raises:
            NoLeasesError: where the file system cannot keep leases.
            LlmcfError: where it takes no more files, or the records are another account's.
        """
        try:
            self._lock.acquire_write(blocking=wait)
        except Timeout:
            return False
        except SoftFileLockProtocolError as error:
            raise NoLeasesError(f"leases do not hold under {self.path.parent}: {error}") from None
        except OSError as error:
            raise LlmcfError(f"no lease can be taken under {self.path.parent} ({error.strerror})") from None
        except RuntimeError as error:  # its records are another account's, or a link
            raise LlmcfError(f"no lease can be taken under {self.path.parent} ({error})") from None
        return True

    @property
    def held(self) -> bool:
        """Whether the lease is still ours: nobody has begun a generation after ours."""
        mine = self._lock.generation
        return mine is not None and self._lock.compromise is None and _generations(self.path)[-1:] == [mine]

    def release(self) -> None:
        """Give the lease back; one that was lost or never taken is left alone."""
        with suppress(OSError, SoftFileLockProtocolError):  # a folder that was removed
            self._lock.release(force=True)


@contextmanager
def waited_for(path: Path) -> Iterator[None]:
    """Hold the lease on `path`, as soon as it is free; where there are none, say so and go on without."""
    lease = Lease(path)
    try:
        lease.take(wait=True)
    except NoLeasesError as error:
        say(f"{error}; {path.parent} is not kept from others meanwhile: run this from one place at a time")
    try:
        yield
    finally:
        lease.release()


def owner(path: Path) -> Owner | None:
    """Who holds the lease on `path`, dead or alive; None if nobody does."""
    with suppress(OSError, ValueError, KeyError, IndexError):  # never taken, or just given back
        writer = _fields(_records(path) / f"{_generations(path)[-1]:020}")["writer"]
        record = path.with_name(f"{path.name}.rw") / "holders" / writer
        told = _fields(record)
        age = max(0.0, clock(path.parent) - record.stat().st_mtime)
        return Owner(host=told["host"], pid=int(told["pid"]), age=age)
    return None


def probe(folder: Path) -> list[str]:
    """Try out what locks are worth under `folder`; what there is to say about `flock` there.

    Two machines cannot be tried from one: what the mount says about locks between them is told as well.

    Raises:
        LlmcfError: if leases do not hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".probe-", ignore_cleanup_errors=True) as made:
        one, other = (Lease(Path(made) / "lease") for _ in range(2))
        try:
            first, second = one.take(), other.take()
        finally:
            one.release()
            other.release()
        if not first or second:
            raise LlmcfError(f"leases do not hold under {folder}: {'two' if second else 'no'} takers of one got it")
        flock = _flock_holds(Path(made) / "flock")
    where = "between machines" if flock else "even between two processes"
    doubts = local_locks(mount(folder)) if flock else ["flock does not hold"]
    return [
        f"{folder}: {doubt}, so the locks of verbs that share no queue are worth nothing {where}; "
        "run such verbs of one workspace from one place at a time (leases are not affected)"
        for doubt in doubts
    ]


@dataclass(frozen=True, slots=True)
class Mount:
    kind: str
    options: frozenset[str]


def mount(folder: Path) -> Mount | None:
    """The file system that holds `folder`; None where the system does not say."""
    found: tuple[int, Mount] | None = None
    with suppress(OSError, ValueError, IndexError):
        for line in _MOUNTS.read_text(encoding="utf-8").splitlines():
            before, after = line.split(" - ", 1)
            place, own = before.split()[4:6]
            place = place.replace(r"\040", " ")
            if not folder.resolve().is_relative_to(place) or (found and found[0] > len(place)):
                continue
            kind, _, options = after.split(" ", 2)
            found = len(place), Mount(kind, frozenset(f"{own},{options}".split(",")))
    return found[1] if found else None


def local_locks(found: Mount | None) -> list[str]:
    """Why `flock` may hold on this machine alone, by what the mount says."""
    if found is None:
        return []
    kind, options = found.kind, found.options
    if kind.startswith("nfs") and (bad := options & {"nolock", "local_lock=all", "local_lock=flock"}):
        return [f"an {kind} mounted with {min(bad)} keeps flock to one machine"]
    if kind == "lustre" and "flock" not in options:
        return [f"a lustre mounted with{' localflock' if 'localflock' in options else 'out flock'} keeps it to itself"]
    if kind.startswith("fuse."):
        return [f"a {kind} may keep flock to one machine"]
    return []


def _flock_holds(path: Path) -> bool:
    """Whether a second open file is refused; flock asks by open file, so that one process can try it."""
    with path.open("wb") as one, path.open("wb") as other:
        try:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False  # not even one is given it
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _records(path: Path) -> Path:
    return path.with_name(f"{path.name}.rw") / "gen"


def _generations(path: Path) -> list[int]:
    """The generations of the lease that can be seen, ascending."""
    with suppress(OSError):  # gone, or out of reach: then nothing says that it is ours
        return sorted(int(name) for name in os.listdir(_records(path)) if name.isascii() and name.isdigit())  # noqa: PTH208
    return []


def _fields(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="ascii").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def clock(folder: Path) -> float:
    """The time of the file system, which is another machine's on a network."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock-") as new:
            return os.fstat(new.fileno()).st_mtime
    except OSError:  # not ours to write
        return time.time()
