"""Pushed events belong to the data set; Feast's own jobs are left out here (tests/integration/test_feast.py)."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core import storage
from core.data import features, tables, vocabulary
from core.data.prepare import prepare
from core.errors import Missing, UsageError
from core.settings import Workspace
from llmcf.feature_store import jobs, ledger, registry
from tests.shop import START, Shop

DAY = 86_400
FIRST = int(START.timestamp())
NOW = FIRST + 100 * DAY


def place(as_of: str = "latest") -> Workspace:
    return Workspace("shop", "published", as_of)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The shop of 1 to 5 March under tmp_path/export, and a Feast that does nothing."""
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(registry, "run", lambda ws, *job, folder=None: None)
    made = Shop()
    made.write(tmp_path / "export")
    ledger._kept.clear()
    return made


def ready(tmp_path: Path, ws: Workspace) -> Workspace:
    prepare(ws, source=tmp_path / "export", seed=1)
    features.build(ws)
    jobs.apply(ws)
    jobs.materialize(ws)
    return ws


def event(user: str, item: str, day: float) -> str:
    return json.dumps({"user": user, "item": item, "timestamp": FIRST + int(day * DAY)})


def history(ws: Workspace, user: str) -> list[str]:
    """What the newest offline state of a user holds, by raw ids; what materialize loads."""
    row, names = vocabulary.rows(ws.dataset, "users")[user], vocabulary.load(ws.dataset, "items")["raw_id"].to_pylist()
    states = pq.read_table(ws.path("feast", "data", "user_history.parquet"))
    newest = max((one for one in states.to_pylist() if one["user"] == row), key=lambda one: one["event_timestamp"])
    return [names[item - 2] for item in newest["history"] if item]


def test_a_push_counts_in_the_next_days_workspace_until_the_files_hold_it(tmp_path: Path, shop: Shop):
    tenth = ready(tmp_path, place("2025-03-10"))
    jobs.push(tenth, [event("p0", "g8", 18.5)], now=NOW)
    assert history(tenth, "p0") == ["g0", "g1", "g2", "g3", "g4", "g8"]
    shop.click("p1", "g9", 18.2)  # the next export has other news, and still lacks the pushed event
    shop.write(tmp_path / "export")
    twentieth = ready(tmp_path, place("2025-03-20"))
    assert history(twentieth, "p0") == ["g0", "g1", "g2", "g3", "g4", "g8"]
    shop.click("p0", "g8", 18.5)  # now the files hold it
    shop.write(tmp_path / "export")
    later = ready(tmp_path, place("2025-03-21"))
    assert history(later, "p0") == ["g0", "g1", "g2", "g3", "g4", "g8"]


@pytest.mark.parametrize("clock", [18.5, 18.505, 18.0], ids=["the same second", "another clock", "files of days"])
def test_each_line_of_the_files_stands_for_one_push(tmp_path: Path, shop: Shop, clock: float):
    tenth = ready(tmp_path, place("2025-03-10"))
    jobs.push(tenth, [event("p0", "g8", 18.5), event("p0", "g8", 18.7), event("p1", "g8", 18.5)], now=NOW)
    shop.click("p0", "g8", clock)
    shop.write(tmp_path / "export")
    later = ready(tmp_path, place("2025-03-21"))
    assert history(later, "p0") == ["g0", "g1", "g2", "g3", "g4", "g8", "g8"], "one of the two is in the files"
    assert history(later, "p1")[-1] == "g8", "and somebody else's is not"
    jobs.push(later, [event("p0", "g8", 18.5), event("p0", "g8", 18.7)], now=NOW)
    assert history(later, "p0") == ["g0", "g1", "g2", "g3", "g4", "g8", "g8"], "repeating a push is safe"
    if clock == 18.0:  # files of days have one line of a day
        return
    shop.click("p0", "g8", clock + 0.2)
    shop.write(tmp_path / "export")
    assert history(ready(tmp_path, place("2025-03-22")), "p0") == ["g0", "g1", "g2", "g3", "g4", "g8", "g8"]


