"""Names for vocabulary rows, and what each user has taken: the tables that an answer is written with."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.data import tables, vocabulary
from core.settings import Workspace


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Raw ids and titles by vocabulary row, and what each user has taken.

    `users_end` and `items_end` are the first rows that came after the data was prepared: no model has learnt them.
    """

    dataset: str
    users: Mapping[str, int]
    user_ids: Mapping[int, str]
    item_ids: Mapping[int, str]
    titles: Mapping[int, str]
    taken: Mapping[int, np.ndarray]
    users_end: int
    items_end: int

    def row_of(self, raw_user: str) -> int | None:
        """The row of a user, who may have arrived a moment ago; None for somebody nobody has seen."""
        known = self.users.get(raw_user)
        return vocabulary.rows(self.dataset, "users").get(raw_user) if known is None else known

    @classmethod
    def load(cls, ws: Workspace) -> "Catalogue":
        users, items, interactions = tables.users(ws), tables.items(ws), tables.interactions(ws)
        user_ids = dict(zip(users["user"].to_pylist(), users["raw_id"].to_pylist(), strict=True))
        rows = items["item"].to_pylist()
        taker, item = interactions["user"].to_numpy(), interactions["item"].to_numpy()
        who, first = np.unique(taker, return_index=True)  # the table is sorted by user
        return cls(
            dataset=ws.dataset,
            users={raw: user for user, raw in user_ids.items()},
            user_ids=user_ids,
            item_ids=dict(zip(rows, items["raw_id"].to_pylist(), strict=True)),
            titles=dict(zip(rows, items["title"].to_pylist(), strict=True)),
            taken=dict(zip(who.tolist(), np.split(item, first[1:]), strict=True)),
            users_end=max(user_ids) + 1,
            items_end=max(rows) + 1,
        )
