"""Where a Triton server finds its models and its backend: a private folder of links whose path any shell takes.

Triton's Python backend starts its processes through a shell with unquoted paths, and they read file names as ASCII.
LLMCF_HOME, LLMCF_TRITON_MODELS and the environments may be called anything, so the server is shown links only.
"""

import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from core.contracts import SCORE, TRITON_MODELS
from core.errors import Unavailable
from llmcf.serving import triton_config

_PREFIX = "llmcf-triton-"
_PLAIN = re.compile(r"[A-Za-z0-9._/-]+")
_PLACES = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - a folder of our own is made there, for this user only
_CONFIG = "config.pbtxt"
_OLD_S = 60.0  # a folder younger than that may not be locked yet


@dataclass(frozen=True, slots=True)
class Runtime:
    """`models` holds a link to each of the contract's models, or to versions of them; `backends` the Python backend."""

    models: Path
    backends: Path

    def show(self, repository: Path, versions: Mapping[str, int]) -> None:
        """Add a version of each model, taken from `repository`; a server that looks again serves it beside others."""
        for name, version in versions.items():
            place, target = self.models / name, repository.resolve() / name / str(version)
            if (place / str(version)).is_symlink():
                continue
            if place.exists():
                (place / str(version)).symlink_to(target)
                continue
            beside = self._beside(name)  # a folder that Triton finds must be whole
            (beside / str(version)).symlink_to(target)
            (beside / _CONFIG).write_text(triton_config.render(name), encoding="utf-8")
            beside.rename(place)

    def hide(self, versions: Mapping[str, int]) -> None:
        """Take a version of each model away; what it is computing is still answered."""
        for name, version in versions.items():
            place = self.models / name
            if {path.name for path in place.iterdir()} <= {str(version), _CONFIG}:  # Triton keeps the last otherwise
                place.rename(self._beside(name))
            else:
                (place / str(version)).unlink(missing_ok=True)

    def renew(self, versions: Mapping[str, int]) -> None:
        """Have Triton load a version of each model once more; what answers does so until it has."""
        for name, version in versions.items():
            (self.models / name / str(version) / "__pycache__").touch()  # an empty file, see assemble.put_code

    def _beside(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.models.parent))


@contextmanager
def runtime(repository: Path | None, backend: Iterable[Path]) -> Iterator[Runtime]:
    """A folder for one server, readable by this user only, gone afterwards.

    Args:
        repository: of models; any other folder in it would stop Triton, so only the contract's are shown. None for a
            server that is shown one version after the other, by `Runtime.show`.
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
            if repository is not None:
                scores = [SCORE] if (repository / SCORE).is_dir() else []  # older releases have no such model
                for name in (*TRITON_MODELS, *scores):
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
