"""A day's rows: each taking beside an item that was free then; nothing that came later changes them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from core.data import asof, tables
from core.settings import Workspace
from llmcf.daily import rows
from tests.official_files import START, prepared

FIRST = START // 86_400
DAYS = np.arange(FIRST, FIRST + 60)
SEED = 3


@pytest.fixture(scope="module")
def made(tiny: Workspace) -> dict[int, pa.Table]:
    return rows.by_day(DAYS, tables.interactions(tiny), tables.items(tiny), seed=SEED)


def until(interactions: pa.Table, day: int) -> pa.Table:
    return interactions.filter(pa.array(interactions["day"].to_numpy() <= day))


def test_every_taking_of_the_days_is_a_row_of_its_day(tiny: Workspace, made: dict[int, pa.Table]) -> None:
    taken = until(tables.interactions(tiny), int(DAYS[-1]))
    found = {(day, *row) for day, table in made.items() for row in pairs(table, 1)}
    assert found == set(zip(*(taken[name].to_pylist() for name in ("day", "user", "item")), strict=True))
    assert all(set(table["day"].to_pylist()) == {day} for day, table in made.items())


def pairs(table: pa.Table, label: int) -> list[tuple[int, int]]:
    chosen = table.filter(pa.array(table["label"].to_numpy() == label))
    return list(zip(chosen["user"].to_pylist(), chosen["item"].to_pylist(), strict=True))


def test_a_negative_was_on_sale_and_is_not_taken_by_then(tiny: Workspace, made: dict[int, pa.Table]) -> None:
    taken, drawn = tables.interactions(tiny), 0
    for day, table in made.items():
        then = until(taken, day)
        before = set(then.filter(pa.array(then["day"].to_numpy() < day))["item"].to_pylist())
        theirs = set(zip(then["user"].to_pylist(), then["item"].to_pylist(), strict=True))
        for user, item in pairs(table, 0):
            assert item in before
            assert (user, item) not in theirs
            drawn += 1
    assert drawn > 100
    assert not pairs(made[min(made)], 0), "on the first day nothing has been on sale before"


def test_they_share_moment_and_history_and_have_features_as_of_it(tiny: Workspace, made: dict[int, pa.Table]) -> None:
    table = made[max(made)]
    at = ["user", "position", "timestamp", "history"]
    moments = table.select(at).to_pylist()
    label = table["label"].to_pylist()
    for place, value in enumerate(label):
        assert value == 1 or moments[place] == moments[place - 1], "beside its positive"
    expected = asof.attach(table.select(asof.schemas.ROWS.names), tables.interactions(tiny), tables.items(tiny))
    assert table.equals(expected)


def test_the_same_rows_come_out_of_every_workspace_that_holds_the_day(
    tiny: Workspace, made: dict[int, pa.Table], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other days after it, and with the other days of a month or alone."""
    del tiny
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    prepared(Workspace("movielens-100k", "shuffled-ties"), source)  # whose vocabulary is there first, as above
    day = max(made)
    then = prepared(Workspace("movielens-100k", "shuffled-ties", str(np.datetime64(day + 1, "D"))), source)
    alone = rows.by_day(np.array([day]), tables.interactions(then), tables.items(then), seed=SEED)
    assert list(alone) == [day]
    assert alone[day].drop_columns("row").equals(made[day].drop_columns("row"))
    assert rows.digest(alone[day]) == rows.digest(made[day])


def test_another_seed_or_history_is_another_digest(tiny: Workspace, made: dict[int, pa.Table]) -> None:
    day = max(made)
    other = rows.by_day(np.array([day]), tables.interactions(tiny), tables.items(tiny), seed=SEED + 1)[day]
    assert rows.digest(other) != rows.digest(made[day])
    history = made[day]["history"].combine_chunks()
    spoilt = pa.ListArray.from_arrays(history.offsets, pa.array(history.values.to_numpy()[::-1].copy()))
    place = made[day].schema.get_field_index("history")
    assert rows.digest(made[day].set_column(place, "history", spoilt)) != rows.digest(made[day])


def test_who_has_all_but_one_gets_that_one_and_who_has_all_gets_none() -> None:
    """Far beyond the turns that are drawn blindly."""
    count = 500
    item = np.arange(count) + 2
    others = {"user": np.full(count, 2), "item": item, "day": np.zeros(count), "position": np.arange(count)}
    keen = {"user": np.full(count - 1, 3), "item": item[:-1], "day": np.ones(count - 1)}
    keen |= {"position": np.arange(count - 1)}
    every = {"user": np.full(count, 4), "item": item, "day": np.ones(count), "position": np.arange(count)}
    columns = {name: np.concatenate([one[name] for one in (others, keen, every)]).astype(np.int64) for name in others}
    taken = rows._Takings.of(pa.table(columns))
    asked = pa.table({**columns, "label": np.ones(len(columns["user"]), dtype=np.int64)})
    drawn = taken.negatives(asked, seed=1)
    assert (drawn[columns["user"] == 3] == item[-1]).all()
    assert (drawn[columns["user"] == 4] == 0).all()


def test_negatives_are_uniform_over_what_is_free() -> None:
    rows_each, count = 40, 20
    item = np.tile(np.arange(count) + 2, 1)
    before = {"user": np.full(count, 2), "item": item, "day": np.zeros(count, dtype=int), "position": np.arange(count)}
    users = np.arange(3, 3 + rows_each * count)
    later = {"user": users, "item": np.full(len(users), 2), "day": np.ones(len(users), dtype=int)}
    later["position"] = np.zeros(len(users), dtype=int)
    columns = {name: np.concatenate([before[name], later[name]]).astype(np.int64) for name in before}
    asked = pa.table({**columns, "label": np.ones(len(columns["user"]), dtype=np.int64)}).slice(count)
    drawn = rows._Takings.of(pa.table(columns)).negatives(asked, seed=1)
    counts = np.bincount(drawn, minlength=count + 2)[3:]  # all but item 2, which everybody takes
    assert counts.sum() == len(users)
    assert counts.min() > len(users) / (count - 1) * 0.6
    assert counts.max() < len(users) / (count - 1) * 1.5


def test_days_on_which_nothing_was_taken_are_not_there(tiny: Workspace) -> None:
    assert rows.by_day(np.array([FIRST - 5]), tables.interactions(tiny), tables.items(tiny), seed=SEED) == {}
