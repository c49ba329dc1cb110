"""The state of a session that belongs to no known user: what `user_request` would say of somebody with this history."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.contracts import CATEGORIES, PAD
from core.data.histories import Attributes, user_states


def state(items: Sequence[int], known: Sequence[Mapping[str, Any] | None], day: int) -> dict[str, Any]:
    """The fields of the view user_history after these items.

    Args:
        items: rows of the vocabulary, at least one, oldest first; each counts as taken on `day`.
        known: of each, the fields of `item_request`; None where nothing is known.
    """
    count = len(items)
    brand_V, categories_VC = np.zeros(count + 1, dtype=np.int64), np.zeros((count + 1, CATEGORIES), dtype=np.int64)
    popularity = np.zeros(count, dtype=np.float32)
    for place, facts in enumerate(known):
        if facts is None:
            continue
        brand_V[place + 1] = facts["brand_id"] or PAD
        ids = facts["category_ids"] or []
        categories_VC[place + 1, : len(ids)] = ids
        popularity[place] = facts["popularity"] or 0.0
    places = np.arange(1, count + 1)  # items by their place in the history: only their attributes are asked for
    whole = user_states(
        np.zeros(count, dtype=np.int64),
        places,
        np.full(count, day),
        popularity,
        Attributes(brand_V, categories_VC),
    )
    found = whole.slice(count).drop_columns(["user", "event_timestamp"]).to_pylist()[0]
    rows = np.array([PAD, *items])
    return {**found, "history": rows[np.array(found["history"])].tolist()}
