"""Keys: made once, kept as digests, found, removed; and what a role may do."""

import stat
from pathlib import Path

import pytest

from core.errors import LlmcfError, Unavailable, UsageError
from llmcf.service import keys
from llmcf.service.access import Bucket, Door
from llmcf.service.problems import Problem


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    return tmp_path


def refused(door: Door, key: str | None, role: str) -> int:
    with pytest.raises(Problem) as caught:
        door.admit(key, role)
    return caught.value.status


def test_a_key_is_kept_as_a_digest_that_nobody_else_may_read() -> None:
    key = keys.add("shop", "read")
    kept = keys.path().read_text()
    assert key not in kept
    assert stat.S_IMODE(keys.path().stat().st_mode) == 0o600
    assert [(one.name, one.role) for one in keys.read()] == [("shop", "read")]


def test_a_role_may_do_what_those_before_it_may() -> None:
    made, door = {role: keys.add(role, role) for role in keys.ROLES}, Door()
    for place, role in enumerate(keys.ROLES):
        for asked in keys.ROLES[: place + 1]:
            assert door.admit(made[role], asked).name == role
        for asked in keys.ROLES[place + 1 :]:
            assert refused(door, made[role], asked) == 403


@pytest.mark.parametrize("key", [None, "", "llmcf_wrong", "\ud800", "ä" * 5000])
def test_where_there_are_keys_a_stranger_is_refused(key: str | None) -> None:
    keys.add("shop", "read")
    assert refused(Door(), key, "read") == 401


def test_without_any_key_everybody_reads_and_writes_and_nobody_administers() -> None:
    door = Door()
    assert door.admit(None, "write").name == "anybody"
    assert refused(door, None, "admin") == 403
    keys.add("shop", "admin")
    assert refused(door, None, "read") == 401, "the first key closes the door, in a running service too"


def test_a_removed_key_is_refused_by_a_running_service() -> None:
    key, door = keys.add("shop", "read"), Door()
    keys.add("other", "read")
    door.admit(key, "read")
    keys.remove("shop")
    assert refused(door, key, "read") == 401


def test_the_last_key_taken_back_leaves_the_door_closed() -> None:
    keys.add("shop", "admin")
    door = Door()
    keys.remove("shop")
    assert refused(door, None, "read") == 401
    assert refused(Door(), None, "read") == 401


@pytest.mark.parametrize(("name", "role"), [("shop", "read"), ("", "read"), ("new", "owner")])
def test_what_cannot_be_made_is_told(name: str, role: str) -> None:
    keys.add("shop", "read")
    with pytest.raises(UsageError):
        keys.add(name, role)
    with pytest.raises(UsageError, match="no key is named 'gone'; there are: shop"):
        keys.remove("gone")


def test_a_key_that_asks_too_often_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket(per_second=200, tokens=2)
    clock = [bucket.last]
    monkeypatch.setattr("llmcf.service.access.time.monotonic", lambda: clock[0])
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    clock[0] += 0.0125  # two tokens and a half: no rounding of a clock decides
    assert [bucket.take() for _ in range(3)] == [True, True, False]


def test_how_often_a_key_may_ask_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_REQUESTS_PER_SECOND", "1")  # two at once, and another one each second
    door = Door()
    door.admit(None, "read")
    door.admit(None, "read")
    assert refused(door, None, "read") == 429


def test_a_lost_file_of_keys_opens_no_door() -> None:
    """Who has a key goes on where it is known; a worker that starts meanwhile knows none."""
    key, door = keys.add("shop", "read"), Door()
    assert refused(door, None, "read") == 401
    keys.path().unlink()
    assert refused(door, None, "read") == 401
    assert door.admit(key, "read").name == "shop"
    assert refused(Door(), None, "read") == 401
    again = keys.add("shop", "write")
    assert refused(door, key, "read") == 401
    assert door.admit(again, "write").name == "shop"


def test_a_file_of_keys_without_a_mark_gets_one() -> None:
    keys.add("shop", "read")
    keys._mark().unlink()
    assert refused(Door(), None, "read") == 401
    keys.path().unlink()
    assert refused(Door(), None, "read") == 401


def test_where_others_can_reach_the_service_nobody_needs_no_key() -> None:
    assert refused(Door(loopback=False), None, "read") == 401


@pytest.mark.parametrize("text", ['[{"name": "shop"', '[{"name": "shop"}]', '"nothing"'])
def test_a_damaged_file_of_keys_takes_none_away_that_is_known(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    key, door = keys.add("shop", "read"), Door()
    assert door.admit(key, "read").name == "shop"
    keys.path().write_text(text)
    for _ in range(3):
        assert door.admit(key, "read").name == "shop"
    assert refused(door, "another", "read") == 401
    assert capsys.readouterr().err.count("keys go on as they were") == 1
    with pytest.raises(Unavailable, match="the file of keys cannot be read"):
        Door().admit(key, "read")
    with pytest.raises(LlmcfError, match=r"keys\.json holds no keys"):
        keys.read()
    keys.path().unlink()
    again = keys.add("shop", "write")
    assert door.admit(again, "write").name == "shop"


@pytest.mark.parametrize(
    ("host", "code"),
    [
        *((one, None) for one in ("localhost", "localhost:8080", "127.0.0.1:8080", "127.3.2.1", "[::1]:8080", "")),
        *((one, 403) for one in ("evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.1", "[::1")),
    ],
)
def test_without_keys_it_answers_by_names_of_loopback_alone(host: str, code: int | None) -> None:
    """A page elsewhere may let its own name lead to this machine: the browser then takes both for one site."""
    found = None
    try:
        Door().admit(None, "write", host=host)
    except Problem as problem:
        found = problem.status
    assert found == code
    key = keys.add("shop", "read")
    assert Door().admit(key, "read", host=host).name == "shop", "whoever has a key may call it as they like"