def test_an_event_that_the_files_overtook_counts_where_its_time_belongs(tmp_path: Path, shop: Shop):
    ready(tmp_path, place("2025-03-10"))
    jobs.push(place("2025-03-10"), [event("p0", "g8", 9.2)], now=NOW)
    shop.click("p0", "g9", 9.6)  # later than the pushed one, which the files lack
    shop.write(tmp_path / "export")
    assert history(ready(tmp_path, place("2025-03-20")), "p0")[-2:] == ["g8", "g9"]


def test_an_earlier_workspace_does_not_see_what_a_later_one_took(tmp_path: Path, shop: Shop):
    third, latest = ready(tmp_path, place("2025-03-04")), ready(tmp_path, place())
    jobs.push(latest, [event("p0", "g8", 18)], now=NOW)
    assert [one.item for one in ledger.events(latest)] == ["g8"]
    assert ledger.events(third) == []
    assert jobs.materialize(third).skipped
    jobs.push(third, [event("p0", "g8", 18)], now=NOW)  # taken there, too
    assert history(third, "p0")[-1] == history(latest, "p0")[-1] == "g8"
    assert len(history(latest, "p0")) == 6


def test_a_workspace_of_another_order_brings_it_online_when_it_materializes(tmp_path: Path, shop: Shop):
    other = ready(tmp_path, Workspace("shop", "shuffled-ties"))
    jobs.push(ready(tmp_path, place()), [event("p0", "g8", 18)], now=NOW)
    assert not jobs.materialize(other).skipped
    assert history(other, "p0")[-1] == "g8"
    assert jobs.materialize(other).skipped


@pytest.mark.parametrize(
    "line", ['{"user": "", "item": "new", "timestamp": %d}', '{"user": "new", "item": "new", "timestamp": 0}']
)
def test_a_bad_line_leaves_nothing_behind(tmp_path: Path, shop: Shop, line: str):
    ws = ready(tmp_path, place())
    bad = line.replace("%d", str(FIRST + 18 * DAY))
    with pytest.raises(UsageError, match="event on line 2"):
        jobs.push(ws, [event("new", "new", 18), bad], now=NOW)
    assert ledger.events(ws) == []
    assert not {"new"} & {*vocabulary.rows("shop", "users"), *vocabulary.rows("shop", "items")}
    assert jobs.materialize(ws).skipped
    assert jobs.push(ws, [event("p0", "g8", 18)], now=NOW).details["accepted"] == 1


def test_what_is_left_out_gets_no_row_of_the_vocabulary(tmp_path: Path, shop: Shop):
    ws = ready(tmp_path, place())
    done = jobs.push(ws, [event("p0", "late good", -30), event("nobody", "soon", 100.5)], now=NOW).details
    assert (done["accepted"], done["left_out"]) == (0, {"future": 1, "duplicate": 0, "late": 1})
    assert (done["new_users"], done["new_items"]) == (0, 0)
    assert not {"late good", "soon"} & set(vocabulary.rows("shop", "items"))


def test_a_push_that_died_between_ledger_and_store_is_completed_by_a_repeat(tmp_path: Path, shop: Shop, monkeypatch):
    ws = ready(tmp_path, place())
    sent: list[list[dict]] = []

    def dies(ws: Workspace, *job: str, folder: Path) -> None:
        raise KeyboardInterrupt

    def works(ws: Workspace, *job: str, folder: Path) -> None:
        sent.append(pq.read_table(job[2]).to_pylist())

    monkeypatch.setattr(registry, "run", dies)
    with pytest.raises(KeyboardInterrupt):
        jobs.push(ws, [event("p0", "g8", 18), event("newcomer", "novelty", 18)], now=NOW)
    assert len(ledger.events(ws)) == 2
    monkeypatch.setattr(registry, "run", works)
    again = jobs.push(ws, [event("p0", "g8", 18), event("newcomer", "novelty", 18)], now=NOW).details
    assert (again["accepted"], again["left_out"]["duplicate"]) == (0, 2)
    users = vocabulary.rows("shop", "users")
    assert [one["user"] for one in sent[0]] == [users["p0"], users["newcomer"]]
    assert len(ledger.events(ws)) == 2


