"""Who looks after a running service.

A worker, Triton or a model process that dies is replaced, and so is a Triton that answers no more. Where another
release is made live, it is loaded beside the one that serves, tried, handed to every worker, and only then is the one
before the last let go: nothing is dropped on the way. One that cannot be loaded, or by one worker not, leaves what
serves as it is, and the pointer goes back. So it does where a release that took over does worse than the one before
(llmcf/service/watching.py). A file that cannot be read, or a disk that is full, ends none of that, and no step waits
long for Triton without looking after the others.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from math import inf
from threading import Event

from core.errors import LlmcfError, Unavailable
from core.progress import say
from llmcf.service import state, traffic
from llmcf.service.fleet import Fleet, Intake, await_workers
from llmcf.service.state import Serving
from llmcf.service.store import SERVICE, Store
from llmcf.service.trials import Trials
from llmcf.service.watching import Outcome, Watched, Watcher
from llmcf.serving import releases
from llmcf.serving.arms import LIVE
from llmcf.serving.manifest import Release
from llmcf.serving.triton_host import Host
from llmcf.serving.triton_server import complaints

_TICK_S = 0.2
_CANARY_EVERY_S = 5.0
_JUDGE_EVERY_S = 1.0
_SOON_S = 1.0  # to the next canary, where one had no answer
_SILENT = 3  # canaries in a row without an answer, after which Triton is taken for dead
_START_S = 120.0  # that Triton may take to start
_RENEW_S = 30.0  # between two times that a release's models are loaded anew
_AGAIN_S = 2.0  # between two starts of Triton
_BEFORE_S = 900.0  # for which the release before a promotion is the control
_LOCK_S = 5.0  # that somebody who moves a pointer is waited for, while nobody looks after the processes
_GRACE_S = 5.0  # for workers to turn away from a release


class _Stopped(Exception):  # noqa: N818 - no error: somebody wants the service to end
    pass


class Keeper:
    """Looks after a running service."""

    def __init__(self, running: Host, fleet: Fleet, intake: Intake, live: Release, trials: Trials) -> None:
        self._host, self._fleet, self._intake, self._trials = running, fleet, intake, trials
        self._live = live
        self._before: Release | None = None
        self._asked = time.monotonic()
        self._started = -inf  # when Triton was last started anew
        self._starting = False
        self._silent = 0  # canaries in a row without an answer
        self._renewed: dict[int, float] = {}  # when a release's models were last loaded anew
        self._refused: int | None = None
        self._taken_back: int | None = None
        self._unused: dict[int, float] = {}
        self._sampler = traffic.Sampler(fleet.place, fleet.metrics)
        self._store = Store(fleet.place / "service.db")
        self._watcher, self._judged = Watcher(), time.monotonic()
        self._counted: Mapping[str, float] = {}
        self._failing: set[str] = set()  # steps that could not be done when they were last tried
        self._told = True  # whether the workers know what can be asked
        self._watcher.arms(trials.on, live.number, {})

    def keep(self, stop: Event) -> None:
        """Until told to stop."""
        self._trials.meanwhile, self._trials.silent = partial(self._meanwhile, stop), self._triton_is_silent
        steps = {
            "the workers are looked after": self._fleet.fill,
            "the writer is looked after": self._intake.fill,
            "Triton is looked after": self._mend,
            "the live release is followed": lambda: self._follow(stop),
            "the arms are followed": self._follow_arms,
            "the releases are tried": self._ask,
            "the releases are judged": self._judge,
            "releases are let go": self._let_go,
            "what was counted is kept": self._sampler.look,
        }
        with suppress(_Stopped):
            while not stop.wait(_TICK_S):
                for what, step in steps.items():
                    if stop.is_set():
                        return
                    self._try(what, step)

    def _meanwhile(self, stop: Event) -> None:
        """Where a step takes long: the processes are looked after, and the end is seen."""
        if stop.is_set():
            raise _Stopped
        self._try("the workers are looked after", self._fleet.fill)
        self._try("the writer is looked after", self._intake.fill)

    def _try(self, what: str, step: Callable[[], object]) -> None:
        """Whatever cannot be done, as where a file cannot be read or holds what it should not, ends no service that
        answers: it is said once and tried again."""
        try:
            step()
            self._failing.discard(what)
        except _Stopped:
            raise
        except Exception as error:
            if what not in self._failing:
                say(f"the service goes on, but fails where {what}: {error!r}")
            self._failing.add(what)

    def _follow_arms(self) -> None:
        """Take a changed file of arms; and tell the workers what they could not be told before."""
        if (self._well and self._trials.follow()) or not self._told:
            self._tell(self._live, self._before)

    @property
    def _well(self) -> bool:
        """Whether Triton can be asked, as far as is known."""
        return not (self._starting or self._host.ended or self._silent)

    def _mend(self) -> None:
        """Start Triton anew where it has died or stands still; workers find the same releases on the same ports."""
        if self._starting:
            self._await_triton()
            return
        hangs = self._silent >= _SILENT
        if not (self._host.ended or hangs) or time.monotonic() - self._started < _AGAIN_S:
            return
        what = "Triton ended" if self._host.ended else f"Triton gave no answer {self._silent} times in a row"
        say(f"{what}; it is started anew, and until then nothing is ranked (its log: {self._host.server.log})")
        self._started = time.monotonic()
        self._host.restart()
        self._starting, self._silent = True, 0
        self._tell(self._live, self._before)

    def _await_triton(self) -> None:
        """Look whether it has started; the workers are looked after in between."""
        if self._host.up:
            self._starting, self._asked = False, time.monotonic()
            self._renewed.clear()
            say("Triton answers again")
            self._host.warm()
        elif self._host.ended or time.monotonic() - self._started > _START_S:
            self._starting, self._silent = False, _SILENT
            say(f"Triton does not start:\n{complaints(self._host.server.log)}")
            self._started = time.monotonic()

    def _follow(self, stop: Event) -> None:
        """Switch to the release that the pointer names, if it is another; what cannot be taken is refused once."""
        found = releases.pointer(self._fleet.dataset)
        if found is None or found.release == self._live.number:
            self._refused = None
            return
        if found.release == self._refused or not self._well:
            return
        try:
            wanted = releases.require(self._fleet.dataset, found.release)
            back = self._live.number in found.left  # who goes back does not wait
            if wanted.workspace != self._live.workspace and not back:
                _bring_up_to_date(wanted)
            self._have_answer(wanted, partial(self._meanwhile, stop))
            self._hand_over(wanted, stop)
        except (LlmcfError, OSError) as error:
            if isinstance(error, Unavailable) and self._triton_is_silent():
                say(f"release {found.release} has to wait: {error}")
                return
            self._refused = found.release
            back = self._point_back(found.release, self._live.number)
            stays = "" if back else "; the live pointer is not moved back to it"
            say(f"release {found.release} is not taken: {error}; release {self._live.number} goes on{stays}")

    def _have_answer(self, wanted: Release, meanwhile: Callable[[], object]) -> None:
        """Load a release, or have one that is loaded prove that it answers yet."""
        if wanted.number in self._host.releases:
            self._host.revive(wanted.number, meanwhile)
        else:
            self._host.add(wanted, meanwhile)

    def _triton_is_silent(self) -> bool:
        """Whether the live release does not answer either: then it is no release's fault."""
        try:
            self._host.check(self._live.number)
        except Unavailable:
            self._silent += 1
        except LlmcfError:
            return False
        return self._silent > 0 or self._host.ended

    def _hand_over(self, wanted: Release, stop: Event) -> None:
        """Have every worker answer with a release that is loaded; if one cannot, all go back."""
        left, stays = self._live, None if self._live.number == self._taken_back else self._live
        self._tell(wanted, stays)  # what is taken back stands in for nobody
        try:
            await_workers(self._fleet, wanted.number, stop)
        except (LlmcfError, OSError):
            self._tell(self._live, self._before)
            if wanted.number not in self._needed:
                self._host.remove(wanted.number)
            raise
        self._before, self._live = stays, wanted
        if wanted.number == self._taken_back:  # somebody wants it all the same
            self._taken_back = None
        gone = sorted(set(self._host.releases) - self._needed)
        for number in gone:
            self._host.remove(number)
        at_hand = f"; release {stays.number} stays at hand" if stays else ""
        let_go = f", {', '.join(map(str, gone))} is let go" if gone else ""
        say(f"release {wanted.number} answers{at_hand}{let_go}")
        self._watch(left)

    def _watch(self, left: Release) -> None:
        """Watch a release that took over by a promotion, so that there is a way back; and the arms beside it."""
        found, now = releases.pointer(self._fleet.dataset), self._counters()
        self._watcher.forget(LIVE)
        if self._before and found and (found.release, found.before[-1:]) == (self._live.number, [left.number]):
            earlier = None
            with suppress(LlmcfError):
                earlier = self._store.sampled(_BEFORE_S)
            rules = self._trials.rules
            self._watcher.promoted(self._live.number, left.number, rules, earlier and earlier[1], now)
        self._watcher.arms(self._trials.on, self._live.number, now)

    @property
    def _needed(self) -> set[int]:
        """The releases that Triton must have."""
        return {one.number for one in (self._live, self._before) if one} | self._trials.on.releases

    def _tell(self, live: Release, before: Release | None) -> None:
        """Write down for the workers what can be asked."""
        numbers = (live.number,) if before is None else (live.number, before.number)
        self._told = False
        state.write(self._fleet.place, Serving(numbers, self._host.server, self._trials.on))
        self._told = True
        self._watcher.arms(self._trials.on, live.number, self._counters())

    def _counters(self) -> Mapping[str, float]:
        """What all workers have counted, as last read where that fails: it must not end the service."""
        try:
            self._counted = traffic.counters(self._fleet.metrics)
        except Exception as error:
            say(f"what was counted could not be read: {error}")
        return self._counted

    def _let_go(self) -> None:
        """Have Triton drop what arms named, a moment after the workers were told."""
        unused = set(self._host.releases) - self._needed
        self._unused = {number: self._unused.get(number, time.monotonic()) for number in unused}
        for number, since in self._unused.items():
            if time.monotonic() - since > _GRACE_S:
                self._host.remove(number)

    def _point_back(self, refused: int, good: int) -> bool:
        """Let the pointer name what answers, if nobody has moved it meanwhile: a restart would serve what it names."""
        with suppress(LlmcfError, OSError), releases.locked(_LOCK_S):
            found = releases.pointer(self._fleet.dataset)
            if found and found.release == refused:
                releases.give_back(self._fleet.dataset, good)
                return True
        return False

    def _judge(self) -> None:
        """Take back what does worse than its control."""
        if time.monotonic() - self._judged < _JUDGE_EVERY_S:
            return
        self._judged = time.monotonic()
        if self._watcher.watched:
            for outcome in self._watcher.look(self._counters()):
                self._try("what is judged is done", partial(self._decide, outcome))
        self._trials.tell(self._watcher.watched)

    def _decide(self, outcome: Outcome) -> None:
        """Keep a release or take it back, and write down why."""
        one = outcome.watched
        if outcome.good:
            act, done = f"keep release {one.release}", True
        elif one.arm == LIVE:
            act, done = f"roll back release {one.release} to {one.control}", self._point_back(one.release, one.control)
            self._taken_back = one.release if done else self._taken_back
        else:
            act, done = f"switch off arm {one.arm}, release {one.release}", True
            self._trials.switch_off(one.arm, outcome.why)
            self._tell(self._live, self._before)
        told = outcome.why
        if not done:
            told += "; not done: the pointer names another release by now, or cannot be moved"
        say(f"{act}: {told}")
        with suppress(LlmcfError):  # it is in the log, too
            self._store.note(SERVICE, act, told)

    def _ask(self) -> None:
        """The canary: a model process that has died is found by nothing else, nor is a Triton that stands still."""
        pause = _SOON_S if self._silent else _CANARY_EVERY_S
        if self._starting or self._host.ended or time.monotonic() - self._asked < pause:
            return
        silent = False
        for number in (self._live.number, *sorted(self._needed - {self._live.number})):
            try:
                self._host.check(number)
                self._renewed.pop(number, None)
            except LlmcfError as error:
                watched = self._watcher.of(number)
                if watched and self._fails_alone(watched):
                    self._watcher.forget(watched.arm)
                    why = f"its canary failed twice ({error}), and that of release {watched.control} did not"
                    self._try("what is judged is done", partial(self._decide, Outcome(watched, False, why)))
                    continue
                if isinstance(error, Unavailable):
                    say(f"the canary of release {number} had no answer ({error})")
                    silent = True
                    break
                self._renew(number, error)
        self._silent = self._silent + 1 if silent else 0
        self._asked = time.monotonic()

    def _renew(self, number: int, why: LlmcfError) -> None:
        """Have a release's models loaded anew; the next canaries tell whether they answer."""
        if time.monotonic() - self._renewed.get(number, -inf) < _RENEW_S:
            return
        self._renewed[number] = time.monotonic()
        say(f"the canary of release {number} failed ({why}); its models are loaded anew")
        with suppress(OSError):
            self._host.renew(number)

    def _fails_alone(self, watched: Watched) -> bool:
        """Whether its canary fails once more, while the control's is well."""
        with suppress(LlmcfError):
            self._host.check(watched.release)
            return False
        with suppress(LlmcfError):
            self._host.check(watched.control)
            return True
        return False


def _bring_up_to_date(wanted: Release) -> None:
    """Have its store hold what was pushed to the one before; the writer tries again where that cannot be done."""
    from llmcf.feature_store import jobs

    try:
        jobs.catch_up(wanted.workspace)
    except LlmcfError as error:
        say(f"what was pushed since {wanted.workspace} was materialized is not online yet: {error}")
