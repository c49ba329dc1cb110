"""The supervisor's part of arms: it follows their file, loads the releases that it names, and switches an arm off.

What is switched off stays off, over restarts too, until its experiment has another name or its arm another release.
`trials.json`, beside what else the service keeps, says which those are and why, for the page.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core import storage
from core.errors import LlmcfError, Unavailable, UsageError
from core.progress import say
from llmcf.service.watching import Watched
from llmcf.serving import arms, releases
from llmcf.serving.arms import NONE, SHADOW, Arm, Arms
from llmcf.serving.triton_host import Host, nothing

FILE = "trials.json"
_KEPT = 100  # of those switched off
_UNREAD: storage.Stamp = (0, 0, 0)  # no file's: one that could not be read is tried again, as rights change no stamp


@dataclass(frozen=True, slots=True)
class Off:
    """An arm, or the shadow, that was switched off at `time`, in Unix seconds."""

    experiment: str
    arm: str
    release: int
    why: str
    time: float

    def is_of(self, experiment: str, name: str, arm: Arm) -> bool:
        return (self.experiment, self.arm, self.release) == (experiment, name, arm.release)


@dataclass(frozen=True, slots=True)
class Note:
    """What the page is told: the file's fault, what was switched off, what is under watch and until when."""

    fault: str
    off: list[Off]
    watched: list[dict[str, Any]]


class Trials:
    """Which arms are on: `on` is what workers are to be told."""

    def __init__(self, dataset: str, place: Path, host: Host) -> None:
        self._dataset, self._place, self._host = dataset, place, host
        self.meanwhile: Callable[[], object] = nothing  # is called while a release is loaded
        self.silent: Callable[[], bool] = lambda: False  # whether Triton answers nobody
        self.on, self._declared, self._fault = NONE, NONE, ""
        self._stamp: storage.Stamp | None = None
        self._off = note(place).off
        self._watched: list[dict[str, Any]] = []
        self._written = True

    @property
    def rules(self) -> arms.Watch:
        """When a promoted release is taken back."""
        return self._declared.watch

    def follow(self) -> bool:
        """Take a changed file; whether workers have to be told. What its arms name is loaded and tried before."""
        stamp = storage.stamp(arms.path(self._dataset))
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._declared = arms.load(arms.path(self._dataset), releases.numbers(self._dataset))
            self._fault = ""
        except UsageError as error:
            self._stamp = _UNREAD if isinstance(error.__cause__, OSError) else stamp
            if str(error) != self._fault:
                self._fault = str(error)
                say(f"the arms go on as they are: {error}")
                self._write()
            return False
        return self._turn()

    def switch_off(self, arm: str, why: str) -> None:
        """From now on its users have the live release."""
        self._note_off(arm, why)
        self._turn()

    def tell(self, watched: Sequence[Watched]) -> None:
        """Note what is under watch."""
        told = [
            {"arm": one.arm, "release": one.release, "control": one.control, "until": round(time.time() + one.left)}
            for one in watched
        ]
        others = [one | {"until": 0} for one in told] != [one | {"until": 0} for one in self._watched]
        if others:
            self._watched = told
        if others or not self._written:
            self._write()

    def _turn(self) -> bool:
        """Load what is to be on; whether that has changed. Where Triton answers nobody, what is not loaded waits."""
        before, waits = self.on, set[str]()
        for name, arm in _all(self._declared):
            if not self._is_off(name, arm):
                try:
                    self._host.add(releases.require(self._dataset, arm.release), self.meanwhile)
                except (LlmcfError, OSError) as error:
                    if isinstance(error, Unavailable) and self.silent():
                        say(f"arm {name} has to wait: {error}")
                        waits.add(name)
                        self._stamp = _UNREAD
                        continue
                    self._note_off(name, f"release {arm.release} cannot be served: {error}")
        kept = {name: arm for name, arm in _all(self._declared) if name not in waits and not self._is_off(name, arm)}
        shadow = kept.pop(SHADOW, None)
        self.on = self._declared.model_copy(update={"arms": kept, "shadow": shadow})
        self._write()
        if self.on == before:
            return False
        say(f"experiment {self.on.experiment or 'none'}: {_words(self.on)}")
        return True

    def _is_off(self, name: str, arm: Arm) -> bool:
        return any(one.is_of(self._declared.experiment, name, arm) for one in self._off)

    def _note_off(self, name: str, why: str) -> None:
        release = dict(_all(self._declared))[name].release
        say(f"arm {name} is switched off: {why}")
        self._off = [*self._off, Off(self._declared.experiment, name, release, why, time.time())]

    def _write(self) -> None:
        """What was decided holds, also where the disk is full; then it is written down later."""
        told = Note(self._fault, self._off[-_KEPT:], self._watched)
        before, self._written = self._written, False
        try:
            if told != note(self._place):
                storage.write_json(self._place / FILE, asdict(told))
            self._written = True
        except (LlmcfError, OSError) as error:
            if before:
                say(f"what was decided of arms is not written down yet: {error}")


def note(place: Path) -> Note:
    """What was noted last.

    Raises:
        LlmcfError: if the file does not hold that: what was switched off would be on again.
    """
    try:
        told = storage.read_json(place / FILE)
        return Note(told["fault"], [Off(**one) for one in told["off"]], told["watched"])
    except FileNotFoundError:
        return Note("", [], [])
    except (ValueError, TypeError, KeyError) as error:
        raise LlmcfError(f"{place / FILE} does not say which arms are off ({error!r}); remove it to forget") from error


def _all(declared: Arms) -> Iterable[tuple[str, Arm]]:
    return [*declared.arms.items(), *([(SHADOW, declared.shadow)] if declared.shadow else [])]


def _words(on: Arms) -> str:
    told = [f"{name} {arm.percent:g} % of the users, release {arm.release}" for name, arm in on.arms.items()]
    told += [f"shadow {on.shadow.percent:g} % of the requests, release {on.shadow.release}"] if on.shadow else []
    return "; ".join(told) or "every user has the live release"
