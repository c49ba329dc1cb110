"""`llmcf release list | promote | rollback | prune`: the verbs that look at releases or choose among them."""

import time

from core.markdown import table
from core.progress import say
from core.result import Result
from llmcf.feature_store import registry
from llmcf.serving import forward, held, manifest, pruning, releases, thresholds, verdicts
from llmcf.serving.manifest import Release, Unreadable
from llmcf.serving.triton_client import canary
from llmcf.serving.triton_server import run_triton


def listing(dataset: str) -> Result:
    """Every release of a data set, newest last."""
    start, found = time.monotonic(), releases.pointer(dataset)
    live, before = (found.release, found.before) if found else (None, [])
    rows = []
    for number in releases.numbers(dataset):
        state = "live" if number == live else "was live" if number in before else ""
        rows.append([str(number), *_row(dataset, number, state)])
    head = ["release", "state", "check", "made", "order", "as of", "ranker", "user tower", "weights"]
    text = (
        "\n".join(table(head, rows))
        if rows
        else f"no release of {dataset}; `llmcf export --dataset {dataset}` makes one"
    )
    return Result(
        verb="release list",
        seconds=time.monotonic() - start,
        details={
            "dataset": dataset,
            "live": live,
            "before": before,
            "releases": [row[0] for row in rows],
            "checks": {row[0]: row[2] for row in rows},
            "text": text,
        },
    )


def _row(dataset: str, number: int, state: str) -> list[str]:
    """All but the number; of a release that cannot be read, why."""
    try:
        one = Release.read(manifest.folder(dataset, number))
    except Unreadable as error:
        return [", ".join(filter(None, (state, f"unreadable: {error.why}"))), *[""] * 7]
    stages = [f"{stage.backbone} {stage.framework} {stage.recipe}" for stage in one.stages.values()]
    origin = f"weights of {one.refreshed}" if one.refreshed else "trained"
    return [state, verdicts.state(dataset, number), one.created, one.order, one.as_of, *stages, origin]


def promote(dataset: str, number: int, *, checked: bool | None = None, onwards: bool = False) -> Result:
    """Make a release live after a canary on a server of its own; what serves goes on meanwhile.

    Args:
        checked: whether it must have passed its check; None is what the data set's thresholds say.
        onwards: as an export does it, not in place of a later day's, nor if people have left it for another: then
            nothing is done, which is said. One that is live already is not tried again.

    Raises:
        UsageError: if there is no such release.
        LlmcfError: if it is of another home, has a damaged file or no online store to read, names what Milvus does not
            hold, has not passed a check that is asked for, or does not answer as it should; the live one stays.
    """
    start = time.monotonic()
    release = releases.require(dataset, number)
    if onwards and (_is_live(release) or forward.why_not(release)):
        forward.promote(release)
        return _told("release promote", release, start)
    demanded = thresholds.load(dataset).required if checked is None else checked
    if demanded:
        verdicts.require_passed(release)
    release.require_whole()
    held.check(release)
    registry.materialized(release.workspace)
    say(f"trying release {number} on a Triton server")
    with run_triton(release.models) as server:
        canary(server, release.models, release.stages)
    with forward.moving(release):
        if demanded:  # another may have gone live meanwhile
            verdicts.require_passed(release)
        (forward.promote_locked if onwards else releases.promote)(release)
    return _told("release promote", release, start)


def rollback(dataset: str, leaving: int | None = None) -> Result:
    """Make live what was live before. It answered once, so no time is spent on asking it again.

    Args:
        leaving: the release to go back from; where another one is live, nothing is done.
    """
    start = time.monotonic()
    with releases.locked():
        release = releases.rollback(dataset, leaving)
    return _told("release rollback", release, start)


def prune(dataset: str, keep: int) -> Result:
    """Remove all but `keep` releases and what only they read."""
    start = time.monotonic()
    with releases.making(dataset):
        gone = pruning.prune(dataset, keep)
    return Result(
        verb="release prune",
        seconds=time.monotonic() - start,
        details={"dataset": dataset, "removed": gone, "kept": releases.numbers(dataset)},
    )


def _is_live(release: Release) -> bool:
    found = releases.pointer(release.dataset)
    return found is not None and found.release == release.number


def _told(verb: str, release: Release, start: float) -> Result:
    pointer = releases.pointer(release.dataset)  # None where the first one stays aside
    return Result(
        verb=verb,
        workspace=release.workspace,
        seconds=time.monotonic() - start,
        artifacts={"release": str(release.folder)},
        details={
            "release": release.number,
            "live": _is_live(release),
            "versions": pointer.versions if pointer else {},
            "before": pointer.before if pointer else [],
        },
    )
