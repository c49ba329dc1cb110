"""Releases on disk: made beside their place and renamed, so that each is whole or not there, and one of them is live.

`live/<data set>.json` is the written pointer: the live release, its exact Triton versions, and what was live before.
`live/<data set>` links to the release's folder, for servers that poll one: it follows the pointer in one rename.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from core import settings, storage
from core.errors import LlmcfError, Missing, UsageError
from core.homes import home_id
from core.settings import Workspace
from llmcf.serving import manifest
from llmcf.serving.manifest import Release

KEEP = 3  # releases of a data set, the live one among them, that can be served again


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """Which release is live. `before` lists what was live earlier, oldest first; `last` is the highest number given."""

    release: int
    versions: dict[str, int]
    last: int
    before: list[int] = field(default_factory=list)
    changed: str = ""


@contextmanager
def locked() -> Iterator[None]:
    """One process at a time changes the repository."""
    settings.triton_models().mkdir(parents=True, exist_ok=True)
    with FileLock(settings.triton_models() / ".releases.lock"):
        yield


def datasets() -> list[str]:
    """The data sets that have releases."""
    return sorted(path.name for path in manifest.root("").glob("*") if path.is_dir())


def numbers(dataset: str) -> list[int]:
    """The releases of a data set, oldest first."""
    return sorted(int(path.name) for path in manifest.root(dataset).glob("*") if path.name.isdigit())


def read(dataset: str, number: int) -> Release:
    """Raises UsageError if there is no such release."""
    known = numbers(dataset)
    if number not in known:
        listed = ", ".join(map(str, known)) or "none"
        raise UsageError(f"there is no release {number} of {dataset}; there are: {listed}")
    return Release.read(manifest.folder(dataset, number))


def of(dataset: str) -> list[Release]:
    """The releases of a data set, oldest first."""
    return [read(dataset, number) for number in numbers(dataset)]


def pointer(dataset: str) -> Pointer | None:
    """The written pointer, or None if nothing was ever promoted."""
    path = _pointer_file(dataset)
    return Pointer(**storage.read_json(path)) if path.exists() else None


def live(dataset: str) -> Release | None:
    """The live release, or None."""
    found = pointer(dataset)
    return read(dataset, found.release) if found else None


def newest(dataset: str) -> Release | None:
    """The release that was made last, live or not."""
    known = numbers(dataset)
    return read(dataset, known[-1]) if known else None


def require(dataset: str, number: int | None = None) -> Release:
    """A release that this home can serve: the live one if no number is given.

    Raises:
        UsageError: if there is no such release.
        LlmcfError: if nothing is live, or it was made in another home.
    """
    release = live(dataset) if number is None else read(dataset, number)
    if release is None:
        raise Missing(f"no release of {dataset} is live", _how_to_get_one(dataset))
    if release.home != home_id():
        raise LlmcfError(
            f"release {release.number} of {dataset} reads another home than {settings.home()}: set LLMCF_HOME to the "
            f"one it was made in, or run `{release.remedy}` in this one"
        )
    return release


def next_number(dataset: str) -> int:
    """A number that was never given before."""
    found = pointer(dataset)
    return 1 + max([*numbers(dataset), found.last if found else 0])


@contextmanager
def staged(dataset: str, number: int) -> Iterator[Path]:
    """An empty folder to fill and to try; it becomes the release by one rename if the block ends well."""
    for left_over in manifest.root(dataset).glob(".*"):  # of a killed run
        shutil.rmtree(left_over)
    with storage.atomic_folder(manifest.folder(dataset, number)) as folder:
        yield folder


def promote(release: Release) -> None:
    """Make a release live: first the pointer, then the link that follows it. Repeating it mends a killed one."""
    found = pointer(release.dataset)
    if found is None or found.release != release.number:
        before = [*found.before, found.release] if found else []
        _point(release, [number for number in before if number != release.number])
    _link(release.dataset)


def rollback(dataset: str) -> Release:
    """Make live what was live before, and return it.

    Raises:
        LlmcfError: if nothing is live, or nothing that was live before is kept.
    """
    found, kept = pointer(dataset), set(numbers(dataset))
    if found is None:
        raise Missing(f"no release of {dataset} is live", _how_to_get_one(dataset))
    before = [number for number in found.before if number in kept]
    if not before:
        raise LlmcfError(
            f"no release of {dataset} that was live before {found.release} is kept; "
            f"`llmcf release list --dataset {dataset}` shows those there are"
        )
    release = read(dataset, before[-1])
    _point(release, before[:-1])
    _link(dataset)
    return release


def kept(dataset: str, keep: int = KEEP) -> set[int]:
    """What pruning leaves: the live one, those it can be rolled back to, the newest; `keep` numbers together."""
    found = pointer(dataset)
    there = numbers(dataset)
    wanted = [found.release, *reversed(found.before)] if found else []
    ordered = [number for number in (*wanted, *reversed(there)) if number in there]
    return set(list(dict.fromkeys(ordered))[: max(keep, 1)])


def prune(dataset: str, keep: int = KEEP) -> list[Release]:
    """Remove all releases but `kept`; returns those removed. Their collections are left to the caller."""
    gone = [read(dataset, number) for number in numbers(dataset) if number not in kept(dataset, keep)]
    for release in gone:
        storage.remove(release.folder)
    return gone


def collections(workspace: Workspace) -> set[str]:
    """The Milvus collections that releases of a workspace name."""
    named = [one.collections.values() for one in of(workspace.dataset) if one.workspace == workspace]
    return {name for names in named for name in names}


def pinned() -> set[tuple[Workspace, str]]:
    """What the releases there are need: their workspaces, each with a collection it reads, or "" for the folder."""
    found = [release for dataset in datasets() for release in of(dataset)]
    return {(one.workspace, name) for one in found for name in ("", *one.collections.values())}


def _how_to_get_one(dataset: str) -> str:
    known = numbers(dataset)
    if known:
        return f"llmcf release promote --dataset {dataset} --release {known[-1]}"
    return f"llmcf export --dataset {dataset}"


def _point(release: Release, before: Sequence[int]) -> None:
    found = Pointer(
        release=release.number,
        versions=release.versions,
        last=max([release.number, *numbers(release.dataset)]),
        before=list(before),
        changed=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    )
    storage.write_json(_pointer_file(release.dataset), asdict(found))


def _link(dataset: str) -> None:
    """Let the link follow the pointer, by one rename."""
    found = pointer(dataset)
    assert found is not None
    link, target = _pointer_file(dataset).with_suffix(""), Path("..") / "releases" / dataset / str(found.release)
    if link.is_symlink() and link.readlink() == target:
        return
    beside = link.with_name(f".{link.name}.{os.getpid()}.link")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    beside.replace(link)


def _pointer_file(dataset: str) -> Path:
    return settings.triton_models() / "live" / f"{dataset}.json"
