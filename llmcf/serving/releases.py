"""Releases on disk: made beside their place and renamed, so that each is whole or not there, and one of them is live.

`live/<data set>.json` is the written pointer: the live release, its exact Triton versions, and what was live before.
`live/<data set>` links to the release's folder, for servers that poll one: it follows the pointer in one rename.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from core import settings, storage
from core.errors import LlmcfError, Missing, Unavailable, UsageError
from core.homes import home_id
from core.progress import say
from core.settings import Workspace
from llmcf.serving import arms, gone, manifest
from llmcf.serving.manifest import Claim, Release, Unreadable

KEEP = 3  # releases of a data set, the live one among them, that can be served again
_PATIENCE_S = 2.0
_GOING = ".going"  # how the folder of a release ends that is being removed


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """Which release is live.

    Args:
        before: what was live earlier, oldest first: the way back.
        left: what was rolled back from, and is not made live again but by name.
    """

    release: int
    versions: dict[str, int]
    before: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    changed: str = ""


@contextmanager
def making(dataset: str) -> Iterator[None]:
    """One process at a time makes or removes releases of a data set. It takes minutes, in which pointers may move."""
    with _alone(f".making-{dataset}.lock", f"another process makes or removes a release of {dataset}"):
        yield


@contextmanager
def locked(within_s: float | None = None) -> Iterator[None]:
    """One process at a time moves a pointer or takes away what one may be moved to. Held for moments only.

    Args:
        within_s: for how long it is waited for; without end if it is not given.

    Raises:
        Unavailable: if another process still holds it then.
    """
    with _alone(".releases.lock", "another process promotes, rolls back or removes a release", within_s):
        yield


@contextmanager
def _alone(name: str, why: str, within_s: float | None = None) -> Iterator[None]:
    """Hold a lock of the repository; after a moment of waiting, say what for, or refuse where the time is limited."""
    settings.triton_models().mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.triton_models() / name)
    try:
        lock.acquire(timeout=_PATIENCE_S if within_s is None else within_s)
    except Timeout:
        if within_s is not None:
            raise Unavailable(f"{why}; try again in a moment") from None
        say(f"waiting: {why} (its lock is {lock.lock_file})")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def datasets() -> list[str]:
    """The data sets that have releases."""
    return sorted(path.name for path in manifest.root("").glob("*") if path.is_dir())


def numbers(dataset: str) -> list[int]:
    """The releases of a data set, oldest first."""
    return sorted(int(path.name) for path in manifest.root(dataset).glob("*") if path.name.isdigit())


def read(dataset: str, number: int) -> Release:
    """Raises UsageError if there is no such release, Unreadable if it cannot be served from here."""
    known = numbers(dataset)
    if number not in known:
        listed = ", ".join(map(str, known)) or "none"
        raise UsageError(f"there is no release {number} of {dataset}; there are: {listed}")
    return Release.read(manifest.folder(dataset, number))


def of(dataset: str) -> list[Release]:
    """The releases of a data set that can be read, oldest first."""
    found = []
    for number in numbers(dataset):
        with suppress(Unreadable):  # another contract's, no release, or removed just now
            found.append(Release.read(manifest.folder(dataset, number)))
    return found


def claims(dataset: str) -> list[Claim]:
    """What each release of a data set needs, of those that cannot be read too; one removed just now is left out."""
    folders = [manifest.folder(dataset, number) for number in numbers(dataset)]
    found = [(folder, Claim.read(folder)) for folder in folders]
    return [claim for folder, claim in found if claim.workspace or folder.exists()]


def pointer(dataset: str) -> Pointer | None:
    """The written pointer, or None if nothing was ever promoted."""
    path = _pointer_file(dataset)
    if not path.exists():
        return None
    known = {one.name for one in fields(Pointer)}  # a later version may write more
    try:
        return Pointer(**{name: value for name, value in storage.read_json(path).items() if name in known})
    except (ValueError, TypeError, AttributeError) as error:
        raise LlmcfError(f"{path} names no release ({error}); remove it and promote one") from error


def live(dataset: str) -> Release | None:
    """The live release, or None."""
    found = pointer(dataset)
    return read(dataset, found.release) if found else None


def newest(dataset: str) -> Release | None:
    """The release that was made last of those that can be read, live or not."""
    return max(of(dataset), key=lambda one: one.number, default=None)


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
    """A number that was never given before, whatever was removed since."""
    found, note = pointer(dataset), _last_file(dataset)
    noted = storage.read_json(note)["last"] if note.exists() else 0
    named = [found.release, *found.before, *found.left] if found else []
    return 1 + max([noted, *named, *numbers(dataset)])


@contextmanager
def staged(dataset: str, number: int) -> Iterator[Path]:
    """An empty folder to fill and to try; it becomes the release by one rename if the block ends well.

    Its number is noted just before, so that it is not given again when the release is removed.
    """
    for left_over in set(manifest.root(dataset).glob(".*")) - set(_going(dataset).values()):  # of a killed run
        shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
    with storage.atomic_folder(manifest.folder(dataset, number)) as folder:
        yield folder
        storage.write_json(_last_file(dataset), {"last": number})


def was_left(release: Release) -> bool:
    """Whether it was live, and people then chose another: by a rollback, or by promoting that one."""
    found = pointer(release.dataset)
    return found is not None and release.number != found.release and release.number in {*found.before, *found.left}


def promote(release: Release) -> None:
    """Make a release live: first the pointer, then the link that follows it. Repeating it mends a killed one.

    Raises:
        UsageError: if it is not there any more.
    """
    release, found = read(release.dataset, release.number), pointer(release.dataset)
    if found is None or found.release != release.number:
        before = [*found.before, found.release] if found else []
        _point(release, before, found.left if found else [])
    _link(release.dataset)


def rollback(dataset: str, leaving: int | None = None) -> Release:
    """Make live what was live before, and return it; where `leaving` is no longer live, return what is.

    Raises:
        LlmcfError: if nothing is live, or nothing that was live before is kept and can be read.
    """
    found, there = pointer(dataset), {one.number: one for one in of(dataset)}
    if found is None:
        raise Missing(f"no release of {dataset} is live", _how_to_get_one(dataset))
    if leaving not in {None, found.release}:
        return read(dataset, found.release)
    before = [number for number in found.before if number in there]
    if not before:
        raise LlmcfError(
            f"no release of {dataset} that was live before {found.release} is kept; "
            f"`llmcf release list --dataset {dataset}` shows those there are"
        )
    give_back(dataset, before[-1])
    return there[before[-1]]


def give_back(dataset: str, good: int) -> None:
    """Make live again what still answers; what was promoted since then, or chosen in its place, was left.

    Raises:
        LlmcfError: if nothing is live, or that release cannot be read.
    """
    found, release = pointer(dataset), read(dataset, good)
    if found is None:
        raise Missing(f"no release of {dataset} is live", _how_to_get_one(dataset))
    before = found.before[: found.before.index(good)] if good in found.before else found.before
    _point(release, before, [*found.left, *found.before[len(before) :], found.release])
    _link(dataset)


def kept(dataset: str, keep: int = KEEP) -> set[int]:
    """What pruning leaves, `keep` numbers together, in this order: the live one, the newest if it was never live and
    so may yet go, those that the live one can be rolled back to, others.

    Those that cannot be read come last. What an arm or a shadow names stays besides.
    """
    found, there, readable = pointer(dataset), numbers(dataset), {one.number for one in of(dataset)}
    live, before = ([found.release], found.before) if found else ([], [])
    newest = {max(readable, default=0)} - {*before, *(found.left if found else [])}
    others = sorted([*newest, *reversed(before), *reversed(there)], key=lambda number: number not in readable)
    ordered = [number for number in (*live, *others) if number in there]
    return {*list(dict.fromkeys(ordered))[: max(keep, 1)], *arms.named(dataset).intersection(there)}


def set_aside(dataset: str, keep: int) -> None:
    """Take all releases but `kept` away, for the price of a rename each: no pointer can be moved to them any more."""
    for number in set(numbers(dataset)) - kept(dataset, keep):
        gone.remember(dataset, number)
        folder = manifest.folder(dataset, number)
        folder.replace(folder.with_name(f".{number}{_GOING}"))


def leaving(dataset: str) -> list[Claim]:
    """What those needed that were set aside, and are not finished with."""
    return [Claim.read(folder, number) for number, folder in _going(dataset).items()]


def finish(dataset: str) -> list[int]:
    """Delete what was set aside, by a killed run too; returns the numbers."""
    found = _going(dataset)
    for folder in found.values():
        storage.remove(folder)
    return list(found)


def _going(dataset: str) -> dict[int, Path]:
    """Folders of releases that are being removed, by number, ascending."""
    found = manifest.root(dataset).glob(f".*{_GOING}")
    return dict(sorted((int(path.name[1 : -len(_GOING)]), path) for path in found))


def pinned() -> set[tuple[Workspace, str]]:
    """What the releases there are need: their workspaces, each with a collection it reads, or "" for the folder.

    Raises:
        LlmcfError: if one does not say it, as nothing can be removed safely then.
    """
    found = set()
    for dataset in datasets():
        for one in claims(dataset):
            if one.workspace is None:
                place = manifest.folder(dataset, one.number)
                raise LlmcfError(f"{place} does not say which workspace it reads; remove it if nothing serves it")
            found |= {(one.workspace, name) for name in ("", *one.collections)}
    return found


def _how_to_get_one(dataset: str) -> str:
    if known := newest(dataset):
        return f"llmcf release promote --dataset {dataset} --release {known.number}"
    return f"llmcf export --dataset {dataset}"


def _point(release: Release, before: Sequence[int], left: Sequence[int]) -> None:
    others = [[number for number in numbers if number != release.number] for numbers in (before, left)]
    found = Pointer(
        release=release.number,
        versions=release.versions,
        before=others[0],
        left=others[1],
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


def _last_file(dataset: str) -> Path:
    return manifest.root(dataset) / "last.json"


def _pointer_file(dataset: str) -> Path:
    return settings.triton_models() / "live" / f"{dataset}.json"
