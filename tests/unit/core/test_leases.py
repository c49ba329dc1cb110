"""A lease is one holder's; the probe says what locks are worth; who holds one is told."""

import fcntl
import os
import shutil
import time
from pathlib import Path

import pytest
from filelock import SoftFileLockProtocolError, SoftReadWriteLock

from core import leases
from core.errors import LlmcfError, UsageError
from core.leases import Lease, Mount


def test_a_lease_is_one_holders_at_a_time(tmp_path: Path) -> None:
    one, other = (Lease(tmp_path / "a lease") for _ in range(2))
    assert one.take()
    assert not other.take()
    assert (one.held, other.held) == (True, False)
    one.release()
    assert not one.held
    assert other.take()
    one.release()
    assert other.held, "who holds nothing gives nothing back"
    other.release()


def test_whoever_waits_gets_it_when_it_is_free(tmp_path: Path) -> None:
    with leases.waited_for(tmp_path / "lease"):
        assert not Lease(tmp_path / "lease").take()
    with leases.waited_for(tmp_path / "lease"):
        pass


def test_the_owner_is_told(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    assert leases.owner(path) is None
    lease = Lease(path)
    assert lease.take()
    found = leases.owner(path)
    assert found
    assert (found.host, found.pid) == (os.uname().nodename, os.getpid())
    assert found.age < 30
    (record,) = (tmp_path / "lease.rw" / "holders").iterdir()
    os.utime(record, (time.time() - 100, time.time() - 100))
    old = leases.owner(path)
    assert old
    assert 99 < old.age < 130
    lease.release()
    assert leases.owner(path) is None
    assert sorted(one.name for one in tmp_path.iterdir()) == ["lease.rw"], "nothing else stays behind"


def test_a_lease_whose_records_are_gone_is_lost(tmp_path: Path) -> None:
    lease = Lease(tmp_path / "lease")
    assert lease.take()
    shutil.rmtree(tmp_path / "lease.rw")
    assert not lease.held
    lease.release()


@pytest.mark.parametrize("value", ["soon", "0", "-3", "nan", "1e9"])
def test_an_impossible_time_is_refused(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_LEASE_SECONDS", value)
    with pytest.raises(UsageError, match=f"LLMCF_LEASE_SECONDS '{value}' is no number of seconds between 0.5 and 3600"):
        Lease(tmp_path / "lease")


def test_the_probe_is_silent_where_locks_hold_and_leaves_nothing(tmp_path: Path) -> None:
    assert leases.probe(tmp_path / "new") == []
    assert list((tmp_path / "new").iterdir()) == []


def test_the_probe_says_that_flock_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)  # as on NFS mounted nolock
    (said,) = leases.probe(tmp_path)
    assert "flock does not hold" in said
    assert "even between two processes" in said


def test_the_probe_refuses_leases_that_two_can_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SoftReadWriteLock, "acquire_write", lambda *_, **__: None)
    with pytest.raises(LlmcfError, match=r"leases do not hold under .*: two takers of one got it"):
        leases.probe(tmp_path)


def test_the_probe_refuses_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(LlmcfError, match=r"leases do not hold|no lease can be taken"):
        leases.probe(tmp_path)


def test_where_there_are_no_leases_who_waits_is_told_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a table of parts, which need no lease, could never be put together there."""

    def refuse(*_: object, **__: object) -> None:
        raise SoftFileLockProtocolError(str(tmp_path / "lease"), None, "no hard links")

    monkeypatch.setattr(SoftReadWriteLock, "acquire_write", refuse)
    with leases.waited_for(tmp_path / "lease"):
        said = capsys.readouterr().err
    assert "no hard links" in said
    assert "run this from one place at a time" in said


def test_records_that_are_no_folder_of_ours_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "lease.rw").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LlmcfError, match="no lease can be taken under"):
        Lease(tmp_path / "lease").take()


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, None),
        (Mount("ext4", frozenset({"rw"})), None),
        (Mount("nfs4", frozenset({"rw", "local_lock=none"})), None),
        (Mount("nfs", frozenset({"rw", "nolock", "local_lock=all"})), "an nfs mounted with local_lock=all"),
        (Mount("nfs4", frozenset({"local_lock=flock"})), "an nfs4 mounted with local_lock=flock"),
        (Mount("lustre", frozenset({"rw", "flock"})), None),
        (Mount("lustre", frozenset({"rw", "localflock"})), "a lustre mounted with localflock"),
        (Mount("lustre", frozenset({"rw"})), "a lustre mounted without flock"),
        (Mount("fuse.s3fs", frozenset({"rw"})), "a fuse.s3fs may keep flock"),
    ],
)
def test_a_mount_tells_whether_flock_is_one_machines(found: Mount | None, said: str | None) -> None:
    doubts = leases.local_locks(found)
    assert len(doubts) == (said is not None)
    assert all(doubt.startswith(said or "") for doubt in doubts)


def test_the_mount_of_a_folder_is_the_deepest_that_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        f"2 1 0:5 / {tmp_path} rw,relatime shared:2 - nfs4 host:/share rw,vers=4.2,local_lock=none\n"
        f"3 1 0:6 / {tmp_path}/other rw shared:3 - lustre l rw,localflock\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(leases, "_MOUNTS", table)
    found = leases.mount(tmp_path / "home")
    assert found
    assert found.kind == "nfs4"
    assert {"rw", "relatime", "local_lock=none"} <= found.options
    outer = leases.mount(tmp_path.parent)
    assert outer
    assert outer.kind == "ext4"
