import json

import pytest

from core.contracts import HISTORY
from core.data import features, tables
from core.data.events import Event
from core.data.histories import Attributes
from core.errors import UsageError
from llmcf.feature_store.pushes import Account, Timelines, parse

NOW = 1_000_000_000
LATER = 900_000_000  # after the tiny data's last day


@pytest.fixture
def timelines(tiny):
    users = {raw: row for row, raw in enumerate([*tables.users(tiny)["raw_id"].to_pylist(), "nobody"], start=2)}
    items = {raw: row for row, raw in enumerate([*tables.items(tiny)["raw_id"].to_pylist(), "nothing"], start=2)}
    return Timelines(tables.interactions(tiny), Attributes.of(tables.items(tiny)), users, items)


def append(timelines: Timelines, events: list[Event]) -> Account:
    """Judge events, and take those that can be taken."""
    account = timelines.judge(events, now=NOW)
    account.out_of_order = timelines.insert(account.accepted)
    return account


def test_events_are_json_lines():
    lines = ['{"user": "1", "item": 2, "timestamp": 300000}\n', "\n", '{"user": 4, "item": "5", "timestamp": 600000}']
    assert parse(lines, now=NOW) == [Event("1", "2", 300_000), Event("4", "5", 600_000)]


GOOD = '{"user": "1", "item": "2", "timestamp": 300000}'


