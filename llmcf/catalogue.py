"""Names for vocabulary rows, and what each user has taken: the tables that an answer is written with."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.data import tables, vocabulary
from core.settings import Workspace


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Raw ids and titles by vocabulary row, and what each user has taken.

    `users` is the whole vocabulary, with users who came after the data was prepared.
    """

    users: Mapping[str, int]
    user_ids: Mapping[int, str]
    item_ids: Mapping[int, str]
    titles: Mapping[int, str]
    taken: Mapping[int, np.ndarray]

    @classmethod
    def load(cls, ws: Workspace) -> "Catalogue":
        users, items, interactions = tables.users(ws), tables.items(ws), tables.interactions(ws)
        user_ids = dict(zip(users["user"].to_pylist(), users["raw_id"].to_pylist(), strict=True))
        rows = items["item"].to_pylist()
        taker, item = interactions["user"].to_numpy(), interactions["item"].to_numpy()
        who, first = np.unique(taker, return_index=True)  # the table is sorted by user
        return cls(
            users=vocabulary.rows(ws.dataset, "users"),
            user_ids=user_ids,
            item_ids=dict(zip(rows, items["raw_id"].to_pylist(), strict=True)),
            titles=dict(zip(rows, items["title"].to_pylist(), strict=True)),
            taken=dict(zip(who.tolist(), np.split(item, first[1:]), strict=True)),
        )