def test_a_push_while_one_release_replaces_another_reaches_the_one_that_answers(
    tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    ws, pushed = ready(tmp_path, place()), []

    def run(ws: Workspace, *job: str, folder: Path | None = None) -> None:
        if job[0] == "push":
            pushed.append(folder)

    monkeypatch.setattr(registry, "run", run)
    shop.click("p1", "g9", 17)
    shop.write(tmp_path / "export")
    prepare(ws, source=tmp_path / "export", seed=1)
    features.build(ws)
    jobs.push(ws, [event("p0", "g7", 18)], now=NOW)
    assert pushed == [ws.path("feast")], "built, and not yet applied"
    jobs.apply(ws)
    jobs.push(ws, [event("p0", "g8", 19)], now=NOW)
    assert set(pushed[1:]) == {ws.path("feast"), ws.path(registry.BEFORE)}, "applied, and not yet materialized"
    jobs.materialize(ws)
    jobs.push(ws, [event("p0", "g9", 20)], now=NOW)
    assert pushed[3:] == [ws.path("feast")]
    assert history(ws, "p0")[-3:] == ["g7", "g8", "g9"]


def test_a_store_of_another_feature_repository_takes_no_pushes(
    tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    ws = ready(tmp_path, place())
    applied = registry.marker(ws, registry.APPLIED)
    storage.write_json(ws.path("feast", registry.APPLIED), applied | {"repo": "another"})
    with pytest.raises(Missing, match="llmcf features apply"):
        jobs.push(ws, [event("p0", "g7", 18)], now=NOW)
    assert ledger.events(ws) == []


def test_what_a_user_has_taken_is_all_of_it_however_long_ago(tmp_path: Path, shop: Shop):
    for day in range(30):  # more than a history holds
        shop.click("p0", f"old{day}", day - 60)
    shop.goods += [{"sku": f"old{day}", "name": "Old", "maker": "m"} for day in range(30)]
    shop.write(tmp_path / "export")
    ws = ready(tmp_path, place())
    users, items = (vocabulary.rows("shop", kind) for kind in ("users", "items"))
    before = {f"old{day}" for day in range(30)} | {f"g{n}" for n in range(5)}
    assert ledger.taken_of(ws, users["p0"]).tolist() == sorted(items[name] for name in before)
    jobs.push(ws, [event("p0", "g8", 18), event("p0", "g1", 19), event("newcomer", "novelty", 18)], now=NOW)
    users, items = (vocabulary.rows("shop", kind) for kind in ("users", "items"))
    assert ledger.taken_of(ws, users["p0"]).tolist() == sorted(items[name] for name in before | {"g8"})
    assert ledger.taken_of(ws, users["newcomer"]).tolist() == [items["novelty"]]
    assert ledger.taken_of(ws, 10_000).tolist() == []
    everybody = ledger.taken(ws)
    assert len(everybody) == 13
    assert all(rows.tolist() == ledger.taken_of(ws, user).tolist() for user, rows in everybody.items())


def test_what_was_taken_is_read_again_only_when_a_file_changed(tmp_path: Path, shop: Shop, monkeypatch):
    ws = ready(tmp_path, place())
    first = ledger.taken_of(ws, 2)
    monkeypatch.setattr(tables, "interactions", lambda ws: pytest.fail("read again"))
    assert ledger.taken_of(ws, 2).tolist() == first.tolist()
    jobs_events = ledger.events(ws)
    ledger.add(ws, [*jobs_events, ledger.Event("p0", "g9", FIRST + 9 * DAY)])
    assert len(ledger.taken_of(ws, 2)) == len(first) + 1


def test_while_the_prepared_data_is_replaced_what_was_read_of_it_counts(tmp_path: Path, shop: Shop):
    ws = ready(tmp_path, place())
    first = ledger.taken_of(ws, 2).tolist()
    ws.path("data").rename(ws.path("elsewhere"))  # as between two renames, where a file system cannot swap folders
    ledger.add(ws, [ledger.Event("p0", "g9", FIRST + 9 * DAY)])
    assert len(ledger.taken_of(ws, 2)) == len(first) + 1
    ws.path("elsewhere").rename(ws.path("data"))
    assert len(ledger.taken_of(ws, 2)) == len(first) + 1


@pytest.mark.parametrize(
    ("taken_by", "counts_in"),
    [
        ("2025-03-10", {"2025-03-10", "2025-03-18", "2025-03-20", "latest"}),  # the taker and whatever is later
        ("latest", {"2025-03-20", "latest"}),  # and every workspace whose end lies after the event
        ("2025-03-25", {"2025-03-20", "latest"}),
    ],
)
def test_an_event_counts_in_later_workspaces_and_before_their_end(shop: Shop, taken_by: str, counts_in: set[str]):
    ledger.add(place(taken_by), [ledger.Event("p0", "g8", FIRST + 18 * DAY)])  # 19 March
    days = ("2025-03-05", "2025-03-10", "2025-03-18", "2025-03-20", "latest")
    assert {day for day in days if ledger.events(place(day))} == counts_in


def test_recent_events_are_settled_when_they_are_many_and_all_of_them_count(
    tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    ws = ready(tmp_path, place())
    monkeypatch.setattr(ledger, "RECENT", 3)
    users, items = (vocabulary.rows("shop", kind) for kind in ("users", "items"))
    before, new = ledger.taken_of(ws, users["p0"]).tolist(), [f"g{number}" for number in range(5, 10)]
    for turn, item in enumerate([*new, *new]):
        ledger.add(ws, [ledger.Event("p0", item, FIRST + 18 * DAY + turn)])
        assert len(ledger.events(ws)) == turn + 1
        assert ledger.taken_of(ws, users["p0"]).tolist() == sorted({*before, *(items[one] for one in new[: turn + 1])})
    assert [one.item for one in ledger.events(ws)] == [*new, *new]
    assert pq.read_table(ledger.path(ws)).num_rows == 8
    assert pq.read_table(ledger.recent_path(ws)).num_rows == 2


def test_settled_events_count_once_after_a_kill_between_the_two_files(
    tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    ws = ready(tmp_path, place())
    monkeypatch.setattr(ledger, "RECENT", 1)
    ledger.add(ws, [event_of("g7", 18)])
    write = storage.write_table

    def killed(path: Path, *arguments: object) -> None:
        if path == ledger.recent_path(ws):
            raise KeyboardInterrupt
        write(path, *arguments)

    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(storage, "write_table", killed)
        ledger.add(ws, [event_of("g8", 19)])
    assert [one.item for one in ledger.events(ws)] == ["g7", "g8"]
    assert len(ledger.taken(ws)) == 12
    ledger.add(ws, [event_of("g9", 20)])
    assert [one.item for one in ledger.events(ws)] == ["g7", "g8", "g9"]


def test_who_reads_while_recent_events_are_settled_misses_none(
    tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    """Stamps of before, files of after."""
    ws = ready(tmp_path, place())
    monkeypatch.setattr(ledger, "RECENT", 1)
    row, item = vocabulary.rows("shop", "users")["p0"], vocabulary.rows("shop", "items")["g7"]
    ledger.add(ws, [event_of("g7", 18)])
    assert item in ledger.taken_of(ws, row)
    old = ledger.stamps(ws)
    ledger.add(ws, [event_of("g8", 19)])
    monkeypatch.setattr(ledger, "stamps", lambda ws: (old[0], None))
    assert {item, vocabulary.rows("shop", "items")["g8"]} <= set(ledger.taken_of(ws, row).tolist())


def test_a_push_reads_the_settled_events_no_more(tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch):
    ws = ready(tmp_path, place())
    monkeypatch.setattr(ledger, "RECENT", 1)
    ledger.add(ws, [event_of("g7", 18), event_of("g8", 19)])
    row, items = vocabulary.rows("shop", "users")["p0"], vocabulary.rows("shop", "items")
    ledger.taken_of(ws, row)
    ledger.add(ws, [event_of("g9", 20)])
    read = ledger._read
    monkeypatch.setattr(ledger, "_read", lambda path: read(path) if path != ledger.path(ws) else pytest.fail("read"))
    assert {items["g7"], items["g9"]} <= set(ledger.taken_of(ws, row).tolist())


def event_of(item: str, day: float) -> ledger.Event:
    return ledger.Event("p0", item, FIRST + int(day * DAY))
