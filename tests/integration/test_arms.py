"""Arms, shadow and the way back on a service as it runs: releases are real ones with invented weights, and broken."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil
import pytest

from core.data import tables
from core.settings import Workspace
from llmcf.service import state, trials
from llmcf.service.inbox import Inbox
from llmcf.service.store import SERVICE, Store
from llmcf.serving import arms, releases
from llmcf.serving.arms import Arms
from llmcf.serving.manifest import Release
from tests.online_release import make_release
from tests.running_service import Running, run_service

pytestmark = pytest.mark.integration

WATCH = "[watch]\nseconds = 6\nleast = 20\nslower = 1.2\n"
FAILS = 'raise RuntimeError("this graph cannot take so many rows")'
SLOW = "__import__('time').sleep(0.3)"
_EXECUTE = "    def execute(self, requests: list) -> list:\n"


@pytest.fixture(scope="module")
def ws(online: Workspace) -> Workspace:
    return online


@pytest.fixture(scope="module")
def first(ws: Workspace) -> Release:
    return make_release(ws, 0)


@pytest.fixture(scope="module")
def second(ws: Workspace, first: Release) -> Release:
    return make_release(ws, 1, live=False)


@pytest.fixture(scope="module")
def service(
    ws: Workspace, first: Release, second: Release, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    arms.path(ws.dataset).write_text(WATCH)
    with run_service(ws.dataset, tmp_path_factory.mktemp("service") / "log", "--workers", "2") as running:
        yield running


@pytest.fixture(scope="module")
def users(ws: Workspace) -> list[str]:
    return tables.users(ws)["raw_id"].to_pylist()[:30]


def spoiled(ws: Workspace, seed: int, line: str) -> Release:
    """A release that answers its canary, and padding, and does `line` in the ranker where a request has more rows."""
    made = make_release(ws, seed, live=False)
    code = made.models / "ranker" / str(made.versions["ranker"]) / "model.py"
    asked = "[pb_utils.get_input_tensor_by_name(one, self.inputs[0]).as_numpy() for one in requests]"
    text = code.read_text()
    assert _EXECUTE in text
    code.write_text(
        text.replace(
            _EXECUTE, f"{_EXECUTE}        if any(len(one) > 3 and one.any() for one in {asked}):\n            {line}\n"
        )
    )
    return made


def ask(service: Running, user: str, **more: object) -> dict:
    body = {"user": user, "k": 5, **more}
    answer = service.http.post("/recommendations", json=body, headers={"X-Timeout-Ms": "20000"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def metric(service: Running, name: str, **labels: object) -> float:
    """The sum of a metric over whatever its labels leave open."""
    found = 0.0
    for told, value in re.findall(rf"^{name}{{(.*)}} (\S+)$", service.http.get("/metrics").text, re.MULTILINE):
        if all(f'{label}="{one}"' in told for label, one in labels.items()):
            found += float(value)
    return found


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def all_on(ws: Workspace, release: Release) -> bool:
    return set(state.workers(state.folder(ws.dataset)).values()) == {release.number}


@contextmanager
def written(service: Running, ws: Workspace, text: str) -> Iterator[Arms]:
    """While the block runs the service has these arms."""
    arms.path(ws.dataset).write_text(text + WATCH)
    wanted = arms.load(arms.path(ws.dataset))
    try:
        until(lambda: (told := state.read(state.folder(ws.dataset))) is not None and told.arms == wanted)
        time.sleep(2.0)  # every worker has loaded them
        yield wanted
    finally:
        arms.path(ws.dataset).write_text(WATCH)
        until(lambda: (told := state.read(state.folder(ws.dataset))) is not None and not told.arms.releases)


def two(name: str, treatment: Release) -> str:
    return f'experiment = "{name}"\n[arms.new]\nrelease = {treatment.number}\npercent = 50\n'


def test_users_stay_in_their_arm_and_everything_carries_it(
    service: Running, ws: Workspace, first: Release, second: Release, users: list[str]
) -> None:
    with written(service, ws, two("e1", second)) as on:
        told = [ask(service, user) for user in users]
        assert [one["served_by"]["arm"] for one in told] == [on.pick(f"user:{user}") for user in users]
        number = {"live": first.number, "new": second.number}
        for one in told:
            served = one["served_by"]
            assert (served["release"], served["experiment"]) == (number[served["arm"]], "e1")
        assert {one["served_by"]["arm"] for one in told} == {"live", "new"}
        new = next(one for one in told if one["served_by"]["arm"] == "new")
        page = ask(service, new["user"], cursor=new["cursor"])
        assert page["served_by"] == new["served_by"]
        assert service.http.get(f"/recommendations/{new['id']}").json()["served_by"] == new["served_by"]
        best = [item["item"] for item in new["items"]]
        scores = service.http.post("/scores", json={"user": new["user"], "items": best}).json()
        assert (scores["served_by"]["arm"], scores["served_by"]["release"]) == ("new", second.number)
        expected = pytest.approx([item["score"] for item in new["items"]], abs=1e-5)
        assert [one["score"] for one in scores["scores"]] == expected

        sessions = [
            service.http.post("/recommendations", json={"history": best[:2], "session": "s-7"}).json()["served_by"]
            for _ in range(4)
        ]
        assert {one["arm"] for one in sessions} == {on.pick("session:s-7")}
        wrong = service.http.post("/recommendations", json={"user": "a", "session": "s"})
        assert wrong.status_code == 422

        event = {"id": "c-1", "kind": "click", "user": new["user"], "item": best[0], "request_id": new["id"]}
        other = {**event, "id": "c-2", "item": "1" if "1" not in best else "2"}
        for _ in range(2):
            assert service.http.post("/events", json={"events": [event, other]}).status_code == 202
        kept = {one["id"]: one for one in Inbox(state.folder(ws.dataset) / "service.db").feedback()}["c-1"]
        assert (kept["experiment"], kept["arm"], kept["release"], kept["place"]) == ("e1", "new", second.number, 0)
        assert metric(service, "llmcf_service_arm_clicks_total", arm="new", experiment="e1") == 1
        shown = 5 * (1 + sum(one["served_by"]["arm"] == "new" for one in told))
        shown += 10 * 4 * (on.pick("session:s-7") == "new")
        assert metric(service, "llmcf_service_arm_impressions_total", arm="new", experiment="e1") == shown

        victim = next(iter(state.workers(state.folder(ws.dataset))))
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in (there := state.workers(state.folder(ws.dataset))) and len(there) == 2)
        again = [ask(service, user)["served_by"]["arm"] for user in users]
        assert again == [one["served_by"]["arm"] for one in told]

        operations = service.http.get("/operations").text
        assert "e1" in operations
        assert f"release {second.number}, 50 % of the users" in operations

        arms.path(ws.dataset).write_text(two("e2", second).replace("percent = 50", "percent = 500"))
        assert service.said("the arms go on as they are")
        assert "arms.new.percent" in service.http.get("/operations").text
        until(lambda: ask(service, new["user"])["served_by"]["experiment"] == "e1", 10)  # popular items are no arm's


def test_a_shadow_is_compared_and_costs_nobody_an_answer(
    service: Running, ws: Workspace, first: Release, second: Release, users: list[str]
) -> None:
    name = "llmcf_service_shadow_total"
    with written(service, ws, f"[shadow]\nrelease = {second.number}\npercent = 100\n"):
        for user in users[:10]:
            assert ask(service, user)["served_by"]["release"] == first.number
            time.sleep(0.05)
        until(lambda: metric(service, name, outcome="compared") >= 1)
        compared = metric(service, name, outcome="compared")
        assert metric(service, "llmcf_service_shadow_overlap_count") == compared
        assert metric(service, "llmcf_service_shadow_score_difference_sum") > 0
        assert metric(service, "llmcf_service_shadow_seconds_count", who="answer") == compared
        assert "The shadow beside the answers" in service.http.get("/operations").text

    broken = spoiled(ws, 4, FAILS)
    with written(service, ws, f"[shadow]\nrelease = {broken.number}\npercent = 100\n"):
        for user in users[:10]:
            served = ask(service, user)["served_by"]
            assert (served["release"], served["rung"], served["arm"]) == (first.number, "full", "live")
        until(lambda: metric(service, name, release=broken.number, outcome="failed") >= 1)
    assert metric(service, "llmcf_service_arm_failures_total") == 0


class Load:
    """Requests of three clients until told to stop; what was answered by which release."""

    def __init__(self, service: Running, users: list[str]) -> None:
        self._service, self._users, self._stop = service, users, False
        self.answers: list[dict] = []

    def _ask(self, start: int) -> None:
        at = start
        while not self._stop:
            self.answers.append(ask(self._service, self._users[at % len(self._users)]))
            at += 1

    @contextmanager
    def __call__(self) -> Iterator["Load"]:
        with ThreadPoolExecutor(3) as pool:
            asking = [pool.submit(self._ask, 7 * number) for number in range(3)]
            try:
                yield self
            finally:
                self._stop = True
            for one in asking:
                one.result()

    def wrong(self) -> list[dict]:
        """Answers that differ from the first one by their release for their user, but for popular ones."""
        seen: dict[tuple, list[str]] = {}
        found = []
        for one in self.answers:
            if one["served_by"]["rung"] == "popular":
                continue
            items = [item["item"] for item in one["items"]]
            if seen.setdefault((one["user"], one["served_by"]["release"]), items) != items or len(items) < 5:
                found.append(one)
        return found


def test_an_arm_that_fails_is_switched_off(service: Running, ws: Workspace, first: Release, users: list[str]) -> None:
    bad = spoiled(ws, 5, FAILS)
    with written(service, ws, two("e3", bad)):
        with Load(service, users)() as load:
            until(lambda: not state.read(state.folder(ws.dataset)).arms.arms)  # pyright: ignore[reportOptionalMemberAccess]
        assert load.wrong() == []
        assert {one["served_by"]["release"] for one in load.answers} == {first.number}
        by_arm = {(one["served_by"]["arm"], one["served_by"]["rung"]) for one in load.answers}
        assert ("new", "live release") in by_arm
        assert by_arm <= {("new", "live release"), ("live", "full")}
        (off,) = [one for one in trials.note(state.folder(ws.dataset)).off if one.experiment == "e3"]
        assert "requests failed" in off.why
        assert "off since" in service.http.get("/operations").text
        _, who, act, why = Store(state.folder(ws.dataset) / "service.db").acts(1)[0]
        assert (who, act) == (SERVICE, f"switch off arm new, release {bad.number}")
        assert f"the control is release {first.number}" in why
        arms.path(ws.dataset).write_text("")
        until(lambda: not state.read(state.folder(ws.dataset)).arms.experiment)  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize("fault", ["fails", "slow", "dead"])
def test_a_promoted_release_that_does_worse_is_rolled_back(
    service: Running, ws: Workspace, first: Release, users: list[str], fault: str
) -> None:
    bad = spoiled(ws, {"fails": 6, "slow": 7, "dead": 8}[fault], {"fails": FAILS, "slow": SLOW, "dead": "pass"}[fault])
    with Load(service, users)() as load:
        time.sleep(5)
        with releases.locked():
            releases.promote(bad)
        until(lambda: all_on(ws, bad))
        if fault == "dead":
            kill_models(ws, bad)
        until(lambda: all_on(ws, first), 30)
        time.sleep(1)
    assert load.wrong() == []
    assert {one["served_by"]["release"] for one in load.answers} <= {first.number, bad.number}
    assert not any(one["served_by"]["rung"] == "popular" for one in load.answers)
    pointer = releases.pointer(ws.dataset)
    assert pointer is not None
    assert (pointer.release, pointer.left[-1]) == (first.number, bad.number)
    _, who, act, why = Store(state.folder(ws.dataset) / "service.db").acts(1)[0]
    assert (who, act) == (SERVICE, f"roll back release {bad.number} to {first.number}")
    words = {
        "fails": "requests failed",
        "slow": "answers took longer than|requests failed",
        "dead": "canary failed|requests failed",
    }
    assert re.search(words[fault], why)
    assert act in service.http.get("/operations").text
    served = state.read(state.folder(ws.dataset))
    assert served is not None
    assert served.releases == (first.number,), "what is taken back stands in for nobody"


def test_a_promoted_release_that_is_fine_stays(
    service: Running, ws: Workspace, first: Release, second: Release, users: list[str]
) -> None:
    with Load(service, users)() as load:
        time.sleep(5)
        with releases.locked():
            releases.promote(second)
        until(lambda: all_on(ws, second))
        assert service.said(f"keep release {second.number}: 0 of ", 30)
    assert load.wrong() == []
    assert all_on(ws, second)
    assert {one["served_by"]["rung"] for one in load.answers} == {"full"}


def kill_models(ws: Workspace, release: Release) -> None:
    """The processes of Triton that run a release's models."""
    serving = state.read(state.folder(ws.dataset))
    assert serving is not None
    stubs = psutil.Process(serving.server.pid).children(recursive=True)
    own = [one for one in stubs if f"/{release.versions['ranker']}/model.py" in " ".join(one.cmdline())]
    assert own, [one.cmdline() for one in stubs]
    for one in own:
        one.kill()
