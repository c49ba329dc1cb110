"""Which release a day is scored by: the newest of those that were trained on strictly earlier days.

A day is counted since 1970-01-01 UTC, as in the tables.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Self

from core import steps
from core.data import tables
from core.errors import LlmcfError, UsageError
from core.homes import home_id
from core.settings import LATEST
from llmcf.gates.answering import Answering
from llmcf.serving import gone, releases
from llmcf.serving.manifest import Release

_EPOCH = date(1970, 1, 1).toordinal()


def number_of(day: str) -> int:
    """Of a date like 2026-01-31."""
    return date.fromisoformat(day).toordinal() - _EPOCH


def date_of(number: int) -> date:
    return date.fromordinal(number + _EPOCH)


@dataclass(frozen=True, slots=True, order=True)
class Known:
    """A release by what it knows: nothing of `until` or a later day."""

    until: int
    number: int


def known_until(release: Release) -> int:
    """The first day of which nothing is in a release: neither its weights, nor its items and examples.

    That is its as-of day; a refreshed one's is never before that of its weights. One of `latest` knows the days that
    its workspace holds, as long as that is what it was made of, and otherwise whatever came until it was made.
    """
    if release.as_of != LATEST:
        return number_of(release.as_of)
    made = datetime.fromisoformat(release.created).astimezone(UTC).date().isoformat()
    data = release.workspace.path("data")
    stamp = steps.Step(folder=data, config=None).stamp()
    if stamp is None or stamp["content"] != release.inputs.get(steps.name_of(data)):
        return number_of(made) + 1
    return int(tables.interactions(release.workspace)["day"].to_numpy().max()) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Whose a day is.

    Args:
        known: the release of the latest days among those that know nothing of the day; None if there never was one.
        there: whether it can be asked.
    """

    known: Known | None
    there: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosing:
    """The releases of a data set and order in this home: those that can be asked, and those that were removed."""

    there: tuple[Known, ...]
    removed: tuple[Known, ...] = ()
    named: bool = False  # one that was asked for, whatever others have said

    @classmethod
    def of(cls, dataset: str, order: str) -> Self:
        return cls(there=_known(releases.of(dataset), order), removed=_known(gone.of(dataset), order))

    def only(self, number: int, dataset: str, order: str) -> "Choosing":
        """One release that was asked for by its number.

        Raises:
            UsageError: if there is none of that number, or it is of another order or home.
        """
        found = tuple(one for one in self.there if one.number == number)
        if not found:
            releases.read(dataset, number)
            listed = ", ".join(str(one.number) for one in self.there) or "none"
            raise UsageError(
                f"release {number} of {dataset} is not of order {order}, or of another home; those to ask: {listed}"
            )
        return Choosing(there=found, named=True)

    def choose(self, day: int, scored: Iterable[Known] = ()) -> Choice:
        """Whose the day is. What a removed release has `scored` already stays its own, as if it were there."""
        others = () if self.named else scored
        there, was, removed = (_newest(some, day) for some in (self.there, others, self.removed))
        best = max(filter(None, (there, was)), default=None)
        if removed and (best is None or removed.until > best.until):
            return Choice(known=removed, there=False)
        return Choice(known=best, there=best is not None and best in self.there)


def _known(found: Iterable[Release], order: str) -> tuple[Known, ...]:
    own = [one for one in found if one.order == order and one.home == home_id()]
    return tuple(Known(known_until(one), one.number) for one in own)


def _newest(known: Iterable[Known], day: int) -> Known | None:
    """That of the latest days of those that know nothing of `day`."""
    return max((one for one in known if one.until <= day), default=None)


def check_earlier(known: Known, day: int) -> None:
    """Raises UsageError if a release was trained on the day or on a later one."""
    if known.until > day:
        raise UsageError(
            f"release {known.number} was trained on days up to {date_of(known.until - 1)}: what it says of "
            f"{date_of(day)} would be a leak; name a day from {date_of(known.until)} on, or an earlier release"
        )


def check_holds(answering: Answering, known: Known) -> None:
    """Raises LlmcfError if the examples or items of a release tell of a day that it must not know."""
    if answering.newest_day >= known.until:
        raise LlmcfError(
            f"release {known.number} is of days before {date_of(known.until)}, and its collections "
            f"({', '.join(answering.release.collections.values())}) hold one of {date_of(answering.newest_day)}: "
            f"it scores nothing; make it anew: `{answering.release.remedy}`"
        )