def test_what_click_streams_add_is_no_matter():
    raw = b"\xef\xbb\xbf" + GOOD.encode() + b"\r\n"
    odd = [
        '{"user": 7.0, "item": " 2 ", "timestamp": 300000.0}',
        '{"user": "\u00c5 \U0001f600", "item": 2, "timestamp": 300000}',
    ]
    assert parse([raw, b"\r\n", *odd, ""], now=NOW) == [
        Event("1", "2", 300_000), Event("7", "2", 300_000), Event("\u00c5 \U0001f600", "2", 300_000)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("not json", r"'not json' is no JSON \(Expecting value at character 1\)"),
        ('{"user": "a",}', "at character 14"), ("9" * 5000, "holds a number without end"),
        ("[1]", "is no object"), ("7", "is no object"),
        ("[" * 99_999, "nested too deeply"),
        ('{"user": "1", "item": "2"}', "timestamp None"), ('{"user": "1", "timestamp": 300000}', "item is missing"),
        ('{"user": "1", "item": "2", "timestamp": "300000"}', "timestamp '300000' is no number"),
        ('{"user": null, "item": "2", "timestamp": 300000}', "user is missing"),
        ('{"user": true, "item": "2", "timestamp": 300000}', "user True is neither"),
        ('{"user": "", "item": "2", "timestamp": 300000}', "user '' is empty"),
        ('{"user": "  ", "item": "2", "timestamp": 300000}', "user '  ' is empty"),
        ('{"user": "a\\u0000b", "item": "2", "timestamp": 300000}', "control character"),
        ('{"user": "c\\ud83d", "item": "2", "timestamp": 300000}', "half a surrogate pair"),
        ('{"user": 7.5, "item": "2", "timestamp": 300000}', "no whole number"),
        ('{"user": "1", "item": "2", "timestamp": -864000}', "before 1970"),
        ('{"user": "1", "item": "2", "timestamp": 0}', "1970-01-01, which stands for no date"),
        ('{"user": "1", "item": "2", "timestamp": -62135596800}', "0001-01-01, which stands for no date"),
        ('{"user": "1", "item": "2", "timestamp": -1e19}', "out of range"),
        ('{"user": "1", "item": "2", "timestamp": NaN}', "out of range"),
        ('{"user": "1", "item": "2", "timestamp": 900000000000}', "future; it looks like milliseconds"),
        (b'{"user": "ren\xe9", "item": "2", "timestamp": 300000}', "byte 0xE9 is not UTF-8"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_event_is_named(line, said):
    with pytest.raises(UsageError, match=f"event on line 2: .*{said}") as error:
        parse([GOOD, line], now=NOW)
    assert str(error.value).isascii()
    assert len(str(error.value)) < 300


def test_what_was_accepted_is_never_late(timelines):
    """The raw files have a newer interaction of the user by now, and still lack this one."""
    early = Event("1", "7", 870_000_000)
    assert append(timelines, [early]).left_out["late"] == 1
    before = len(timelines.states())
    timelines.replay([early, early])
    assert (before, len(timelines.states())) == (0, 1)


def test_events_that_cannot_count_are_counted(timelines):
    events = [
        Event("1", "2", LATER),
        Event("1", "2", LATER),
        Event("1", "3", LATER - 1),
        Event("1", "4", LATER - 2),
        Event("1", "5", 880_000_000 - 90 * 86_400),
        Event("1", "6", NOW + 1),
    ]
    account = append(timelines, events)
    assert [event.item for event in account.accepted] == ["4", "3", "2"]  # oldest first, whatever their order
    assert account.left_out == {"duplicate": 1, "late": 1, "future": 1}
    assert account.out_of_order == 0
    assert account.reasons == [None, "duplicate", None, None, "late", "future"]


def test_a_late_comer_goes_where_its_time_belongs(timelines, tiny):
    append(timelines, [Event("1", "2", LATER + 5), Event("1", "3", LATER + 9)])
    account = append(timelines, [Event("1", "4", LATER + 7)])
    assert (len(account.accepted), account.out_of_order) == (1, 1)
    row = {raw: place for place, raw in enumerate(tables.items(tiny)["raw_id"].to_pylist(), start=2)}
    assert timelines.states()["history"].to_pylist()[-1][-3:] == [row[raw] for raw in ("2", "4", "3")]


def test_new_users_and_items_are_taken_in(timelines, tiny):
    account = append(timelines, [Event("nobody", "2", LATER), Event("nobody", "nothing", LATER)])
    assert len(account.accepted) == 2
    state = timelines.states().to_pylist()[-1]
    assert state["user"] == tables.users(tiny).num_rows + 2
    assert state["history"][-1] == tables.items(tiny).num_rows + 2
    assert state["history_brands"][-1] == 0
    assert len(timelines.states()) == 2


def test_a_known_interaction_is_a_duplicate(timelines, tiny):
    last = tables.interactions(tiny).slice(tables.interactions(tiny).num_rows - 1).to_pylist()[0]
    user = tables.users(tiny)["raw_id"][last["user"] - 2].as_py()
    item = tables.items(tiny)["raw_id"][last["item"] - 2].as_py()
    account = append(timelines, [Event(user, item, last["timestamp"])])
    assert (account.accepted, account.left_out["duplicate"]) == ([], 1)


def test_states_continue_the_prepared_ones(timelines, tiny):
    """As if the events had been in the data from the start."""
    interactions = tables.interactions(tiny).to_pylist()
    user = tables.users(tiny)["raw_id"][0].as_py()
    before = [row["item"] for row in interactions if row["user"] == 2]
    append(timelines, [Event(user, "1", LATER), Event(user, "2", LATER)])
    states = timelines.states()
    new = [tables.items(tiny)["raw_id"].to_pylist().index(raw) + 2 for raw in ("1", "2")]
    assert states.schema == features.USER_HISTORY
    assert states["history"].to_pylist()[1] == ([0] * HISTORY + before + new)[-HISTORY:]
    times = [time.timestamp() % 86_400 for time in states["event_timestamp"].to_pylist()]
    assert times == pytest.approx([0.001 * (len(before) + 1), 0.001 * (len(before) + 2)], abs=1e-6)


def test_replaying_accepted_events_changes_nothing(timelines, tiny):
    lines = (json.dumps({"user": u, "item": i, "timestamp": LATER + i}) for u in (1, 2) for i in (1, 2, 3))
    events = parse(lines, now=NOW)
    first = append(timelines, events)
    once = timelines.states()
    again = append(timelines, first.accepted)
    assert (again.accepted, again.left_out["duplicate"]) == ([], 6)
    assert timelines.states().equals(once)
