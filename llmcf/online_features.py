"""What a request knows: the newest state of a user and of items, from Feast's online store."""

import warnings
from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq

from core.contracts import HISTORY, PAD
from core.data import tables
from core.errors import LlmcfError
from core.settings import Workspace
from llmcf.feast_open import open_store

USER = ("user_history:history", "user_history:activity", "user_profile:profile", "user_profile:age",
        "user_profile:gender", "user_profile:occupation")  # fmt: skip
ITEM = ("item_attributes:title", "item_attributes:brand_id", "item_attributes:category_ids",
        "item_popularity:popularity", "item_popularity:popularity_30d")  # fmt: skip


class OnlineFeatures:
    """Reads by id (vocabulary row), not raw id. Opening takes seconds, a read of one user about a millisecond.

    Raises:
        LlmcfError: if the online store was never filled.
    """

    def __init__(self, ws: Workspace) -> None:
        if not ws.path("feast", "materialized.json").exists():
            raise LlmcfError(f"the online store is empty; run `{tables.remedy(ws, 'features materialize')}` first")
        self._store = open_store(ws.path("feast"))
        self._warm()
        self._popularity = ws.path("feast", "data", "item_popularity.parquet")

    def user(self, user: int) -> dict[str, Any] | None:
        """`history` (HISTORY ids, padded left), `activity`, `profile`, `age`, `gender`, `occupation`; or None."""
        row = self._read(USER, "user", [user])[0]
        return row if len(row["history"] or ()) == HISTORY else None

    def items(self, items: Sequence[int]) -> list[dict[str, Any] | None]:
        """For each id: `title`, `brand_id`, `category_ids` (padded right), `popularity`, `popularity_30d`; or None."""
        rows = self._read(ITEM, "item", items) if items else []
        return [row if row["title"] is not None else None for row in rows]

    def popular(self, count: int) -> list[int]:
        """The items most taken lately, most first: what a stranger is shown."""
        states = pq.read_table(self._popularity).sort_by("event_timestamp")
        newest = states.group_by("item", use_threads=False).aggregate(
            [("popularity_30d", "last"), ("popularity", "last")]
        )
        keys = [("popularity_30d_last", "descending"), ("popularity_last", "descending"), ("item", "ascending")]
        return newest.sort_by(keys)["item"][:count].to_pylist()

    def _warm(self) -> None:
        """Feast imports its online stores at the first read; better now than in a request."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of stores that are not ours
            self.user(PAD)

    def _read(self, refs: Sequence[str], key: str, ids: Sequence[int]) -> list[dict[str, Any]]:
        rows = [{key: one} for one in ids]
        found = self._store.get_online_features(features=list(refs), entity_rows=rows).to_dict()
        names = [ref.split(":")[1] for ref in refs]
        return [{name: found[name][place] for name in names} for place in range(len(ids))]
