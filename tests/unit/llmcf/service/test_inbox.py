"""What is accepted stays accepted, once, in order, whoever dies."""

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmcf.service import inbox
from llmcf.service.inbox import ACCEPTED, DUPLICATE, EVENT, ITEM, OTHER, Inbox, Offer


@pytest.fixture
def box(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path / "service" / "service.db")


def offer(id: str, kind: str = EVENT, said: object = 1, **more: object) -> Offer:
    return Offer(kind=kind, id=id, said=said, body={"of": id}, **more)  # pyright: ignore[reportArgumentType]


def test_an_id_counts_once_with_one_content(box: Inbox):
    assert box.offer([offer("a"), offer("b"), offer("a"), offer("b", said=2)]) == [
        ACCEPTED, ACCEPTED, DUPLICATE, OTHER
    ]  # fmt: skip
    assert box.offer([offer("a"), offer("a", kind=ITEM)]) == [DUPLICATE, ACCEPTED]
    assert [(one.id, one.body) for one in box.waiting(EVENT, 10)] == [("a", {"of": "a"}), ("b", {"of": "b"})]


def test_said_in_another_order_is_the_same_content(box: Inbox):
    assert box.offer([offer("a", said={"x": 1, "y": 2})]) == [ACCEPTED]
    assert box.offer([offer("a", said={"y": 2, "x": 1})]) == [DUPLICATE]


def test_a_whole_offer_is_kept_whole_or_not_at_all(box: Inbox):
    box.offer([offer("a", said="first")])
    assert box.offer([offer("new"), offer("a", said="second")], whole=True) == [ACCEPTED, OTHER]
    assert not box.has(EVENT, "new")
    assert box.backlog(10) == 1
    assert box.offer([offer("new"), offer("a", said="first")], whole=True) == [ACCEPTED, DUPLICATE]


def test_what_is_applied_no_longer_waits_and_is_still_known(box: Inbox):
    box.offer([offer(str(number)) for number in range(5)])
    first = box.waiting(EVENT, 2)
    box.applied(first, ["taken", "late"])
    assert [one.id for one in box.waiting(EVENT, 10)] == ["2", "3", "4"]
    assert box.backlog(2) == 2
    assert box.offer([offer("0")]) == [DUPLICATE]


def test_what_has_nothing_to_be_applied_does_not_wait_and_is_kept_with_its_place(box: Inbox):
    click = offer("click", request="r1", place=3, waits=False)
    view = offer("view", request="r2", place=inbox.NOT_SHOWN, waits=False)
    box.offer([click, view, offer("bought", request="r3")])
    assert [one.id for one in box.waiting(EVENT, 10)] == ["bought"]
    found = box.feedback()
    assert [(one["id"], one["request"], one["place"]) for one in found] == [
        ("click", "r1", 3), ("view", "r2", -1), ("bought", "r3", None)
    ]  # fmt: skip
    assert [one["id"] for one in box.feedback(after=found[0]["number"], count=1)] == ["view"]


def test_old_events_are_forgotten_and_items_and_what_waits_are_not(box: Inbox, monkeypatch: pytest.MonkeyPatch):
    box.offer([offer("old"), offer("item", kind=ITEM), offer("waits")])
    for kind in (EVENT, ITEM):
        box.applied(box.waiting(kind, 1), ["taken"])
    box.prune()
    assert box.has(EVENT, "old")
    monkeypatch.setattr(inbox, "_KEPT_S", -1.0)
    box.prune()
    assert [box.has(EVENT, "old"), box.has(ITEM, "item"), box.has(EVENT, "waits")] == [False, True, True]


def test_many_workers_accept_an_id_once(box: Inbox):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: box.offer([offer("a"), offer("b")]), range(40)))
    assert [one[0] for one in found].count(ACCEPTED) == 1
    assert box.backlog(10) == 2


def test_what_was_answered_outlives_a_kill_of_the_worker(box: Inbox, tmp_path: Path):
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom llmcf.service.inbox import EVENT, Inbox, Offer\n"
        "box = Inbox(Path(sys.argv[1]))\n"
        "for n in range(1000):\n"
        "    box.offer([Offer(kind=EVENT, id=str(n), said=n, body={})])\n"
        "    print(n, flush=True)\n"
        "    if n == 7: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = str(tmp_path / "service" / "service.db")
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)
    assert done.returncode == -9
    assert [one.id for one in box.waiting(EVENT, 100)] == done.stdout.split() == [str(n) for n in range(8)]


def test_what_is_committed_is_on_the_disk(box: Inbox):
    box.offer([offer("a")])
    with box.database.transaction() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,), "FULL: the answer follows the disk"


def test_nobody_else_may_read_it(box: Inbox):
    assert box.database.path.stat().st_mode & 0o077 == 0


def test_a_failed_offer_leaves_nothing_half_done(box: Inbox):
    with pytest.raises(TypeError):
        box.offer([offer("good"), offer("bad", said={1, 2})])
    assert not box.has(EVENT, "good")
    with sqlite3.connect(box.database.path) as other:
        assert other.execute("SELECT COUNT(*) FROM intake").fetchone() == (0,)
    other.close()
