"""Where a Triton server finds its models and its backend: a private folder of links whose path any shell takes.

Triton's Python backend starts its processes through a shell with unquoted paths, and they read file names as ASCII.
LLMCF_HOME, LLMCF_TRITON_MODELS and the environments may be called anything, so the server is shown links only.
"""

import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from core.contracts import TRITON_MODELS
from core.errors import Unavailable

_PREFIX = "llmcf-triton-"
_PLAIN = re.compile(r"[A-Za-z0-9._/-]+")
_PLACES = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - a folder of our own is made there, for this user only
_OLD_S = 60.0  # a folder younger than that may not be locked yet


@dataclass(frozen=True, slots=True)
class Runtime:
    """`models` holds a link to each of the contract's models, `backends` the Python backend."""

    models: Path
    backends: Path


@contextmanager
def runtime(repository: Path, backend: Iterable[Path]) -> Iterator[Runtime]:
    """A folder for one server, readable by this user only, gone afterwards.

    Args:
        repository: of models; any other folder in it would stop Triton, so only the contract's are shown.
        backend: files of the Python backend, which must lie side by side.

    Raises:
        Unavailable: if there is no place for it.
    """
    place = _place()
    _remove_left_overs(place)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))  # mode 0700
    try:
        with FileLock(folder / "lock"):
            made = Runtime(folder / "models", folder / "backends")
            made.models.mkdir()
            for name in TRITON_MODELS:
                (made.models / name).symlink_to(repository.resolve() / name)
            (made.backends / "python").mkdir(parents=True)
            for file in backend:
                (made.backends / "python" / file.name).symlink_to(file)
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place() -> Path:
    """The folder for temporary files if a shell takes its name, else one that it does."""
    for place in map(Path, (tempfile.gettempdir(), *_PLACES)):
        if _PLAIN.fullmatch(str(place)):
            with suppress(OSError), tempfile.TemporaryFile(dir=place):
                return place
    raise Unavailable(f"none of {', '.join(_PLACES)} can be written to; Triton needs a folder there for its links")


def _remove_left_overs(place: Path) -> None:
    """What killed processes left: nobody holds its lock, as the kernel lets go of it with the process."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError, Timeout):  # another user's, gone meanwhile, or in use
            if time.time() - folder.stat().st_mtime > _OLD_S:
                with FileLock(folder / "lock", timeout=0):
                    shutil.rmtree(folder)
