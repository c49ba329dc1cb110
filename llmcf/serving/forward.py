"""Making a release live: its store has what was pushed meanwhile; and where whoever asks may not know what happened,
as one who repeats a verb or makes up for a day, nothing later or chosen since is replaced."""

from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import LlmcfError
from core.progress import say
from core.settings import LATEST
from llmcf.feature_store import jobs
from llmcf.serving import releases, thresholds, verdicts
from llmcf.serving.manifest import Release


@contextmanager
def moving(release: Release) -> Iterator[None]:
    """Hold the lock under which a release goes live. Before and after, its store gets what was pushed to another day's
    since it was filled: pushes go to the live one alone.

    Raises:
        Missing: if its workspace has no feature store that fits.
    """
    jobs.catch_up(release.workspace)
    with releases.locked():
        yield
    jobs.catch_up(release.workspace)


def promote(release: Release) -> bool:
    """Make it live unless `why_not`, which is said; whether it is live now."""
    with moving(release):
        return promote_locked(release)


def promote_locked(release: Release) -> bool:
    """The same for a caller who holds the lock."""
    if why := why_not(release):
        say(why)
        return False
    releases.promote(release)
    return True


def why_not(release: Release) -> str | None:
    """Why it stays aside: the live one knows later days, it must pass a check first, or people have left it for
    another."""
    dataset, number = release.dataset, release.number
    by_name = f"`llmcf release promote --dataset {dataset} --release {number}`"
    if later := later_live(release):
        return (
            f"release {number} is of {release.as_of}, and the live release {later.number} of {later.as_of}, which "
            f"stays live; {by_name} goes back to it"
        )
    if thresholds.load(dataset).required:
        try:
            verdicts.require_passed(release)
        except LlmcfError as error:
            return f"{error}, then {by_name}"
    if releases.was_left(release):
        return f"another was chosen since release {number} was live; {by_name} makes it live again"
    return None


def later_live(release: Release) -> Release | None:
    """The live release, if it is of the same order and a later day; `latest` is no day."""
    found = releases.pointer(release.dataset)
    live = next((one for one in releases.of(release.dataset) if found and one.number == found.release), None)
    if live is None or live.order != release.order or LATEST in (live.as_of, release.as_of):
        return None
    return live if live.as_of > release.as_of else None
