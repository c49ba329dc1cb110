"""Which values of which rows are compared, by hand."""

import numpy as np
import pyarrow as pa
import pytest

from core import storage
from core.contracts import DENSE, ON_SALE
from core.data import features, tables
from core.settings import LATEST, Workspace
from llmcf.monitoring import samples
from llmcf.monitoring.samples import FIELDS, NAMES, Sample

TIMES = pa.array([3, 1, 2, 1], pa.int64()).cast(pa.timestamp("us", tz="UTC"))


def test_every_field_of_every_view_is_read():
    """By the feature tables, which a contract test holds equal to the registered views."""
    named = {
        view: set(schema.names) - {schema.names[0], "event_timestamp"} for view, schema in features.SCHEMAS.items()
    }
    assert {view: set(fields) for view, fields in FIELDS.items()} == named
    assert len(NAMES) == len(set(NAMES)) == sum(map(len, FIELDS.values())) + len(DENSE)


def test_only_the_newest_state_of_an_entity_counts():
    states = pa.table({"user": [7, 7, 5, 5], "event_timestamp": TIMES, "value": ["newest", "old", "newest", "old"]})
    found = samples._newest(states)
    assert found["user"].to_pylist() == [5, 7]
    assert found["value"].to_pylist() == ["newest", "newest"]
    assert samples._newest(states.slice(0, 0)).num_rows == 0


@pytest.mark.parametrize(
    ("reader", "column", "kind", "values", "there"),
    [
        ("_number", pa.array([1.5, None, np.nan, -1.0]), "number", [1.5, -1.0], [True, False, False, True]),
        ("_day", pa.array([10, 0, None], pa.int32()), "number", [90], [True, False, False]),
        ("_id", pa.array([4, 0, None]), "category", [4], [True, False, False]),
        ("_word", pa.array(["M", "", None]), "category", ["M"], [True, False, False]),
        ("_text", pa.array(["a title", "", None]), "presence", [], [True, False, False]),
        ("_length", pa.array([[0, 3, 4], [0, 0, 0], None]), "number", [2, 0, 0], [True, True, False]),
        ("_ids", pa.array([[0, 3, 4], [0, 0, 0], None, [4]]), "category", [3, 4, 4], [True, False, False, True]),
        ("_days", pa.array([[0, 98, 99], [0, 0, 0]]), "number", [2, 1], [True, False]),
        ("_numbers", pa.array([[5, 2, 0], None]), "number", [5, 2], [True, False]),
    ],
)
def test_readers_by_hand(reader: str, column: pa.Array, kind: str, values: list, there: list[bool]):
    found = Sample("x", *getattr(samples, reader)(column, 100))
    assert found.kind == kind
    assert found.values_N.tolist() == values
    assert found.there_R.tolist() == there
    assert found.missing == pytest.approx(1 - np.mean(there))


def test_the_end_is_the_day_asked_for_or_the_one_after_the_newest():
    interactions = pa.table({"day": [3, 9, 4]})
    assert samples.end_day(Workspace("shop", "global-time", LATEST), interactions) == 10
    assert samples.end_day(Workspace("shop", "global-time", "1970-01-21"), interactions) == 20


def test_the_newest_rows_are_positives_once():
    rows = pa.table(
        {
            "day": [5, 6, 9, 9, 9, 10],
            "label": [1, 1, 1, 0, 1, 1],
            "split": ["train", "train", "test", "test", ON_SALE, "test"],
            "row": range(6),
        }
    )
    assert samples.newest_rows(rows, 10, 4)["row"].to_pylist() == [1, 2]


def test_all_samples_of_a_workspace_are_named(tiny: Workspace):
    end = samples.end_day(tiny, tables.interactions(tiny))
    newest = samples.newest_rows(tables.training_rows(tiny), end, 30)
    found = [*samples.of_views(tiny, end), *samples.of_rows(newest)]
    assert tuple(one.name for one in found) == NAMES
    by_name = {one.name: one for one in found}
    users = tables.users(tiny).num_rows
    assert len(by_name["user_profile.age"].values_N) == users
    assert len(by_name["ranking.recency"].values_N) == newest.num_rows
    history = storage.parquet(tiny.path("features", "user_history.parquet"))
    assert len(by_name["user_history.activity"].values_N) == len(set(history["user"].to_pylist()))
    taken = np.bincount(tables.interactions(tiny)["user"].to_numpy())
    assert sorted(np.expm1(by_name["user_history.activity"].values_N).round()) == sorted(taken[taken > 0])
