"""A session's state is what a user with the same history would have."""

import numpy as np
import pyarrow as pa

from core.data.histories import Attributes, user_states
from llmcf.online import session


def test_the_state_of_a_session_is_that_of_a_user_who_took_the_same_today() -> None:
    attributes = Attributes(
        np.array([0, 0, 5, 6, 5]), np.array([[0] * 6, [0] * 6, [7, 8, 0, 0, 0, 0], [8] + [0] * 5, [0] * 6])
    )
    items, popularity, day = [2, 3, 4], {2: 1.5, 3: 0.5, 4: 2.5}, 9000
    known = [
        {
            "brand_id": int(attributes.brand_V[one]),
            "category_ids": attributes.categories_VC[one].tolist(),
            "popularity": popularity[one],
        }
        for one in items
    ]
    table = user_states(
        np.zeros(3, dtype=np.int64), np.array(items), np.full(3, day), np.array(list(popularity.values())), attributes
    )
    expected = table.slice(3).drop_columns(["user", "event_timestamp"]).to_pylist()[0]
    assert session.state(items, known, day) == expected
    assert isinstance(table, pa.Table)


def test_an_item_of_which_nothing_is_known_counts_as_one_without_attributes() -> None:
    found = session.state([9], [None], 9000)
    assert found["history"][-1] == 9
    assert found["history_brands"] == [0] * 20
    assert found["activity"] == np.float32(np.log1p(1))


def test_more_than_a_history_keeps_the_newest() -> None:
    found = session.state(list(range(2, 40)), [None] * 38, 9000)
    assert found["history"] == list(range(20, 40))
    assert found["activity"] == np.float32(np.log1p(38))
