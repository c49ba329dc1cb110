"""Administrators choose among releases: the pointer moves, the supervisor follows, and the audit log has a line.

The line is there before the act, which is refused where it cannot be written.
"""

from collections.abc import Callable
from typing import TypeVar

from core import deadlines
from core.errors import LlmcfError, Unavailable
from core.progress import say
from llmcf.feature_store import registry
from llmcf.service.keys import Key
from llmcf.service.problems import Problem
from llmcf.service.service import Service
from llmcf.serving import held, releases, thresholds, verdicts
from llmcf.serving.manifest import Release

T = TypeVar("T")
_LOCK_S = 0.5  # that another process's choice is waited for: half of what a request has


def promote(service: Service, who: Key, number: int) -> None:
    """Let the pointer name a release; the supervisor loads it, tries it and only then hands it to the workers.

    Raises:
        Problem: 404 if there is none of that number; 409 if it cannot be served from here, or has not passed a check
            that the data set asks for.
        Unavailable: while another process chooses, or Milvus does not say whether it has what the release reads.
    """
    dataset = service.engine.dataset

    def look() -> Release:
        if number not in releases.numbers(dataset):
            raise Problem(404, "unknown-release", f"there is no release {number} of {dataset}")
        return _servable(dataset, number)

    def act(release: Release) -> None:
        if thresholds.load(dataset).required:
            try:
                verdicts.require_passed(release)
            except LlmcfError as error:
                raise Problem(409, "unchecked", str(error)) from error
        releases.promote(release)

    _noted(service, who, f"promote release {number}", look, act)


def roll_back(service: Service, who: Key, number: int) -> None:
    """Let the pointer name what was live before, which is expected to be release `number`.

    Raises:
        Problem: 409 if it is another by now.
        Unavailable: while another process chooses.
        LlmcfError: if nothing is left that was live before.
    """
    dataset = service.engine.dataset

    def act(_: None) -> None:
        if before(dataset) != number:
            raise Problem(409, "changed", f"release {number} is no longer what was live before; look again")
        releases.rollback(dataset)

    _noted(service, who, f"roll back to release {number}", lambda: None, act)


def _servable(dataset: str, number: int) -> Release:
    """A release that this service could answer with, as far as can be said without loading it."""
    try:
        release = releases.require(dataset, number)
        held.check(release)
        registry.materialized(release.workspace)
    except Unavailable:
        raise
    except LlmcfError as error:
        raise Problem(409, "unservable", str(error)) from error
    return release


def before(dataset: str) -> int | None:
    """The release that a rollback would make live, None if there is none."""
    pointer, there = releases.pointer(dataset), {one.number for one in releases.of(dataset)}
    return next((number for number in reversed(pointer.before) if number in there), None) if pointer else None


def _noted(service: Service, who: Key, what: str, look: Callable[[], T], act: Callable[[T], None]) -> None:
    """Act where nobody else moves a pointer, after a look that may take longer.

    A line of the audit log is there before and says in the end what came of it; Unavailable where it cannot be written.
    """
    line, outcome = service.store.note(who.name, what, "asked"), "accepted"
    try:
        found = look()
        with deadlines.call(_LOCK_S) as seconds, releases.locked(seconds):
            act(found)
    except Exception as error:
        outcome = f"refused: {error.detail if isinstance(error, Problem) else error}"
        raise
    finally:
        try:
            service.store.settle(line, outcome)
        except LlmcfError as error:
            say(f"{who.name} asked to {what}, {outcome}; the audit log says only that it was asked: {error}")
