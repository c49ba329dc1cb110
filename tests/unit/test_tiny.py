"""The shared fixture itself: other tests rest on it."""

import pyarrow.compute as pc

from core.contracts import HISTORY
from core.data import tables


def test_tiny_workspace_holds_every_table(tiny):
    users, items = tables.users(tiny).num_rows, tables.items(tiny).num_rows
    rows = tables.training_rows(tiny)
    assert (users, items) == (40, 60)
    assert rows.filter(pc.field("split") != "test_on_sale").num_rows == 2 * tables.interactions(tiny).num_rows
    assert set(rows["split"].unique().to_pylist()) == {"train", "valid", "test", "test_on_sale"}
    assert rows["history"].combine_chunks().value_lengths().unique().to_pylist() == [HISTORY]
