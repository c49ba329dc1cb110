"""Steps that are skipped when their inputs have not changed, and safe to kill and run again.

A step fills one folder. When it is done, `step.json` inside says what it was made from (configuration, the inputs by
name and digest, the step's own source) and what it holds. The folder appears whole or not at all.
"""

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from core import leases, settings, storage
from core.errors import Missing
from core.remedies import maker
from core.settings import PROJECT

STAMP = "step.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a step's result depends on.

    Args:
        folder: what it fills.
        config: a dataclass or a JSON-serialisable value.
        inputs: files, or folders of other steps, that it reads.
        code: source files or folders, relative to the project, whose change makes the result stale.
    """

    folder: Path
    config: Any
    inputs: Sequence[Path] = ()
    code: Sequence[str] = ()

    @property
    def key(self) -> str:
        return self.origin()["key"]

    def origin(self) -> dict[str, Any]:
        """The part of a stamp that says what a run would be made from now; equal keys are of equal origins."""
        config = dataclasses.asdict(self.config) if dataclasses.is_dataclass(self.config) else self.config  # pyright: ignore[reportArgumentType]
        found = [content_of(path) for path in self.inputs]
        code = _code_digest(tuple(self.code))
        return {
            "key": storage.digest(config, found, code),
            "config": config,
            "inputs": dict(zip(map(name_of, self.inputs), found, strict=True)),
            "source": {"files": list(self.code), "digest": code},
        }

    def stamp(self) -> dict[str, Any] | None:
        """The stamp of the last finished run, or None if there is none or its outputs are not all there."""
        try:
            stamp = storage.read_json(self.folder / STAMP)
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        whole = all(
            (self.folder / name).is_file() and (self.folder / name).stat().st_size == size
            for name, size in stamp["outputs"].items()
        )
        return stamp if whole else None

    def current(self) -> dict[str, Any] | None:
        """The stamp if nothing has changed since, else None."""
        stamp = self.stamp()
        return stamp if stamp and stamp["key"] == self.key else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `run` found or did: `summary` is the step's own JSON-serialisable account of its result."""

    folder: Path
    skipped: bool
    seconds: float
    summary: dict[str, Any] = field(default_factory=dict)


def run(
    step: Step,
    work: Callable[[Path], dict[str, Any]],
    *,
    force: bool = False,
    together: Callable[[], None] | None = None,
) -> Outcome:
    """Run `work(empty folder) -> summary` unless the step is current; two processes never run the same step at once.

    `key` is taken before the work starts, so an input that changes meanwhile makes the result stale, not wrong.

    Args:
        together: what comes first where the step is not current, and what any number of processes may do side by side,
            on any machines: a lease then keeps them apart afterwards, where the file system's locks do not.
    """
    if together and (force or not step.current()):
        together()
    step.folder.parent.mkdir(parents=True, exist_ok=True)
    apart = leases.waited_for(step.folder.with_name(f".lease-of-{step.folder.name}")) if together else nullcontext()
    with apart, FileLock(step.folder.with_name(f".{step.folder.name}.lock")):
        if not force and (stamp := step.current()):
            _complete(step, stamp)
            return Outcome(step.folder, True, stamp["seconds"], stamp["summary"])
        for left_over in step.folder.parent.glob(f".{step.folder.name}.*"):  # of a killed run
            if left_over.is_dir():
                shutil.rmtree(left_over)
        origin, start = step.origin(), time.monotonic()
        with storage.atomic_folder(step.folder) as folder:
            summary = work(folder)
            seconds = round(time.monotonic() - start, 3)
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            stamp = {
                **origin,
                "made": moment(time.time()),
                "content": storage.digest([(str(f.relative_to(folder)), storage.sha256(f)) for f in files]),
                "outputs": {str(f.relative_to(folder)): f.stat().st_size for f in files},
                "seconds": seconds,
                "summary": summary,
            }
            storage.write_json(folder / STAMP, stamp)
        return Outcome(step.folder, False, seconds, summary)


def require(folder: Path, remedy: str) -> dict[str, Any]:
    """The stamp of a finished step's folder.

    Raises:
        Missing: if the step has not run; `remedy` is the command that runs it.
    """
    stamp = Step(folder=folder, config=None).stamp()
    if stamp is None:
        raise Missing(f"{folder} is missing or incomplete", remedy)
    return stamp


def require_current(folder: Path, remedy: str) -> dict[str, Any]:
    """The stamp of a finished step's folder whose inputs still are what it was made from.

    Row numbers mean something in one preparation of the data alone: texts or scores of another belong to other rows.
    An input that is gone proves nothing, and neither does a stamp that names none.

    Raises:
        Missing: if the step has not run, or an input holds something else now; `remedy` is the command that runs it.
    """
    stamp = require(folder, remedy)
    for name, content in stamp.get("inputs", {}).items():
        path = located(name)
        if (path.is_file() or (path / STAMP).is_file()) and content_of(path) != content:
            raise Missing(f"{folder} was made before {path} changed", remedy)
    return stamp


def content_of(path: Path) -> str:
    """The content digest of a finished step's folder, or of a plain file.

    Raises:
        Missing: if it is neither; names the verb that makes it.
    """
    if path.is_file():
        return storage.sha256(path)
    try:
        return storage.read_json(path / STAMP)["content"]
    except (FileNotFoundError, json.JSONDecodeError):
        raise Missing(f"{path} is missing or incomplete", maker(path)) from None


def name_of(path: Path) -> str:
    """How stamps name an input: from LLMCF_HOME where it lies in it, so that a home can be moved; `located` is back."""
    home = settings.home()
    path = path.absolute()
    return path.relative_to(home).as_posix() if path.is_relative_to(home) else str(path)


def located(name: str) -> Path:
    """Where the input of that name is."""
    return settings.home() / name


def source_changed(stamp: dict[str, Any]) -> bool:
    """Whether the code that made a folder is another one now; no, for a stamp that does not say."""
    source = stamp.get("source")
    if source is None:
        return False
    files = tuple(source["files"])
    return not all((PROJECT / name).exists() for name in files) or _code_digest(files) != source["digest"]


def _complete(step: Step, stamp: dict[str, Any]) -> None:
    """Let a stamp of before say what it was made from: its key proves that it was this."""
    if "inputs" not in stamp:
        made = moment((step.folder / STAMP).stat().st_mtime)
        storage.write_json(step.folder / STAMP, {"made": made, **stamp, **step.origin()})


def moment(seconds: float) -> str:
    """A Unix time as ISO 8601, to the second."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


_code_digests: dict[tuple[str, ...], str] = {}


def _code_digest(code: tuple[str, ...]) -> str:
    if code not in _code_digests:
        files = sorted({f for name in code for f in _sources(PROJECT / name)})
        _code_digests[code] = storage.digest([(str(f.relative_to(PROJECT)), storage.sha256(f)) for f in files])
    return _code_digests[code]


def _sources(path: Path) -> list[Path]:
    if path.is_dir():
        return [f for f in path.rglob("*") if f.suffix in {".py", ".yaml", ".pbtxt"} and "__pycache__" not in f.parts]
    assert path.is_file(), f"{path} is named as a step's source and does not exist"
    return [path]
