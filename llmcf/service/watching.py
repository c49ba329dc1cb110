"""Whether a release is taken back: one that was promoted, and those of arms, held against a control.

Of a promotion the control is the release before: as it did in the minutes until then, and as it does where it stands in
for the new one. Of an arm it is the live release in the same minutes. A share counts as far as it is beyond chance:
its lower bound by Wilson's interval with z = 3, as it is looked at again and again.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from llmcf.service import arm_counts
from llmcf.service.arm_counts import Figures
from llmcf.serving.arms import LIVE, Arms, Watch

_Z = 3.0
_TAIL = 0.95
Counters = Mapping[str, float]


@dataclass(slots=True)
class Watched:
    """A release under watch, the one it is held against, and the counters when that began.

    Args:
        arm: LIVE for a promotion.
        earlier: how the control did before.
    """

    arm: str
    release: int
    control: int
    rules: Watch
    start: Counters
    earlier: Figures = field(default_factory=Figures)
    began: float = field(default_factory=lambda: time.monotonic())

    @property
    def left(self) -> float:
        """Seconds until its time is over."""
        return self.began + self.rules.seconds - time.monotonic()

    def figures(self, now: Counters) -> tuple[Figures, Figures]:
        """How it did since, and how the control did since."""
        arm = None if self.arm == LIVE else self.arm
        return self._since(now, self.release, arm), self._since(now, self.control, None)

    def _since(self, now: Counters, release: int, arm: str | None) -> Figures:
        return arm_counts.figures(now, release, arm=arm) - arm_counts.figures(self.start, release, arm=arm)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is decided of a release, and the figures in words."""

    watched: Watched
    good: bool
    why: str


class Watcher:
    """The supervisor's: looks at the counters of all workers."""

    def __init__(self) -> None:
        self.watched: list[Watched] = []

    def promoted(self, release: int, before: int, rules: Watch, earlier: Counters | None, now: Counters) -> None:
        """From now on watch a release that took over, against the one before; `earlier` are counters of minutes ago."""
        self.forget(LIVE)
        if rules.seconds:
            then = arm_counts.figures(now, before) - arm_counts.figures(earlier or {}, before)
            self.watched.append(Watched(LIVE, release, before, rules, now, then))

    def arms(self, arms: Arms, live: int, now: Counters) -> None:
        """Watch these arms against the live release, and no others."""
        held = {one.arm: one for one in self.watched}
        found = [held[LIVE]] if LIVE in held else []
        for name, arm in arms.arms.items():
            new = Watched(name, arm.release, live, arms.watch, now)
            old = held.get(name)
            same = old and (old.release, old.control, old.rules) == (new.release, new.control, new.rules)
            if arms.watch.seconds and arm.release != live:
                found.append(old if old and same else new)
        self.watched = found

    def forget(self, arm: str) -> None:
        self.watched = [one for one in self.watched if one.arm != arm]

    def of(self, release: int) -> Watched | None:
        return next((one for one in self.watched if one.release == release), None)

    def look(self, now: Counters) -> list[Outcome]:
        """What can be decided now. What is decided is watched no longer; an arm that does well is watched anew."""
        found = []
        for one in list(self.watched):
            tried, control = one.figures(now)
            why = verdict(one.rules, tried, control, one.earlier)
            if why:
                found.append(Outcome(one, False, f"{why}; the control is release {one.control}"))
            elif one.left <= 0 and one.arm == LIVE:
                found.append(Outcome(one, True, _stood(one, tried)))
            elif one.left <= 0:
                one.start, one.began = now, time.monotonic()
        for outcome in found:
            self.forget(outcome.watched.arm)
        return found


def verdict(rules: Watch, tried: Figures, control: Figures, earlier: Figures) -> str | None:
    """Why a release is to be taken back; None if it is not.

    Args:
        control: in the same time; where it fails as often, it is not the release's fault.
        earlier: the control before.
    """
    if tried.asked >= rules.least:
        normal = max(control.failure_rate, earlier.failure_rate)
        if _surely(tried.failed, tried.asked) > normal + rules.failures:
            return f"{tried.failed} of {tried.asked} requests failed, and {normal:.1%} of the control's"
    known = control + earlier
    if tried.ranked >= rules.least and known.ranked >= rules.least:
        usual, limit = _limit(rules, known, tried)
        late = tried.ranked - tried.within.get(limit, tried.ranked)
        if _surely(late, tried.ranked) > rules.slow:
            return (
                f"{late} of {tried.ranked} answers took longer than {limit * 1e3:.0f} ms, "
                f"and 95 % of the control's no longer than {usual * 1e3:.0f} ms"
            )
    return None


def _limit(rules: Watch, known: Figures, tried: Figures) -> tuple[float, float]:
    """The bound in seconds that holds 95 % of the control's answers, and the one from which an answer is slow."""
    usual = next((one for one in sorted(known.within) if known.within[one] >= _TAIL * known.ranked), math.inf)
    return usual, next((one for one in sorted(tried.within) if one >= rules.slower * usual), math.inf)


def _surely(count: int, of: int) -> float:
    """The share that is the least likely to be behind `count` of `of`: the lower end of Wilson's interval."""
    share, z2 = count / of, _Z * _Z
    middle = share + z2 / (2 * of)
    return (middle - _Z * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))) / (1 + z2 / of)


def _stood(one: Watched, tried: Figures) -> str:
    told = f"{tried.failed} of {tried.asked} requests failed in {one.rules.seconds:g} s"
    return told if tried.asked >= one.rules.least else f"{told}: too few to tell"
